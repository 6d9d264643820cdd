package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// TestHangUp follows rules that change while clients pull, in a process of its
// own that gets a real SIGHUP.
func TestHangUp(t *testing.T) {
	shelf := regtest.NewShelf()
	mirrors := []*regtest.Registry{regtest.New(t, regtest.Config{Shelf: shelf}), regtest.New(t, regtest.Config{Shelf: shelf})}
	file := filepath.Join(t.TempDir(), "mirrors")
	leadTo := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	leadTo(firstUpstream + "=" + mirrors[0].URL())
	e := serve(t, serving{rules: []string{"cnb=" + file}, upstreams: []upstream{{name: firstUpstream, url: unreachable(t)}}})
	hangUp := func(line string) {
		t.Helper()
		before := strings.Count(e.log.String(), line)
		if err := e.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, line, func() bool { return strings.Count(e.log.String(), line) > before })
	}
	const rounds, each = 6, 40
	var pulled atomic.Int64
	var clients sync.WaitGroup
	for c := range 4 {
		clients.Go(func() {
			for i := range rounds * each / 4 {
				repo := fmt.Sprintf("app%d-%d", c, i)
				img := shelf.AddImage(repo, regtest.Image{Layers: []int64{50_000}, Seed: uint64(1000*c + i)}, "v1")
				for _, what := range []string{"manifests/v1", "blobs/" + string(img.Layers[0].Digest)} {
					a, err := tryGet(t, http.MethodGet, e.url+"/v2/"+firstUpstream+"/"+repo+"/"+what)
					if err != nil || a.err != nil || a.StatusCode != http.StatusOK {
						t.Errorf("%s of %s: status %d, %v, %v", what, repo, statusOf(a.Response), err, a.err)
					}
				}
				pulled.Add(1)
			}
		})
	}
	for round := 1; round <= rounds; round++ {
		leadTo(firstUpstream + "=" + mirrors[round%2].URL())
		hangUp("mirror rules reloaded")
		eventually(t, "pulls go on", func() bool { return pulled.Load() >= int64((round-1)*each) })
	}
	clients.Wait()
	for i, m := range mirrors {
		if m.Count("GET", regtest.Blob) == 0 {
			t.Errorf("mirror %d was never asked", i)
		}
	}
	leadTo(firstUpstream + "=https://user:secret@mirror.example")
	hangUp("not reloaded")
	if said := e.log.String(); !strings.Contains(said, file+":1: ") || strings.Contains(said, "secret") {
		t.Errorf("it says about the mistake:\n%s", e.log.tail(3))
	}
	if n := e.metric(t, "entrepot_reloads_total", `result="failed"`); n != 1 {
		t.Errorf("%v failed reloads are counted, want 1", n)
	}
	e.ready(t)
}

// A street is several registries with the same images, and one list of the
// requests to all of them.
type street struct {
	shelf  *regtest.Shelf
	houses map[string]*house // :: name → registry

	mu    sync.Mutex // guards asked and broken of the houses
	asked []string   // names of houses, in order; one that is asked several times in a row is there once
}

type house struct {
	*httptest.Server
	host   string
	broken bool // it answers 503
}

func newStreet(t *testing.T, names ...string) *street {
	t.Helper()
	s := &street{shelf: regtest.NewShelf(), houses: map[string]*house{}}
	for _, name := range names {
		to, err := url.Parse(regtest.New(t, regtest.Config{Shelf: s.shelf}).URL())
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{DisableCompression: true}
		t.Cleanup(transport.CloseIdleConnections)
		h := &house{}
		proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
		h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !s.enter(name) {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			proxy.ServeHTTP(w, r)
		}))
		t.Cleanup(h.Close)
		h.host = strings.TrimPrefix(h.URL, "http://")
		s.houses[name] = h
	}
	return s
}

// enter notes a request, and reports whether the house is well.
func (s *street) enter(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 || s.asked[len(s.asked)-1] != name {
		s.asked = append(s.asked, name)
	}
	return !s.houses[name].broken
}

// breakDown lets a house answer 503 from now on.
func (s *street) breakDown(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.houses[name].broken = true
}

// take returns the houses in the order in which they were first asked, and
// begins another list.
func (s *street) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var order []string
	for _, name := range s.asked {
		if !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	s.asked = nil
	return order
}

// put puts an image into all houses.
func (s *street) put(im *image) {
	for _, b := range im.blobs {
		s.shelf.AddBlob(im.repo, regtest.Bytes(b))
	}
	for _, m := range im.manifests {
		s.shelf.AddManifest(im.repo, m.MediaType, m.Raw, im.tag)
	}
}

// expand puts the houses' addresses into a text, for their names in braces.
func (s *street) expand(text string) string {
	for name, h := range s.houses {
		host, port, _ := strings.Cut(h.host, ":")
		text = strings.NewReplacer("{"+name+"}", h.host, "{"+name+"_}", host+"_"+port+"_").Replace(text)
	}
	return text
}

