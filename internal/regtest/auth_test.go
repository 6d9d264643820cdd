package regtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/oci"
)

func TestBasic(t *testing.T) {
	r := New(t, Config{})
	r.SetAuth(Auth{Scheme: "Basic", Username: "u", Password: "p"})
	res, _, err := get(t, r, "GET", "/v2/")
	if err != nil || res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") != `Basic realm="regtest"` {
		t.Fatalf("%v, %v, want a challenge", res, err)
	}
	req, _ := http.NewRequest("GET", "/", nil)
	req.SetBasicAuth("u", "p")
	if res, _, err := get(t, r, "GET", "/v2/", "Authorization", req.Header.Get("Authorization")); err != nil || res.StatusCode != 200 {
		t.Errorf("%v, %v, want 200", res, err)
	}
	if got := r.Log()[1].Authorization(); got != "Basic" {
		t.Errorf("the log has Authorization %q", got)
	}
}

func TestBearer(t *testing.T) {
	now := time.Now()
	r := New(t, Config{Now: func() time.Time { return now }})
	r.AddImage(repoPath, Image{}, "v1")
	r.SetAuth(Auth{Scheme: "Bearer", Life: time.Minute})
	path := "/v2/" + repoPath + "/manifests/v1"
	res, _, err := get(t, r, "GET", path)
	if err != nil || res.StatusCode != 401 {
		t.Fatalf("%v, %v, want a challenge", res, err)
	}
	if c := res.Header.Get("WWW-Authenticate"); !strings.Contains(c, `scope="repository:library/x:pull"`) || !strings.Contains(c, r.TokenURL()) {
		t.Errorf("challenge %s", c)
	}
	status := func(bearer string) int {
		res, _, err := get(t, r, "GET", path, "Authorization", "Bearer "+bearer)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode
	}
	good := tokenFor(t, r, "repository:library/x:pull,push")
	if got := status(good); got != 200 {
		t.Errorf("status %d, want 200", got)
	}
	if got := status(tokenFor(t, r, "repository:library/y:pull")); got != 401 {
		t.Errorf("token of another repository: status %d, want 401", got)
	}
	now = now.Add(time.Minute)
	if got := status(good); got != 401 {
		t.Errorf("expired token: status %d, want 401", got)
	}
	good = tokenFor(t, r, "repository:library/x:*")
	r.RevokeTokens()
	if got := status(good); got != 401 {
		t.Errorf("revoked token: status %d, want 401", got)
	}
}

func tokenFor(t *testing.T, r *Registry, scope string) string {
	t.Helper()
	res, body, err := get(t, r, "GET", r.TokenURL()+"?"+url.Values{"scope": {scope}}.Encode())
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("token: %v, %v", res, err)
	}
	var doc struct{ Token string }
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Token
}

func TestTokenEndpoint(t *testing.T) {
	r := New(t, Config{})
	r.SetAuth(Auth{Scheme: "Bearer", Username: "u", Password: "p", Refresh: "id", Aside: true})
	if !strings.HasPrefix(r.TokenURL(), r.SideURL()) {
		t.Errorf("TokenURL %s is not at %s", r.TokenURL(), r.SideURL())
	}
	if res, _, err := get(t, r, "GET", r.TokenURL()); err != nil || res.StatusCode != 401 {
		t.Errorf("without credentials: %v, %v, want 401", res, err)
	}
	for _, form := range []url.Values{{"grant_type": {"refresh_token"}, "refresh_token": {"id"}}, {"username": {"u"}, "password": {"p"}}} {
		res, err := client(t, r).PostForm(r.TokenURL(), form)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 200 {
			t.Errorf("%v: status %d", form, res.StatusCode)
		}
	}
	r.On(Match{Kind: Token}, Busy("1"))
	if res, _, err := get(t, r, "GET", r.TokenURL()); err != nil || res.StatusCode != 429 {
		t.Errorf("%v, %v, want 429", res, err)
	}
}

func TestLists(t *testing.T) {
	r := New(t, Config{Page: 2})
	img := r.AddImage(repoPath, Image{}, "a", "b", "c")
	for i := range 3 {
		r.AddReferrer(repoPath, img.Descriptor(), "application/x.sig", uint64(i))
	}
	r.AddReferrer(repoPath, img.Descriptor(), "application/x.sbom", 9)
	if got := pages(t, r, "/v2/"+repoPath+"/tags/list"); got != 2 {
		t.Errorf("%d pages of tags, want 2", got)
	}
	if got := pages(t, r, "/v2/"+repoPath+"/referrers/"+string(img.Digest)); got != 2 {
		t.Errorf("%d pages of referrers, want 2", got)
	}
	res, body, err := get(t, r, "GET", "/v2/"+repoPath+"/referrers/"+string(img.Digest)+"?artifactType=application/x.sbom")
	if err != nil || strings.Count(string(body), `"digest"`) != 1 || res.Header.Get("OCI-Filters-Applied") != "artifactType" {
		t.Errorf("filtered: %s, %v", body, err)
	}
	r.DropReferrersAPI()
	if res, _, err := get(t, r, "GET", "/v2/"+repoPath+"/referrers/"+string(img.Digest)); err != nil || res.StatusCode != 404 {
		t.Errorf("no API: %v, %v", res, err)
	}
	res, body, err = get(t, r, "GET", "/v2/"+repoPath+"/manifests/"+oci.FallbackTag(img.Digest))
	if err != nil || res.StatusCode != 200 || strings.Count(string(body), `"digest"`) != 4 {
		t.Errorf("fallback tag: %s, %v", body, err)
	}
}

func pages(t *testing.T, r *Registry, path string) int {
	n := 0
	for path != "" {
		res, _, err := get(t, r, "GET", path)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: %v, %v", path, res, err)
		}
		n++
		path, _, _ = strings.Cut(strings.TrimPrefix(res.Header.Get("Link"), "<"), ">")
	}
	return n
}
