package cli

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/google/go-cmp/cmp"
)

// A guess is a request with a digest that somebody has guessed, D.
type guess struct {
	method, path string
	header       http.Header
	body         string
}

// A reply is all that an answer tells, but for what differs between any two
// requests, with the digest written as D.
type reply struct {
	Status int
	Header http.Header
	Body   string
}

// sessionID is the name of an upload that was begun, which is random.
var sessionID = regexp.MustCompile(`uploads/[^/?]+`)

// guesses asks as bob with a digest in the place of D.
func (r *running) guesses(g guess, digest string) reply {
	r.t.Helper()
	fill := strings.NewReplacer("{D}", digest, "{hex}", strings.TrimPrefix(digest, "sha256:")).Replace
	req, err := http.NewRequest(g.method, r.url+fill(g.path), strings.NewReader(fill(g.body)))
	if err != nil {
		r.t.Fatal(err)
	}
	req.SetBasicAuth("bob", passwordOf("bob"))
	maps.Copy(req.Header, g.header)
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	blank := func(s string) string {
		return sessionID.ReplaceAllString(strings.NewReplacer(digest, "D", strings.TrimPrefix(digest, "sha256:"), "hex").Replace(s), "uploads/ID")
	}
	t := reply{resp.StatusCode, resp.Header, blank(string(body))}
	for _, name := range []string{"Date", "X-Request-Id", "Docker-Upload-Uuid"} {
		if t.Header.Get(name) != "" {
			t.Header.Set(name, "one")
		}
	}
	for name, values := range t.Header {
		for i := range values {
			t.Header[name][i] = blank(values[i])
		}
	}
	return t
}

// reads are the guesses about a repository that ask for something.
func reads(repo string) []guess {
	at := "/v2/" + repo
	accept := http.Header{"Accept": {oci.TypeImageManifest + ", " + oci.TypeImageIndex}}
	ranged := func(s string) http.Header { return http.Header{"Range": {s}} }
	var all []guess
	for _, method := range []string{"GET", "HEAD"} {
		all = append(all,
			guess{method: method, path: at + "/blobs/{D}"},
			guess{method: method, path: at + "/blobs/{D}", header: ranged("bytes=0-9")},
			guess{method: method, path: at + "/blobs/{D}", header: http.Header{"If-None-Match": {`"{D}"`}}},
			guess{method: method, path: at + "/manifests/{D}", header: accept},
			guess{method: method, path: at + "/referrers/{D}"},
			guess{method: method, path: at + "/manifests/sha256-{hex}", header: accept}, // where referrers are without the API
		)
	}
	return append(all,
		guess{method: "GET", path: at + "/blobs/{D}", header: ranged("bytes=999999999-")},
		guess{method: "GET", path: at + "/blobs/{D}", header: ranged("bytes=0-1,5-6")},
		guess{method: "GET", path: at + "/referrers/{D}?artifactType=x/y"},
	)
}

// writes are the guesses that would have content appear in bob's repository.
func writes(theirs ...string) []guess {
	at := "/v2/b/app"
	image := `{"schemaVersion":2,"mediaType":"` + oci.TypeImageManifest + `","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{D}","size":2},"layers":[{"mediaType":"x/y","digest":"{D}","size":100}]}`
	index := `{"schemaVersion":2,"mediaType":"` + oci.TypeImageIndex + `","manifests":[{"mediaType":"` + oci.TypeImageManifest + `","digest":"{D}","size":100}]}`
	all := []guess{
		{method: "POST", path: at + "/blobs/uploads/?mount={D}"},
		{method: "POST", path: at + "/blobs/uploads/?digest={D}", body: "other content"},
		{method: "POST", path: at + "/blobs/uploads/?digest={D}"},
		{method: "PUT", path: at + "/manifests/guess", header: http.Header{"Content-Type": {oci.TypeImageManifest}}, body: image},
		{method: "PUT", path: at + "/manifests/guess", header: http.Header{"Content-Type": {oci.TypeImageIndex}}, body: index},
		{method: "PUT", path: at + "/manifests/{D}", header: http.Header{"Content-Type": {oci.TypeImageIndex}}, body: `{"schemaVersion":2}`},
		{method: "DELETE", path: at + "/blobs/{D}"},
		{method: "DELETE", path: at + "/manifests/{D}"},
	}
	for _, from := range theirs {
		all = append(all, guess{method: "POST", path: at + "/blobs/uploads/?mount={D}&from=" + from})
	}
	return all
}

