package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// TestFault31Manifests: documents that are larger, deeper or fuller than anybody
// reads are refused where they are pushed, with the reason. Where an upstream
// has them they are passed on as they are, up to the limit of their size.
func TestFault31Manifests(t *testing.T) {
	together(t, row{"push", hugePushes}, row{"pull", hugePulls})
}

const indexStart = `{"schemaVersion":2,"mediaType":"` + oci.TypeImageIndex + `","manifests":[`

// entries is a list of n manifests that are nowhere.
func entries(n int) string {
	one := `{"mediaType":"` + oci.TypeImageManifest + `","digest":"sha256:` + strings.Repeat("0", 64) + `","size":7}`
	return strings.TrimSuffix(strings.Repeat(one+",", n), ",")
}

func hugePushes(t *testing.T) {
	s := newStack(t, "", hostsApps)
	put := func(raw string, status int, code, says string) {
		t.Helper()
		a := putIndex(t, s.url+"/v2/apps/x/manifests/t", raw)
		a.status(t, status, code)
		if !strings.Contains(string(a.body), says) {
			t.Errorf("%d bytes are refused with %.300s, want %q", len(raw), a.body, says)
		}
	}
	before := s.peakMemory(t)
	huge := indexStart + `],"annotations":{"x":"` + strings.Repeat("x", 4<<20)
	put(huge[:4<<20+1-3]+`"}}`, http.StatusRequestEntityTooLarge, oci.CodeSizeInvalid, "4194304 bytes")
	for range 10 {
		put(indexStart+strings.Repeat("{},", 1_000_000)+"{}]}", http.StatusBadRequest, oci.CodeManifestInvalid, "more than 10000 items")
	}
	if grown := s.peakMemory(t) - before; grown > 64<<20 && !*binaryRace {
		t.Errorf("ten bombs of 3 MB cost %d MiB of memory", grown>>20)
	} else {
		t.Logf("ten bombs of 3 MB cost %d MiB of memory", grown>>20)
	}
	put(indexStart+entries(1001)+"]}", http.StatusBadRequest, oci.CodeManifestInvalid, "the limit is 1000")
	put(indexStart+strings.Replace(entries(1), `"size":7`, `"size":-7`, 1)+"]}", http.StatusBadRequest, oci.CodeManifestInvalid, "negative size")
	put(indexStart+`],"layers":[]}`, http.StatusBadRequest, oci.CodeManifestInvalid, "ambiguous")
	put(indexStart+`],"x":`+strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000)+"}", http.StatusBadRequest, oci.CodeManifestInvalid, "")
	raw := indexStart + "]}"
	for depth := range 50 {
		resp := send(t, http.MethodPut, s.url+"/v2/apps/x/manifests/"+fmt.Sprint("d", depth), oci.TypeImageIndex, []byte(raw))
		if want := depth <= oci.MaxDepth; (resp.StatusCode == http.StatusCreated) != want {
			t.Fatalf("depth %d: status %d", depth, resp.StatusCode)
		}
		raw = indexStart + fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}]}`, oci.TypeImageIndex, oci.FromBytes([]byte(raw), ""), len(raw))
	}
}

// putIndex pushes an index.
func putIndex(t *testing.T, url, raw string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", oci.TypeImageIndex)
	resp, err := bare.Do(req)
	if err != nil {
		t.Fatalf("PUT of %d bytes: %v", len(raw), err)
	}
	defer resp.Body.Close()
	a := answer{Response: resp}
	a.body, a.err = io.ReadAll(resp.Body)
	return a
}

func hugePulls(t *testing.T) {
	s := newStack(t, "", "")
	for name, raw := range map[string]string{
		"many":    indexStart + entries(1200) + "]}",
		"million": indexStart + strings.Repeat("{},", 1_000_000) + "{}]}",
	} {
		m := s.up.AddManifest("library/ubuntu", oci.TypeImageIndex, []byte(raw), name)
		for _, ref := range []string{name, string(m.Digest)} {
			s.ask(t, "GET", "library/ubuntu/manifests/"+ref+"?ns=docker.io").is(t, m.Raw)
		}
	}
	for name, size := range map[string]int{"a": 4<<20 + 1, "b": 64 << 20} {
		s.up.AddManifest("library/ubuntu", oci.TypeImageIndex, regtest.Huge(size).Body, name)
		s.ask(t, "GET", "library/ubuntu/manifests/"+name+"?ns=docker.io").status(t, http.StatusBadGateway, oci.CodeManifestUnknown)
	}
	s.up.AddManifest("library/ubuntu", oci.TypeImageIndex, []byte(indexStart+`],"layers":[]}`), "both")
	s.ask(t, "GET", "library/ubuntu/manifests/both?ns=docker.io").status(t, http.StatusBadGateway, oci.CodeManifestUnknown)
}
