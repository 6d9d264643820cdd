package cli

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/ref"
)

// A house is a registry whose repositories have tenants: whoever is not one of
// a repository's is refused, by Basic.
type house struct {
	url     string
	tenants map[string]string // :: user → the prefix of the repositories that are theirs

	mu      sync.Mutex // guards what follows
	seen    []string   // "user repository", "-" for nobody, of what was let in or refused
	limited string     // a user who gets a 429, "" for none
}

// startHouse lets tenants into a registry; a user's password is the name
// backwards.
func startHouse(t *testing.T, reg *regtest.Registry, tenants map[string]string) *house {
	h := &house{tenants: tenants}
	to, err := url.Parse(reg.URL())
	if err != nil {
		t.Fatal(err)
	}
	next := httputil.NewSingleHostReverseProxy(to)
	next.Transport = &http.Transport{DisableKeepAlives: true} // so that nothing is left when the server under test has ended
	next.ErrorLog = log.New(io.Discard, "", 0)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.admits(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="house"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if user, _, _ := r.BasicAuth(); user != "" && h.limits(user) {
			w.Header().Set("Retry-After", "300")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	h.url = s.URL
	return h
}

func (h *house) admits(r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	repo := strings.TrimPrefix(r.URL.Path, "/v2/")
	for _, below := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		repo, _, _ = strings.Cut(repo, below)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !ok {
		user = "-"
	}
	h.seen = append(h.seen, user+" "+repo)
	prefix, known := h.tenants[user]
	return known && password == passwordOf(user) && strings.HasPrefix(repo, prefix)
}

// limit has a user get nothing but a 429 from now on.
func (h *house) limit(user string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limited = user
}

func (h *house) limits(user string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return user == h.limited
}

// count returns how many requests each user has sent.
func (h *house) count() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := map[string]int{}
	for _, s := range h.seen {
		user, _, _ := strings.Cut(s, " ")
		n[user]++
	}
	return n
}

func passwordOf(user string) string {
	b := []byte(user)
	slices.Reverse(b)
	return string(b)
}

// who returns the users that asked for a repository.
func (h *house) who(repo string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var users []string
	for _, s := range h.seen {
		if user, r, _ := strings.Cut(s, " "); r == repo && user != "-" && !slices.Contains(users, user) {
			users = append(users, user)
		}
	}
	return users
}

func TestAccountOfARepository(t *testing.T) {
	pattern := func(texts ...string) (all []ref.Pattern) {
		for _, s := range texts {
			p, err := ref.ParsePattern(s)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
		return all
	}
	u := upstream{account: account{username: "all"}, parts: []part{
		{account: account{username: "team"}, patterns: pattern("team/**")},
		{account: account{username: "secret"}, patterns: pattern("team/secret/**", "*/vault")},
		{account: account{username: "late"}, patterns: pattern("team/*")},
	}}
	for path, want := range map[string]string{
		"team/app":          "team", // of two that say the same, the first
		"team/a/b":          "team",
		"team/secret/x":     "secret",
		"team/vault":        "secret",
		"team/secret/vault": "secret",
		"teams/app":         "all",
		"library/alpine":    "all",
		"other/vault":       "secret",
	} {
		if got := u.as(u.choose(path)).account.username; got != want {
			t.Errorf("%s is read as %q, want %q", path, got, want)
		}
	}
}

// The policy and the place of a repository have the same account: otherwise
// what one may read would be kept as another's.
func TestAccountsPartTheCache(t *testing.T) {
	u := upstream{name: "docker.io", url: "https://registry-1.docker.io", parts: []part{
		{account: account{username: "team"}, patterns: []ref.Pattern{{"team", "**"}}},
		{account: account{dockerConfig: "file"}, patterns: []ref.Pattern{{"other", "**"}}},
	}}
	wild := u
	wild.name, wild.url = "*.example.com", ""
	places, policies := testPlaces(t, u, wild), newPolicies([]upstream{u, wild}, func(string) string { return "" })
	for _, host := range []string{"docker.io", "a.example.com"} {
		seen := map[string]string{}
		for _, path := range []string{"team/app", "other/app", "library/app"} {
			n := ref.Name{Host: host, Path: path}
			var e *estate
			if host == "docker.io" {
				e = places.fixed[host]
			} else {
				var err error
				if e, err = places.below(host); err != nil {
					t.Fatal(err)
				}
			}
			pol := policies.of(context.Background(), n)
			if want := e.at(path).scope(host); pol.Scope != want {
				t.Errorf("%s is kept in %q and read as %q", n, pol.Scope, want)
			}
			if other, taken := seen[pol.Scope]; taken {
				t.Errorf("%s and %s share a scope", path, other)
			}
			seen[pol.Scope] = path
			if anonymous := path == "library/app"; pol.Anonymous != anonymous || (e.at(path).credentials == nil) != anonymous {
				t.Errorf("%s: anonymous is %t", n, pol.Anonymous)
			}
		}
	}
}

// Each repository is read with its own account; what one may read does not
// answer where another one is used.
func TestServeWithSeveralAccounts(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	secret := reg.AddImage("team/app", regtest.Image{Layers: []int64{100_000}, Seed: 1}, "v1")
	reg.AddImage("open/app", regtest.Image{Layers: []int64{1000}, Seed: 2}, "v1")
	h := startHouse(t, reg, map[string]string{"team": "team/", "reader": "open/"})
	dir := t.TempDir()
	for _, user := range []string{"team", "reader"} {
		if err := os.WriteFile(filepath.Join(dir, user), []byte(passwordOf(user)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, fmt.Sprintf(`
[[upstream]]
name = "example.com"
url = %q
allow_private = true
auth = "service"
username = "reader"
password_file = "%s/reader"

[[upstream.account]]
repositories = ["team/**"]
username = "team"
password_file = "%s/team"
`, h.url, dir, dir))
	for _, repo := range []string{"team/app", "open/app"} {
		if err := pullAll(r.client, r.url+"/v2/example.com/"+repo); err != nil {
			t.Fatal(err)
		}
	}
	for repo, want := range map[string]string{"team/app": "team", "open/app": "reader"} {
		if got := h.who(repo); !slices.Equal(got, []string{want}) {
			t.Errorf("%s was read as %v, want %s", repo, got, want)
		}
	}
	for _, what := range []string{"blobs/" + string(secret.Layers[0].Digest), "manifests/" + string(secret.Digest)} {
		if code, _, body := r.get(r.url + "/v2/example.com/open/app/" + what); code != 404 {
			t.Errorf("%s by another repository: got %d with %d bytes, want 404", what, code, len(body))
		}
	}
}

// Accounts for the same repositories take turns, and what one has read the
// others have. One that asks too much is passed over, so that nobody hears of
// it (spec/serve.md, F5).
func TestServeWithAccountsInTurn(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	const images = 8
	for i := range images {
		reg.AddImage(fmt.Sprintf("team/app%d", i), regtest.Image{Layers: []int64{1000}, Seed: uint64(i)}, "v1")
	}
	h := startHouse(t, reg, map[string]string{"one": "team/", "two": "team/", "three": "team/"})
	text := fmt.Sprintf("[[upstream]]\nname = 'example.com'\nurl = %q\nallow_private = true\nauth = 'service'\n", h.url)
	for _, user := range []string{"one", "two", "three"} {
		file := filepath.Join(t.TempDir(), user)
		if err := os.WriteFile(file, []byte(passwordOf(user)), 0o600); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("[[upstream.account]]\nrepositories = ['team/**']\nusername = %q\npassword_file = %q\n", user, file)
	}
	r := start(t, text)
	h.limit("two")
	for i := range images {
		if err := pullAll(r.client, fmt.Sprintf("%s/v2/example.com/team/app%d", r.url, i)); err != nil {
			t.Fatal(err)
		}
	}
	n := h.count()
	if n["two"] != 1 || n["one"] == 0 || n["three"] == 0 {
		t.Errorf("requests by account: %v; want one of the limited account and some of the others", n)
	}
	h.limit("")
	if err := pullAll(r.client, r.url+"/v2/example.com/team/app0"); err != nil {
		t.Error("once more:", err)
	}
	if again := h.count(); again["one"]+again["two"]+again["three"] != n["one"]+n["two"]+n["three"] {
		t.Errorf("what one account had read was asked for again: %v, before %v", again, n)
	}
}
