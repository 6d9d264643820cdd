package registry

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// Each proxied answer says how it was come by, refusals too: X-Cache always, Age
// where the content is older than a second or was not looked after, a Warning
// where something is to be said. Nothing of ours has any of these.
func TestEachOutcomeIsTold(t *testing.T) {
	digest := string(oci.FromBytes(layerBytes, ""))
	for name, c := range map[string]struct {
		out                 oci.Outcome
		xCache, age, warned string
	}{
		"hit":         {oci.Outcome{Result: oci.Hit}, "HIT", "", ""},
		"hit, of age": {oci.Outcome{Result: oci.Hit, Age: 42 * time.Second}, "HIT", "42", ""},
		"miss":        {oci.Outcome{Result: oci.Miss}, "MISS", "", ""},
		"miss, full":  {oci.Outcome{Result: oci.Miss, Warning: "the cache is full"}, "MISS", "", `299 - "the cache is full"`},
		"coalesced":   {oci.Outcome{Result: oci.Coalesced}, "COALESCED", "", ""},
		"revalidated": {oci.Outcome{Result: oci.Revalidated, Age: 999 * time.Millisecond}, "REVALIDATED", "", ""},
		"stale":       {oci.Outcome{Result: oci.Stale, Age: time.Hour, Warning: "not checked"}, "STALE", "3600", `299 - "not checked"`},
		"stale, new":  {oci.Outcome{Result: oci.Stale, Warning: "not checked"}, "STALE", "0", `299 - "not checked"`},
		"negative":    {oci.Outcome{Result: oci.Negative}, "NEGATIVE", "", ""},
		"untold":      {oci.Outcome{}, "", "", ""},
	} {
		for _, refused := range []bool{false, true} {
			m := newMemory()
			fill(t, m, ref.Name{Host: "docker.io", Path: "library/alpine"})
			m.outcome = c.out
			if refused {
				m.err = oci.ErrNotFound
			}
			h := handler(t, Config{Routes: Routes{Upstreams: []Upstream{{Name: "docker.io"}}}, Hosted: newMemory(), Proxied: m, Access: access.Policy{Anonymous: access.Pull}})
			for _, request := range []string{"GET manifests/3.20", "HEAD manifests/3.20", "GET blobs/" + digest, "HEAD blobs/" + digest, "GET tags/list"} {
				method, path, _ := strings.Cut(request, " ")
				w := serve(h, method, "/v2/docker.io/library/alpine/"+path, nil)
				for header, want := range map[string]string{"X-Cache": c.xCache, "Age": c.age, "Warning": c.warned} {
					if got := w.Header().Get(header); got != want {
						t.Errorf("%s, refused %v: %s answers %d with %s %q, want %q", name, refused, request, w.Code, header, got, want)
					}
				}
			}
			w := serve(h, http.MethodGet, "/v2/apps/x/tags/list", nil)
			for _, header := range []string{"X-Cache", "Age", "Warning"} {
				if got := w.Header().Get(header); got != "" {
					t.Errorf("our own repository: %s is %q", header, got)
				}
			}
		}
	}
}
