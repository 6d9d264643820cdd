package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/internal/golden"
)

// A crossroads is a proxy that all registries are behind. It has none of their
// images, and logs what each was asked, in order.
type crossroads struct {
	*httptest.Server

	mu  sync.Mutex // guards log
	log []string   // host and path; a question that is repeated at one place is one
}

func newCrossroads(t *testing.T) *crossroads {
	c := &crossroads{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/manifests/") {
			c.mu.Lock()
			defer c.mu.Unlock()
			if asked := r.Host + r.URL.RequestURI(); len(c.log) == 0 || c.log[len(c.log)-1] != asked {
				c.log = append(c.log, asked)
			}
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *crossroads) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	log := c.log
	c.log = nil
	return log
}

// TestSaveDoesWhatExplainSays runs the golden cases of registries.conf through
// save: the order of requests on the wire is the plan that explain prints, which
// TestGolden holds against the client's own.
func TestSaveDoesWhatExplainSays(t *testing.T) {
	file := golden.Files()[slices.IndexFunc(golden.Files(), func(f golden.File) bool { return f.Name == "registries.conf" })]
	cases, err := golden.Read(kit.root, file.Name)
	if err != nil {
		t.Fatal(err)
	}
	c := newCrossroads(t)
	ran := 0
	for _, one := range cases {
		path, err := one.Write(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		args := one.Args(file, path) // explain --json --as CLIENT … REFERENCE
		want, hosts, ok := explainedPlaces(t, one.Config.Env, args)
		if !ok {
			continue
		}
		ran++
		rules := args[2 : len(args)-1]
		got := c.asked(t, one.Config.Env, rules, hosts, one.Reference)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %s\nasked     %q\nexplained %q", one.Name, one.Reference, got, want)
		}
	}
	if ran < 40 {
		t.Errorf("%d of %d cases were run, want most of them", ran, len(cases))
	}
}

// explainedPlaces returns what explain says will be asked, and of which hosts. ok
// is false where one of them is on this machine, which no proxy is asked for.
func explainedPlaces(t *testing.T, env map[string]string, args []string) (places, hosts []string, ok bool) {
	t.Helper()
	_, out, _ := runEntrepot(t, env, args...)
	var plan struct {
		Tries []struct {
			URL      string `json:"url"`
			Blocked  bool   `json:"blocked"`
			Unusable string `json:"unusable"`
		} `json:"tries"`
	}
	if err := json.Unmarshal(out, &plan); err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
	for _, try := range plan.Tries {
		if try.Blocked || try.Unusable != "" {
			continue
		}
		u, err := url.Parse(try.URL)
		if err != nil {
			t.Fatal(err)
		}
		if u.Hostname() == "localhost" || strings.HasPrefix(u.Hostname(), "127.") || u.Hostname() == "::1" {
			return nil, nil, false
		}
		places = append(places, u.Host+u.RequestURI())
		hosts = append(hosts, u.Host)
	}
	return slices.Compact(places), hosts, true // as the log has them
}

// asked saves one image through rules and returns what was asked for it. All
// hosts are spoken to by plain HTTP, so that the proxy sees what they are asked.
func (c *crossroads) asked(t *testing.T, env map[string]string, rules, hosts []string, image string) []string {
	t.Helper()
	bin, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"save", "-", "--kind", "images", "--output", t.TempDir() + "/images.tar", "--retry", "1", "--quiet"}, rules...)
	for _, h := range hosts {
		args = append(args, "--plain-http", h)
	}
	cmd := exec.Command(bin, args...)
	dieWithParent(cmd)
	cmd.Stdin = strings.NewReader(image + "\n")
	cmd.Env = []string{"HOME=" + t.TempDir(), "HTTP_PROXY=" + c.URL, "HTTPS_PROXY=" + c.URL}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	c.take()
	if cmd.Run() == nil {
		t.Errorf("%s was saved from nowhere", image)
	}
	return c.take()
}
