package regtest

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// put sends a body and returns the answer, whose status must be want.
func put(t *testing.T, r *Registry, want int, method, path, body string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client(t, r).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	if res.StatusCode != want {
		t.Fatalf("%s %s: status %d, want %d", method, path, res.StatusCode, want)
	}
	return res
}

func TestPushBlobs(t *testing.T) {
	r := New(t, Config{})
	d := DigestOf(Bytes([]byte("0123456789")))
	uploads := "/v2/" + repoPath + "/blobs/uploads/"

	session := put(t, r, 202, "POST", uploads, "").Header.Get("Location")
	put(t, r, 202, "PATCH", session, "01234", "Content-Range", "0-4")
	if res := put(t, r, 416, "PATCH", session, "01234", "Content-Range", "0-4"); res.Header.Get("Range") != "0-4" {
		t.Errorf("Range %q of a chunk out of order", res.Header.Get("Range"))
	}
	put(t, r, 204, "GET", session, "")
	put(t, r, 201, "PUT", session+"?digest="+string(d), "56789")
	put(t, r, 404, "PATCH", session, "x")

	put(t, r, 400, "POST", uploads+"?digest="+string(d), "other")
	put(t, r, 201, "POST", "/v2/y/blobs/uploads/?mount="+string(d)+"&from="+repoPath, "")
	put(t, r, 202, "POST", "/v2/y/blobs/uploads/?mount="+string(d)+"&from=nowhere", "")
	session = put(t, r, 202, "POST", uploads, "").Header.Get("Location")
	put(t, r, 204, "DELETE", session, "")
	for _, repo := range []string{repoPath, "y"} {
		if _, body, err := get(t, r, "GET", "/v2/"+repo+"/blobs/"+string(d)); err != nil || string(body) != "0123456789" {
			t.Errorf("%s has %q, %v", repo, body, err)
		}
	}
	put(t, r, 202, "DELETE", "/v2/y/blobs/"+string(d), "")
	put(t, r, 404, "DELETE", "/v2/y/blobs/"+string(d), "")
}

func TestPushManifests(t *testing.T) {
	r, from := New(t, Config{}), NewShelf()
	img := from.AddImage(repoPath, Image{})
	sig := from.AddReferrer(repoPath, img.Descriptor(), "application/x.sig", 1)
	path := "/v2/" + repoPath + "/manifests/"
	put(t, r, 201, "PUT", path+"v1", string(img.Raw), "Content-Type", img.MediaType)
	res := put(t, r, 201, "PUT", path+string(sig.Digest)+"?tag=a&tag=b", string(sig.Raw), "Content-Type", sig.MediaType)
	if res.Header.Get("OCI-Tag") != "a, b" || res.Header.Get("OCI-Subject") != string(img.Digest) {
		t.Errorf("headers %v", res.Header)
	}
	put(t, r, 400, "PUT", path+string(sig.Digest), "other", "Content-Type", sig.MediaType)
	if _, body, err := get(t, r, "GET", path+"b"); err != nil || !bytes.Equal(body, sig.Raw) {
		t.Errorf("%q, %v", body, err)
	}
	if got := r.referrers(repoPath, img.Digest, ""); len(got) != 1 || got[0].Digest != sig.Digest {
		t.Errorf("referrers %v", got)
	}
	put(t, r, 202, "DELETE", path+string(sig.Digest), "")
	if _, ok := r.manifest(repoPath, "a"); ok {
		t.Error("a tag outlived its manifest")
	}
}
