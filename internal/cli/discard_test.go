package cli

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// TestDiscardProxied: an account that may delete takes an upstream's content out of
// the cache, so that it is fetched again; to everybody else there is no such
// method. The upstream is told nothing, and what is pinned stays (G3, H3).
func TestDiscardProxied(t *testing.T) {
	up := regtest.New(t, regtest.Config{})
	im := up.AddImage("team/app", regtest.Image{Layers: []int64{5000}}, "1")
	dir := t.TempDir()
	accounts := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(accounts, []byte("ci:"+secretHash+"\nbob:"+secretHash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf(`[auth]
htpasswd = %q
anonymous = "pull"
[[access]]
who = ["ci"]
repositories = ["up.example/**"]
allow = ["pull", "delete"]
[[access]]
who = ["bob"]
repositories = ["up.example/**"]
allow = ["pull", "push"]
[[upstream]]
name = "up.example"
url = %q
allow_private = true
tag_ttl = "1h"
[storage]
url = %q`, accounts, up.URL(), "file://"+dir+"/store")
	r := start(t, conf)
	of := func(what string) string { return r.url + "/v2/up.example/team/app/" + what }
	links, err := oci.Manifest{MediaType: im.MediaType, Digest: im.Digest, Raw: im.Raw}.Links()
	if err != nil {
		t.Fatal(err)
	}
	layer := "blobs/" + string(links.Blobs()[1].Digest)
	pull := func() {
		t.Helper()
		for _, what := range []string{"manifests/1", layer} {
			if code, _, _ := r.get(of(what)); code != 200 {
				t.Fatalf("GET %s: %d", what, code)
			}
		}
	}
	discard := func(as, what string, want int) {
		t.Helper()
		if code, _, body := r.as(as, http.MethodDelete, of(what)); code != want {
			t.Errorf("DELETE %s by %q: %d, want %d: %s", what, as, code, want, body)
		}
	}
	ci, bob := "ci:"+secretPassword, "bob:"+secretPassword
	discard(ci, "manifests/1", 404)
	pull()
	for _, as := range []string{"", bob} {
		for _, what := range []string{"manifests/1", "manifests/" + string(im.Digest), layer} {
			discard(as, what, 405)
		}
	}
	up.ResetLog()
	pull()
	if n := len(up.Log()); n != 0 {
		t.Errorf("%d requests upstream for what is stored", n)
	}
	if code := r.end(); code != exitDone { // what was fetched is stored by now
		t.Fatalf("exit %d", code)
	}
	r = start(t, conf)
	k := &kept{t: t, dir: filepath.Join(dir, "store")}
	k.store("pin", "up.example/team/app:1")
	k.exits(exitDone)
	for _, what := range []string{"manifests/1", "manifests/" + string(im.Digest), layer} {
		discard(ci, what, 403)
	}
	k.store("unpin", "up.example/team/app:1")
	k.exits(exitDone)
	for _, what := range []string{"manifests/1", layer} {
		discard(ci, what, 202)
	}
	discard(ci, "manifests/"+string(im.Digest), 404) // it went with its tag
	discard(ci, layer, 404)
	up.ResetLog()
	pull()
	var asked []string
	for _, e := range up.Log() {
		asked = append(asked, e.Method+" "+string(e.Kind))
	}
	slices.Sort(asked)
	if want := []string{"GET blob", "GET blob", "GET manifest"}; !slices.Equal(asked, want) && !slices.Equal(asked, want[1:]) {
		t.Errorf("asked upstream: %q, want the manifest and the layer", asked)
	}
}