// same holds that two digests are answered alike, twice, at the cost of as many
// requests to the upstream, and that neither answer is content.
func (r *running) same(g guess, here, nowhere oci.Digest, upstream *regtest.Registry) {
	r.t.Helper()
	for _, time := range []string{"first", "second"} {
		ask := func(d oci.Digest) (reply, int) {
			if upstream == nil {
				return r.guesses(g, string(d)), 0
			}
			before := len(upstream.Log())
			t := r.guesses(g, string(d))
			return t, len(upstream.Log()) - before
		}
		a, costA := ask(here)
		b, costB := ask(nowhere)
		// For a moment the answer before is still being noted down, and X-Cache says
		// so, for either digest. What it says when that is over has to be the same.
		for again := 0; again < 20 && time == "second" && !cmp.Equal(a, b); again++ {
			a, costA = ask(here)
			b, costB = ask(nowhere)
		}
		if diff := cmp.Diff(b, a); diff != "" || costA != costB {
			r.t.Errorf("%s %s %v, the %s time, tells that it is here; %d and %d requests to the upstream (-nowhere +here):\n%s", g.method, g.path, g.header, time, costA, costB, diff)
		}
		if a.Status == http.StatusOK && !strings.Contains(g.path, "/referrers/") || a.Status == http.StatusCreated || a.Status == http.StatusPartialContent {
			r.t.Errorf("%s %s: got %d", g.method, g.path, a.Status)
		}
	}
}

// tenantAccounts makes accounts for alice and bob, as those of a house.
func tenantAccounts(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "htpasswd")
	text := "alice:$2a$04$jKVd345.8G3mCXzzODFtWOkVm3I/PSEEzo341buSFZoU5Zbot.2VS\n" +
		"bob:$2a$04$d8TX4/WYP0dBgMIgxSiCQeEMjkk8Okwll.GoIsoD3awAzM9qL04i2\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTwoTenants holds that bob, who has guessed the digest of something that
// alice alone may read, cannot tell whether it is here: the answer is the one to
// a digest that is nowhere, byte for byte, whatever he asks, and so is what the
// upstream is asked on the way (spec/serve.md D1 to D5, CVE-2024-39897,
// CVE-2026-35172).
func TestTwoTenants(t *testing.T) {
	t.Run("hosted", testTenantsHosted)
	t.Run("service", testTenantsService)
	t.Run("passthrough", testTenantsPassthrough)
}

// asAlice gets something that has to be there, since otherwise nothing is held.
func (r *running) asAlice(url string) {
	r.t.Helper()
	if code, _, body := r.asTenant("alice", url); code != http.StatusOK {
		r.t.Fatalf("alice's own %s: got %d %s", url, code, body)
	}
}

// absent is the digest of nothing that anybody has.
func absent(n int) oci.Digest { return oci.FromBytes(fmt.Appendf(nil, "nowhere %d", n), "") }

func testTenantsHosted(t *testing.T) {
	r := start(t, fmt.Sprintf(`[auth]
htpasswd = %q
anonymous = 'none'
[[access]]
who = ['alice']
repositories = ['a/**']
allow = ['pull', 'push', 'delete']
[[access]]
who = ['bob']
repositories = ['b/**']
allow = ['pull', 'push', 'delete']
`, tenantAccounts(t)))
	here := r.pushAs("alice", "a/app", "the secret of alice")
	r.pushAs("bob", "b/app", "bob's own")
	for i, d := range []oci.Digest{here.config, here.layer, here.manifest, here.referrer} {
		for _, repo := range []string{"b/app", "b/none", "a/app", "a/none"} {
			for _, g := range reads(repo) {
				r.same(g, d, absent(i), nil)
			}
		}
		for _, g := range writes("a/app", "a/none", "b/app", "docker.io/library/x") {
			r.same(g, d, absent(i), nil)
		}
	}
	// Neither can he tell which repositories and tags there are.
	for _, path := range []string{"tags/list", "manifests/v1", "manifests/v2"} {
		r.same(guess{method: "GET", path: "/v2/{D}/" + path}, "a/app", "a/nix", nil)
	}
	if list := r.guesses(guess{method: "GET", path: "/v2/_catalog"}, "x"); list.Status != http.StatusOK || strings.TrimSpace(list.Body) != `{"repositories":["b/app"]}` {
		t.Errorf("catalog: %d %s", list.Status, list.Body)
	}
}

// A pushed is what alice has pushed.
type pushedImage struct{ config, layer, manifest, referrer oci.Digest }