// explained returns the houses in the order that explain prints for a client.
func (s *street) explained(t *testing.T, client, rules, name string) []string {
	t.Helper()
	bin, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	var plan struct {
		Tries []struct{ URL string }
		Error string
	}
	out := run(t, exec.Command(bin, "explain", "--json", "--as", client, "--rules", rules, name))
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&plan); err != nil || plan.Error != "" {
		t.Fatalf("explain: %v\n%s", err, out)
	}
	var order []string
	for _, try := range plan.Tries {
		for name, h := range s.houses {
			if strings.Contains(try.URL, "://"+h.host+"/") && !slices.Contains(order, name) {
				order = append(order, name)
			}
		}
	}
	return order
}

// A converted is a configuration that convert writes, and the client that
// reads it.
type converted struct {
	from, to   string // formats
	file, text string // of from: a path below its directory, and what stands there
	client     string // as explain calls it
	tools      []string
	pull       func(t *testing.T, conf string, im *image, name string)
}

var conversions = []converted{
	{from: "hosts.toml", to: "registries.conf", client: "podman", tools: []string{"podman"}, pull: podmanBy,
		file: "{origin_}/hosts.toml", text: `
server = "http://{origin}"
skip_verify = true
[host."http://{near}"]
skip_verify = true
[host."http://{far}"]
skip_verify = true
`},
	{from: "registries.conf", to: "hosts.toml", client: "containerd", tools: []string{"containerd", "ctr"}, pull: ctrBy,
		file: "registries.conf", text: `
[[registry]]
location = "{origin}"
insecure = true
[[registry.mirror]]
location = "{near}"
insecure = true
[[registry.mirror]]
location = "{far}"
insecure = true
`},
}

// podmanBy pulls with podman by a registries.conf.
func podmanBy(t *testing.T, conf string, im *image, name string) {
	podman := podmanIn(t, t.TempDir(), conf)
	podman("pull", "--quiet", "--signature-policy", policy(t), name)
	digests := podman("image", "inspect", "--format", "{{range .RepoDigests}}{{.}} {{end}}", name)
	if !strings.Contains(digests, string(im.root().Digest)) {
		t.Errorf("podman knows the image as %s, want %s", digests, im.root().Digest)
	}
}

// ctrBy pulls with a containerd of its own by a certs.d directory.
func ctrBy(t *testing.T, conf string, im *image, name string) {
	p, sock := startContainerd(t, t.TempDir())
	defer p.stop(t)
	ctr := func(args ...string) *exec.Cmd {
		return exec.Command(kit.tool(t, "ctr"), append([]string{"-a", sock}, args...)...)
	}
	run(t, ctr("images", "pull", "--platform", "linux/amd64", "--snapshotter", "native", "--hosts-dir", conf, name))
	for _, d := range im.closure(false) {
		got, err := ctr("content", "get", string(d)).Output()
		if err != nil || !bytes.Equal(got, im.content(d)) {
			t.Errorf("containerd has %d bytes of %s, %v; want the origin's %d", len(got), d, err, len(im.content(d)))
		}
	}
}

// TestConverted pulls with real clients by configuration that `entrepot
// convert` wrote: from the first mirror; where that is not there and the next
// one is broken from the origin; and always in the order that `entrepot
// explain` prints.
func TestConverted(t *testing.T) {
	for _, c := range conversions {
		t.Run(c.client, func(t *testing.T) {
			for _, tool := range c.tools {
				kit.tool(t, tool)
			}
			s := newStreet(t, "near", "far", "origin")
			conf := s.convert(t, c)
			pull := func(salt string) (got, want []string) {
				im := newImage("team/"+salt, "v1")
				im.platform(t, "amd64", false, layer{append(salted(t, nil, salt+c.client), make([]byte, 1024)...), gzipped})
				s.put(im)
				name := s.houses["origin"].host + "/" + im.repo + ":" + im.tag
				want = s.explained(t, c.client, c.to+"="+conf, name)
				if order := []string{"near", "far", "origin"}; !slices.Equal(want, order) {
					t.Fatalf("explain has the order %q, want %q", want, order)
				}
				c.pull(t, conf, im, name)
				return s.take(), want
			}
			if got, want := pull("well"); !slices.Equal(got, want[:1]) {
				t.Errorf("all is well, and %q were asked, want %q", got, want[:1])
			}
			s.houses["near"].Close()
			if got, want := pull("down"); !slices.Equal(got, want[1:2]) {
				t.Errorf("the first is down, and %q were asked, want %q", got, want[1:2])
			}
			s.breakDown("far")
			if got, want := pull("broken"); !slices.Equal(got, want[1:]) {
				t.Errorf("the second is broken, and %q were asked, want %q", got, want[1:])
			}
		})
	}
}

// convert lets the command write a configuration and returns where it is.
func (s *street) convert(t *testing.T, c converted) string {
	t.Helper()
	bin, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	from := filepath.Join(dir, "from", s.expand(c.file))
	if err := os.MkdirAll(filepath.Dir(from), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(from, []byte(s.expand(c.text)), 0o644); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "to")
	if c.to == "registries.conf" {
		to = filepath.Join(dir, "registries.conf")
	}
	run(t, exec.Command(bin, "convert", "--from", c.from+"="+filepath.Join(dir, "from"), "--to", c.to+"="+to))
	return to
}
