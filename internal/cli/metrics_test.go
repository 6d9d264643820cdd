package cli

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// A series of requests whose every effect is known is what /metrics tells,
// number by number.
func TestServeCountsRequests(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	img := reg.AddImage("a/b", regtest.Image{Layers: []int64{200_000}}, "v1")
	layer, size := string(img.Layers[0].Digest), len(img.Raw)
	r := start(t, "[[access]]\nwho = ['anonymous']\nrepositories = ['example.com/**', 'own/**']\nallow = ['pull', 'push']\n"+
		"[[access]]\nwho = ['anonymous']\nrepositories = ['**']\nallow = []\n"+upstreamTable(reg, "example.com", ""))
	do := func(method, path, body string, want int) {
		t.Helper()
		req, err := http.NewRequest(method, r.url+"/v2/"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != want {
			t.Errorf("%s %s: got %d, %v, want %d", method, path, resp.StatusCode, err, want)
		}
	}
	byDigest := "example.com/a/b/manifests/" + string(img.Digest)
	do("GET", "example.com/a/b/manifests/v1", "", 200)
	do("GET", "example.com/a/b/manifests/v1", "", 200)
	do("HEAD", byDigest, "", 200)
	do("GET", byDigest, "", 200)
	r.counts(`entrepot_fills_total{result="done",upstream="example.com"} 2`) // what the manifest names, ahead
	do("GET", "example.com/a/b/blobs/"+layer, "", 200)
	do("GET", "example.com/a/b/blobs/"+layer, "", 200)
	do("GET", "example.com/a/b/manifests/none", "", 404)
	do("GET", "example.com/a/b/manifests/none", "", 404)
	do("GET", "elsewhere/x/tags/list", "", 403)
	do("POST", "own/x/blobs/uploads/?digest="+string(oci.FromBytes([]byte("hello"), "")), "hello", 201)
	do("GET", "nothing", "", 404)

	config := int(img.Config.Size)
	r.counts(
		`entrepot_requests_total{code="2xx",op="manifest",result="miss",upstream="example.com"} 1`,
		`entrepot_requests_total{code="2xx",op="manifest",result="hit",upstream="example.com"} 3`,
		`entrepot_requests_total{code="2xx",op="blob",result="hit",upstream="example.com"} 2`,
		`entrepot_requests_total{code="4xx",op="manifest",result="miss",upstream="example.com"} 1`,
		`entrepot_requests_total{code="4xx",op="manifest",result="negative",upstream="example.com"} 1`,
		`entrepot_requests_total{code="4xx",op="tags",result="denied",upstream=""} 1`,
		`entrepot_requests_total{code="2xx",op="upload",result="",upstream=""} 1`,
		`entrepot_requests_total{code="4xx",op="",result="",upstream=""} 1`,
		`entrepot_upstream_requests_total{code="200",kind="manifest",upstream="example.com"} 1`,
		`entrepot_upstream_requests_total{code="200",kind="blob",upstream="example.com"} 2`,
		`entrepot_fill_seconds_count{upstream="example.com"} 2`,
		`entrepot_first_byte_seconds_count{op="manifest",result="hit"} 3`,
		`entrepot_first_byte_seconds_count{op="manifest",result="miss"} 1`,
		`entrepot_fills_running 0`,
		`entrepot_fill_followers 0`,
		`entrepot_upstream_breaker_open{upstream="example.com"} 0`,
		fmt.Sprintf(`entrepot_saved_bytes_total{upstream="example.com"} %s`, float(2*size+2*200_000)),
		`registry_proxy_requests_total{type="manifest"} 4`,
		`registry_proxy_hits_total{type="manifest"} 3`,
		`registry_proxy_misses_total{type="manifest"} 1`,
		fmt.Sprintf(`registry_proxy_pushed_bytes_total{type="manifest"} %s`, float(3*size)),
		`registry_proxy_requests_total{type="blob"} 2`,
		`registry_proxy_hits_total{type="blob"} 2`,
		fmt.Sprintf(`registry_proxy_pushed_bytes_total{type="blob"} %s`, float(2*200_000)),
		fmt.Sprintf(`registry_proxy_pulled_bytes_total{type="blob"} %s`, float(200_000+config)),
		`entrepot_store_bytes{pool="pushed"} 5`,
	)
}

// float is a number as /metrics writes it.
func float(n int) string { return strings.TrimSuffix(fmt.Sprint(float64(n)), ".0") }
