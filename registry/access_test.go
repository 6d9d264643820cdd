package registry

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// The passwords of the accounts ci and bob, as an htpasswd file keeps them:
// their own names, at bcrypt's lowest cost.
const htpasswd = "ci:$2a$04$rLUNaSKJashv/v./zgjJ6.GBFwabuXrN72y9zua/1a/KoPtHoLjJe\n" +
	"bob:$2a$04$irxpBJBi5iYk5XvOA7ts8ePFHzea.xIgxeIxX8ea9n9VdRb50KJQa\n"

func newDoor(t *testing.T, cfg access.DoorConfig) *access.Door {
	t.Helper()
	cfg.Htpasswd = filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(cfg.Htpasswd, []byte(htpasswd), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := access.NewDoor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func rules(t *testing.T, anonymous access.Rights, all ...access.Rule) access.Policy {
	t.Helper()
	return access.Policy{Anonymous: anonymous, Rules: all}
}

func pattern(t *testing.T, s string) []ref.Pattern {
	t.Helper()
	p, err := ref.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return []ref.Pattern{p}
}

// as asks for something with an account's name as its password; "" is nobody.
func as(h http.Handler, user, method, target string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	if user != "" {
		name, password, ok := strings.Cut(user, ":")
		if !ok {
			password = name
		}
		r.SetBasicAuth(name, password)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestRoles is the table of verbs and roles (E1, E2, E5, CVE-2026-41888).
func TestRoles(t *testing.T) {
	const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	policy := func(anonymous access.Rights) access.Policy {
		return rules(t, anonymous,
			access.Rule{Users: []string{"ci"}, Repositories: pattern(t, "apps/**"), Allow: access.Pull | access.Push},
			access.Rule{Users: []string{"bob"}, Repositories: pattern(t, "**"), Allow: access.Pull})
	}
	for _, c := range []struct {
		request                                string
		nobodyNone, nobodyPull, ci, bob, wrong int
	}{
		{"GET /v2/", 401, 200, 200, 200, 401},
		{"GET /v2/_catalog", 401, 200, 200, 200, 401},
		{"GET /v2/apps/x/manifests/t", 401, 404, 404, 404, 401},
		{"HEAD /v2/apps/x/blobs/" + digest, 401, 404, 404, 404, 401},
		{"GET /v2/apps/x/tags/list", 401, 404, 404, 404, 401},
		{"GET /v2/apps/x/referrers/" + digest, 401, 200, 200, 200, 401},
		{"POST /v2/apps/x/blobs/uploads/", 401, 401, 202, 403, 401},
		{"GET /v2/apps/x/blobs/uploads/x", 401, 401, 404, 403, 401},
		{"PATCH /v2/apps/x/blobs/uploads/x", 401, 401, 404, 403, 401},
		{"PUT /v2/apps/x/blobs/uploads/x?digest=" + digest, 401, 401, 404, 403, 401},
		{"DELETE /v2/apps/x/blobs/uploads/x", 401, 401, 404, 403, 401},
		{"PUT /v2/apps/x/manifests/latest", 401, 401, 400, 403, 401},
		{"DELETE /v2/apps/x/manifests/latest", 401, 401, 403, 403, 401},
		{"DELETE /v2/apps/x/manifests/" + digest, 401, 401, 403, 403, 401},
		{"DELETE /v2/apps/x/blobs/" + digest, 401, 401, 403, 403, 401},
		{"GET /v2/other/manifests/t", 401, 404, 404, 404, 401},
		{"POST /v2/other/blobs/uploads/", 401, 401, 403, 403, 401},
		{"GET /v2/docker.io/library/x/manifests/t", 401, 404, 404, 404, 401},
		{"POST /v2/docker.io/library/x/blobs/uploads/", 401, 403, 403, 403, 401},
	} {
		door := newDoor(t, access.DoorConfig{}) // which has seen no wrong passwords
		for _, on := range []struct {
			anonymous access.Rights
			user      string
			want      int
		}{
			{access.None, "", c.nobodyNone}, {access.Pull, "", c.nobodyPull},
			{access.Pull, "ci", c.ci}, {access.None, "bob", c.bob}, {access.Pull, "bob:wrong", c.wrong}, {access.Pull, "eve", c.wrong},
		} {
			m := newMemory()
			h := handler(t, Config{Routes: Routes{Upstreams: []Upstream{{Name: "docker.io"}}}, Hosted: m, Proxied: m, Access: policy(on.anonymous), Door: door})
			method, target, _ := strings.Cut(c.request, " ")
			w := as(h, on.user, method, target)
			checkRefusal(t, w, c.request+" by "+on.user, on.want)
		}
	}
}

func checkRefusal(t *testing.T, w *httptest.ResponseRecorder, what string, want int) {
	t.Helper()
	if w.Code == http.StatusTooManyRequests {
		t.Fatalf("%s: the table has too many wrong passwords", what)
	}
	if w.Code != want {
		t.Errorf("%s: got %d, want %d: %s", what, w.Code, want, w.Body)
	}
	if challenge := w.Header().Get("Www-Authenticate"); (challenge != "") != (w.Code == 401) && w.Code != 200 {
		t.Errorf("%s: %d with challenge %q", what, w.Code, challenge)
	}
	if code := map[int]string{401: oci.CodeUnauthorized, 403: oci.CodeDenied}[want]; w.Body.Len() > 0 && !strings.Contains(w.Body.String(), code) {
		t.Errorf("%s: %d with %s", what, w.Code, w.Body)
	}
}

// addBlob puts content into a repository of ours.
func addBlob(m *memory, path, content string) oci.Digest {
	d := oci.FromBytes([]byte(content), "")
	repo := m.repo(ref.Name{Path: path})
	repo.blobs[d] = []byte(content)
	repo.manifests[d] = oci.Manifest{Digest: d} // so that the repository is listed
	return d
}

// TestRefusalTellsNothing holds that who may not read cannot tell what there is.
func TestRefusalTellsNothing(t *testing.T) {
	m := newMemory()
	d := addBlob(m, "apps/there", "secret content")
	h := handler(t, Config{Hosted: m, Door: newDoor(t, access.DoorConfig{}), Access: rules(t, access.None,
		access.Rule{Users: []string{"bob"}, Repositories: pattern(t, "mine/**"), Allow: access.All})})
	for _, path := range []string{"blobs/" + string(d), "manifests/t", "manifests/" + string(d), "tags/list", "referrers/" + string(d)} {
		for _, user := range []string{"bob", ""} {
			there, gone := as(h, user, "GET", "/v2/apps/there/"+path), as(h, user, "GET", "/v2/apps/nones/"+path)
			if a, b := there.Body.String(), strings.ReplaceAll(gone.Body.String(), "apps/nones", "apps/there"); a != b || there.Code != gone.Code || there.Code < 401 || there.Code > 403 {
				t.Errorf("%s %s: %d %s, and where there is none %d %s", user, path, there.Code, a, gone.Code, b)
			}
		}
	}
	// Neither by a mount nor by the catalog.
	for _, from := range []string{"", "&from=apps/there"} {
		if w := as(h, "bob", "POST", "/v2/mine/x/blobs/uploads/?mount="+string(d)+from); w.Code != http.StatusAccepted {
			t.Errorf("mount %q: got %d", from, w.Code)
		}
	}
	addBlob(m, "mine/y", "own content")
	if w := as(h, "bob", "GET", "/v2/_catalog"); strings.Contains(w.Body.String(), "apps/") || !strings.Contains(w.Body.String(), "mine/y") {
		t.Errorf("catalog: %s", w.Body)
	}
}

// TestMountAcrossReadable holds that who may read both may mount, and without a
// name only who may read all.
func TestMountAcrossReadable(t *testing.T) {
	for _, from := range []string{"", "&from=apps/there"} {
		m := newMemory()
		d := addBlob(m, "apps/there", "content")
		h := handler(t, Config{Hosted: m, Door: newDoor(t, access.DoorConfig{})})
		if w := as(h, "bob", "POST", "/v2/mine/x/blobs/uploads/?mount="+string(d)+from); w.Code != http.StatusCreated {
			t.Errorf("mount %q: got %d", from, w.Code)
		}
	}
}

func TestForeignNetworkIsRefused(t *testing.T) {
	door := newDoor(t, access.DoorConfig{CIDR: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	h := handler(t, Config{Hosted: newMemory(), Door: door, Access: access.Policy{Anonymous: access.All}})
	r := httptest.NewRequest("GET", "/v2/", nil)
	r.Header.Set("X-Forwarded-For", "10.0.0.1")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), oci.CodeDenied) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	r.RemoteAddr = "10.0.0.1:9"
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("from inside: got %d %s", w.Code, w.Body)
	}
}

// TestAnswersArePrivate holds that caches on the way keep nothing for others.
func TestAnswersArePrivate(t *testing.T) {
	m := newMemory()
	d := addBlob(m, "apps/x", "content")
	h := handler(t, Config{Hosted: m, Door: newDoor(t, access.DoorConfig{}), Access: access.Policy{Anonymous: access.Pull}})
	if got := as(h, "", "GET", "/v2/apps/x/blobs/"+string(d)).Header().Get("Cache-Control"); !strings.HasPrefix(got, "private, ") {
		t.Errorf("got %q", got)
	}
}
