package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// nowhere are registries that have nothing, and one log of what all of them
// were asked, in its order.
type nowhere struct {
	hosts []string // A, B, C and O, the image's own registry

	mu  sync.Mutex // guards log
	log []string   // host, path and query; a question that is repeated at one place is one
}

func newNowhere(t *testing.T) *nowhere {
	t.Helper()
	n := &nowhere{}
	for range 4 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n.mu.Lock()
			defer n.mu.Unlock()
			if asked := r.Host + r.URL.RequestURI(); len(n.log) == 0 || n.log[len(n.log)-1] != asked {
				n.log = append(n.log, asked)
			}
			w.WriteHeader(http.StatusNotFound)
		}))
		t.Cleanup(s.Close)
		n.hosts = append(n.hosts, strings.TrimPrefix(s.URL, "http://"))
	}
	return n
}

// takeLog returns the log, and begins another one.
func (n *nowhere) takeLog() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	log := n.log
	n.log = nil
	return log
}

// expand puts the registries' addresses into a text: A, B, C and O in braces,
// in a file's name with {O_} as containerd wants it.
func (n *nowhere) expand(text string) string {
	for i, name := range []string{"A", "B", "C", "O"} {
		host, port, _ := strings.Cut(n.hosts[i], ":")
		text = strings.NewReplacer("{"+name+"}", n.hosts[i], "{"+name+"_}", host+"_"+port+"_").Replace(text)
	}
	return text
}

// explainPlan returns what explain prints as the plan for an image, as a
// nowhere logs it. A mirror for tags only comes last for a digest.
func explainPlan(t *testing.T, rules []string, image string) []string {
	t.Helper()
	var out, errs bytes.Buffer
	env := testEnv(nil)
	env.Stdout, env.Stderr = &out, &errs
	env.Args = []string{"explain", "--json", image}
	for _, r := range rules {
		env.Args = append(env.Args, "--rules", r)
	}
	Main(context.Background(), env) // its code says whether there is a place
	var plan explainedJSON
	if err := json.Unmarshal(out.Bytes(), &plan); err != nil {
		t.Fatalf("%v: %s%s", err, out.String(), errs.String())
	}
	var urls []string
	for _, try := range plan.Tries {
		if !try.Blocked && try.Unusable == "" {
			urls = append(urls, try.URL)
		}
	}
	for _, skip := range plan.Skips {
		if strings.HasPrefix(skip.Why, "tag-only") {
			urls = append(urls, skip.URL)
		}
	}
	for i, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		urls[i] = u.Host + u.RequestURI()
	}
	return urls
}

