package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/store"
)

// TestDeletedIsGone holds that nothing that was known of a blob outlives it:
// neither is it read again, nor mounted, nor does a manifest that needs it count
// as pushed, however often it was asked for before (CVE-2026-35172,
// distribution#1356, distribution#4569).
func TestDeletedIsGone(t *testing.T) {
	s, err := store.Open(t.TempDir(), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	h := handler(t, Config{Hosted: s.Vault(), Access: access.Policy{Anonymous: access.All}})
	push := func(repo, content string) string {
		d := string(oci.FromBytes([]byte(content), ""))
		if w := serve(h, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d, strings.NewReader(content)); w.Code != http.StatusCreated {
			t.Fatalf("push %q: %d %s", content, w.Code, w.Body)
		}
		return d
	}
	put := func(repo, raw string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("PUT", "/v2/"+repo+"/manifests/v1", strings.NewReader(raw))
		r.Header.Set("Content-Type", oci.TypeImageManifest)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	config, layer := push("apps/x", "{}"), push("apps/x", "a layer")
	raw := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":7}]}`, config, layer)
	m := string(oci.FromBytes([]byte(raw), ""))
	if w := put("apps/x", raw); w.Code != http.StatusCreated {
		t.Fatalf("push: %d %s", w.Code, w.Body)
	}
	push("apps/y", "a layer") // whose right is its own
	gone := []string{"/v2/apps/x/manifests/v1", "/v2/apps/x/manifests/" + m, "/v2/apps/x/blobs/" + layer}
	ask := func(want int) {
		t.Helper()
		for _, path := range gone {
			for _, method := range []string{"GET", "HEAD", "GET"} {
				if w := serve(h, method, path, nil); w.Code != want {
					t.Errorf("%s %s: got %d, want %d", method, path, w.Code, want)
				}
			}
		}
	}
	ask(200)
	for _, path := range gone[1:] {
		if w := serve(h, "DELETE", path, nil); w.Code != http.StatusAccepted {
			t.Fatalf("DELETE %s: %d %s", path, w.Code, w.Body)
		}
	}
	ask(404)
	if w := serve(h, "POST", "/v2/apps/z/blobs/uploads/?from=apps/x&mount="+layer, nil); w.Code != http.StatusAccepted {
		t.Errorf("a mount of what is gone: %d", w.Code)
	}
	if w := put("apps/x", raw); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), oci.CodeManifestBlobUnknown) {
		t.Errorf("a push without the blob: %d %s", w.Code, w.Body)
	}
	if w := serve(h, "GET", "/v2/apps/y/blobs/"+layer, nil); w.Code != 200 || w.Body.String() != "a layer" {
		t.Errorf("the other repository: %d %s", w.Code, w.Body)
	}
	push("apps/x", "a layer")
	if w := put("apps/x", raw); w.Code != http.StatusCreated {
		t.Errorf("pushed again: %d %s", w.Code, w.Body)
	}
	ask(200)
}

// TestPagesAreBounded holds that a number of a client's is no size of ours
// (CVE-2023-2253).
func TestPagesAreBounded(t *testing.T) {
	m := newMemory()
	for i := range 5 {
		fill(t, m, ref.Name{Path: fmt.Sprint("apps/x", i)})
	}
	h := handler(t, Config{Hosted: m, Access: access.Policy{Anonymous: access.Pull}, MaxPage: 2})
	for n, want := range map[string]int{"2": 2, "3": 2, "1000000000000": 2, "9223372036854775807": 2, "0": 0, "9223372036854775808": 400, "1e9": 400, "-1": 400, "0x7f": 400} {
		w := serve(h, "GET", "/v2/_catalog?n="+n, nil)
		var list struct{ Repositories []string }
		if want == 400 {
			if w.Code != want {
				t.Errorf("n=%s: got %d, want 400", n, w.Code)
			}
			continue
		}
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != 200 || len(list.Repositories) != want {
			t.Errorf("n=%s: got %d with %v, %v, want %d", n, w.Code, list.Repositories, err, want)
		}
	}
}