// pushAs pushes an image and what refers to it.
func (r *running) pushAs(user, repo, content string) (p pushedImage) {
	r.t.Helper()
	at := r.url + "/v2/" + repo
	do := func(method, url, mediaType, body string) {
		req, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			r.t.Fatal(err)
		}
		req.SetBasicAuth(user, passwordOf(user))
		req.Header.Set("Content-Type", mediaType)
		resp, err := r.client.Do(req)
		if err != nil {
			r.t.Fatal(err)
		}
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			r.t.Fatalf("%s %s: got %d %s", method, url, resp.StatusCode, answer)
		}
	}
	blob := func(content string) oci.Digest {
		d := oci.FromBytes([]byte(content), "")
		do("POST", at+"/blobs/uploads/?digest="+string(d), "application/octet-stream", content)
		return d
	}
	manifest := func(text, reference string) oci.Digest {
		do("PUT", at+"/manifests/"+reference, oci.TypeImageManifest, text)
		return oci.FromBytes([]byte(text), "")
	}
	p.config, p.layer = blob(`{"of":"`+content+`"}`), blob(content)
	text := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"x/y","digest":%q,"size":%d}]}`,
		oci.TypeImageManifest, p.config, len(`{"of":"`+content+`"}`), p.layer, len(content))
	p.manifest = manifest(text, "v1")
	p.referrer = manifest(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"x/y","config":{"mediaType":"x/y","digest":%q,"size":%d},"layers":[],"subject":{"mediaType":%q,"digest":%q,"size":%d}}`,
		oci.TypeImageManifest, p.config, len(`{"of":"`+content+`"}`), oci.TypeImageManifest, p.manifest, len(text)), "signature")
	return p
}

// A private is an upstream with an image of alice's, and one of bob's.
func privateUpstream(t *testing.T, tenants map[string]string) (*regtest.Registry, *house, []oci.Digest) {
	t.Helper()
	reg := regtest.New(t, regtest.Config{})
	img := reg.AddImage("team-a/app", regtest.Image{Layers: []int64{100_000}, Seed: 1}, "v1")
	reg.AddReferrer("team-a/app", oci.Descriptor{MediaType: img.MediaType, Digest: img.Digest, Size: int64(len(img.Raw))}, "x/y", 5)
	reg.AddImage("team-b/app", regtest.Image{Layers: []int64{1000}, Seed: 2}, "v1")
	return reg, startHouse(t, reg, tenants), []oci.Digest{img.Digest, img.Config.Digest, img.Layers[0].Digest}
}

// warm has alice pull her image.
func (r *running) warm(digests []oci.Digest) {
	r.t.Helper()
	at := r.url + "/v2/house.example/team-a/app/"
	r.asAlice(at + "manifests/v1")
	r.asAlice(at + "manifests/" + string(digests[0]))
	for _, d := range digests[1:] {
		r.asAlice(at + "blobs/" + string(d))
	}
	r.asAlice(at + "referrers/" + string(digests[0]))
}

func testTenantsService(t *testing.T) {
	reg, h, digests := privateUpstream(t, map[string]string{"robot": "team-"})
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(passwordOf("robot")), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, fmt.Sprintf(`[auth]
htpasswd = %q
anonymous = 'none'
[[access]]
who = ['alice']
repositories = ['house.example/team-a/**']
allow = ['pull']
[[access]]
who = ['bob']
repositories = ['house.example/team-b/**', 'b/**']
allow = ['pull', 'push', 'delete']
[[upstream]]
name = 'house.example'
url = %q
allow_private = true
auth = 'service'
username = 'robot'
password_file = %q
`, tenantAccounts(t), h.url, password))
	r.warm(digests)
	r.pushAs("bob", "b/app", "bob's own")
	for i, d := range digests {
		for _, repo := range []string{"house.example/team-b/app", "house.example/team-b/none", "house.example/team-a/app"} {
			for _, g := range reads(repo) {
				r.same(g, d, absent(i), reg)
			}
		}
		for _, g := range writes("house.example/team-a/app", "team-a/app") {
			r.same(g, d, absent(i), reg)
		}
	}
}

func testTenantsPassthrough(t *testing.T) {
	reg, h, digests := privateUpstream(t, map[string]string{"alice": "team-a/", "bob": "team-b/"})
	r := start(t, fmt.Sprintf("[auth]\nanonymous = 'pull'\n[[upstream]]\nname = 'house.example'\nurl = %q\nallow_private = true\nauth = 'passthrough'\n", h.url))
	r.warm(digests)
	for _, repo := range []string{"team-b/app", "team-b/none", "team-a/app"} { // that he may not is remembered, and told
		r.guesses(guess{method: "GET", path: "/v2/house.example/" + repo + "/blobs/{D}"}, string(absent(99)))
	}
	for i, d := range digests {
		for _, repo := range []string{"house.example/team-b/app", "house.example/team-b/none", "house.example/team-a/app"} {
			for _, g := range reads(repo) {
				r.same(g, d, absent(i), reg)
			}
		}
	}
}