const (
	someTag    = ":v1"
	someDigest = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// TestServeDoesWhatExplainSays holds that the order of requests on the wire is
// the plan that explain prints, whatever the format says.
func TestServeDoesWhatExplainSays(t *testing.T) {
	for name, c := range map[string]struct {
		format string
		files  map[string]string
		places map[string]int // :: image below the original, without tag → places for a tag and for a digest
	}{
		"mirrors and namespaces": {"registries.conf", map[string]string{"registries.conf": `
[[registry]]
location = "{O}"
[[registry.mirror]]
location = "{A}/ns"
insecure = true
[[registry.mirror]]
location = "{B}"
insecure = true
[[registry]]
prefix = "{O}/team"
location = "{C}/other/team"
insecure = true
[[registry.mirror]]
location = "{A}/digests"
insecure = true
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "{B}/tags"
insecure = true
pull-from-mirror = "tag-only"
`}, map[string]int{"app": 33, "team/app": 23, "teams/app": 33}},
		"roots, capabilities and ns": {"hosts.toml", map[string]string{"{O_}/hosts.toml": `
server = "http://{O}"
[host."http://{A}"]
capabilities = ["pull"]
[host."http://{B}/v2/proj"]
capabilities = ["pull", "resolve"]
override_path = true
[host."http://{C}/below"]
`}, map[string]int{"app": 34, "team/app": 34}},
		"a server instead": {"hosts.toml", map[string]string{"_default/hosts.toml": `
server = "http://{B}"
[host."http://{A}"]
`}, map[string]int{"app": 22}},
		"rewrites": {"k3s", map[string]string{"registries.yaml": `
mirrors:
  "{O}":
    endpoint: ["http://{C}/v2", "http://{A}/v2/k3s"]
    rewrite:
      "^team/(.*)": "moved/$1"
  "*":
    endpoint: ["http://{B}"]
`}, map[string]int{"app": 33, "team/app": 33}},
		"hosts with tables": {"buildkitd.toml", map[string]string{"buildkitd.toml": `
[registry."{O}"]
mirrors = ["{B}/b", "{A}"]
http = true
[registry."{A}"]
http = true
[registry."{B}"]
http = true
`}, map[string]int{"app": 33}},
		"one text": {"cnb", map[string]string{"cnb": `{O}=http://{C}/x;{O}=http://{A}`}, map[string]int{"team/app": 33}},
		"never the source": {"registries.conf", map[string]string{"registries.conf": `
[[registry]]
location = "{O}/team"
blocked = true
[[registry.mirror]]
location = "{A}/mirrored/team"
insecure = true
pull-from-mirror = "digest-only"
[[registry]]
location = "{O}/tools"
[[registry.mirror]]
location = "{C}/tools"
insecure = true
[[registry]]
location = "{C}/tools/secret"
blocked = true
`}, map[string]int{"team/app": 1, "tools/open": 22, "tools/secret": 11}},
		"the upstream first": {"regclient", map[string]string{"config.json": `{"hosts": {
"{O}": {"tls": "disabled", "hostname": "{O}", "mirrors": ["{A}", "{B}"], "priority": 0},
"{A}": {"tls": "disabled", "hostname": "{A}", "priority": 5},
"{B}": {"tls": "disabled", "hostname": "{B}", "pathPrefix": "b", "priority": 3}}}`}, map[string]int{"app": 33}},
		"no fallback": {"talos", map[string]string{"machine.yaml": `
machine:
  registries:
    mirrors:
      "{O}":
        endpoints: ["http://{A}", "http://{B}/v2/talos"]
        overridePath: true
        skipFallback: true
`}, map[string]int{"app": 22}},
		"old mirrors": {"containerd-cri", map[string]string{"config.toml": `
version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."{O}"]
endpoint = ["http://{C}/v2", "http://{B}/v2/cri"]
`}, map[string]int{"app": 33}},
		"flags": {"kaniko", map[string]string{"flags": "--registry-map={O}={A}/k\n--registry-map={O}={B}\n--insecure-registry={A}\n--insecure-registry={B}\n"}, map[string]int{"app": 33}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNowhere(t)
			files := map[string]string{}
			for name, text := range c.files {
				files[n.expand(name)] = n.expand(text)
			}
			dir := writeFiles(t, files)
			path := dir
			if len(files) == 1 && c.format != "hosts.toml" {
				for name := range files {
					path = filepath.Join(dir, name)
				}
			}
			rules := []string{c.format + "=" + path}
			at := "url = 'http://{O}'\n"
			if strings.HasSuffix(name, "instead") {
				at = "" // the rules say where it is
			}
			r := start(t, n.expand(fmt.Sprintf("rules = [%q]\n[[upstream]]\nname = '{O}'\nallow_private = true\naliases = ['o']\n%s", rules[0], at)))
			for image, places := range c.places {
				for i, which := range []string{someTag, someDigest} {
					want := explainPlan(t, rules, n.hosts[3]+"/"+image+which)
					if places := []int{places / 10, places % 10}[i]; len(want) != places {
						t.Errorf("%s%s: explain has %d places, this test means %d: %q", image, which, len(want), places, want)
					}
					n.takeLog()
					r.get(r.url + "/v2/o/" + image + "/manifests/" + which[1:])
					if got := n.takeLog(); !slices.Equal(got, want) {
						t.Errorf("%s%s\nasked     %q\nexplained %q", image, which, got, want)
					}
				}
			}
		})
	}
}
