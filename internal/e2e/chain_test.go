package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// chained starts a second Entrepot whose upstream is the first.
func chained(t *testing.T) (far *stack, near *entrepot) {
	t.Helper()
	far = newStack(t, isDefault, "")
	near = serve(t, serving{upstreams: []upstream{{name: "docker.io", url: far.url, more: `tag_ttl = "0s"`}}})
	return far, near
}

// TestChain: two mirrors in a row. Many clients at once cost the registry one
// copy, through cuts and resets, and each of them gets the right bytes
// (harbor#18341: through chained proxies some configs were not what they should
// be).
func TestChain(t *testing.T) {
	far, near := chained(t)
	im := far.up.AddImage("library/ubuntu", regtest.Image{Layers: []int64{8 << 20, 1 << 20, 300}, Seed: 18341}, "24.04")
	far.up.On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.CutAt(700_000))
	far.up.On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.ResetAt(300_000))
	blobs := append([]oci.Descriptor{im.Config}, im.Layers...)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			get(t, "GET", near.url+"/v2/"+ubuntuTag).is(t, im.Raw)
			for _, d := range blobs {
				a, err := tryGet(t, "GET", near.url+"/v2/"+blobPath(d.Digest))
				if err != nil || a.StatusCode != http.StatusOK || a.err != nil || oci.FromBytes(a.body, d.Digest) != d.Digest {
					t.Errorf("%s: %v, %v, %d bytes", d.Digest, err, a.err, len(a.body))
				}
			}
		})
	}
	all.Wait()
	for _, d := range blobs {
		if n := far.up.BlobBytes(d.Digest); n > budget(d.Size)+700_000 {
			t.Errorf("the registry sent %d bytes of a blob of %d", n, d.Size)
		}
	}
}

// TestChainWrongBytes: what is wrong is thrown away by both, and neither keeps
// it, nor the error for longer than it should.
func TestChainWrongBytes(t *testing.T) {
	far, near := chained(t)
	d, b := far.addBlob(t, "library/ubuntu", 1, blobSize)
	small, c := far.addBlob(t, "library/ubuntu", 2, 1000) // as a config is
	far.up.On(regtest.Match{Kind: regtest.Blob}, regtest.Fault{Flip: regtest.FlipLast})
	for _, of := range []struct {
		d oci.Digest
		b []byte
	}{{d, b}, {small, c}} {
		a, err := tryGet(t, "GET", near.url+"/v2/"+blobPath(of.d))
		if err == nil && a.StatusCode == http.StatusOK && a.err == nil {
			t.Errorf("wrong bytes came through both: %d of %d, right: %v", len(a.body), len(of.b), bytes.Equal(a.body, of.b))
		}
	}
	for name, n := range map[string]float64{"far": far.storedBlobs(t), "near": near.metric(t, "entrepot_store_blobs", `pool="cache"`)} {
		if n != 0 {
			t.Errorf("the %s one has stored %v blobs, want none", name, n)
		}
	}
}

// TestChainInACircle: mirrors that lead back to themselves, at once or through
// another one, refuse the second round, so that a request ends (A11).
func TestChainInACircle(t *testing.T) {
	for _, mirrors := range []int{1, 2} {
		t.Run(fmt.Sprint(mirrors), func(t *testing.T) { inACircle(t, mirrors) })
	}
}

func inACircle(t *testing.T, mirrors int) {
	var rounds atomic.Int64
	var back *httputil.ReverseProxy
	circle := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rounds.Add(1)
		back.ServeHTTP(w, r)
	}))
	defer circle.Close()
	e := &entrepot{url: circle.URL}
	for range mirrors {
		e = serve(t, serving{upstreams: []upstream{{name: "docker.io", url: e.url, more: isDefault}}})
	}
	to, err := url.Parse(e.url)
	if err != nil {
		t.Fatal(err)
	}
	back = httputil.NewSingleHostReverseProxy(to)
	d := oci.FromBytes([]byte("x"), "")
	for i, path := range []string{ubuntuTag, blobPath(d), "library/ubuntu/manifests/" + string(d) + "?ns=docker.io"} {
		a := get(t, "GET", e.url+"/v2/"+path)
		if a.StatusCode < 500 {
			t.Errorf("%s: status %d, want that of an upstream that cannot serve", path, a.StatusCode)
		}
		if n := rounds.Swap(0); i == 0 && n < 1 || n > 10 { // later the place may be known to be unwell
			t.Errorf("request %d went around %d times", i, n)
		}
	}
	if t.Failed() {
		fmt.Println(e.log.tail(20))
	}
}
