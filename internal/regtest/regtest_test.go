package regtest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrepot/entrepot/oci"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const repoPath = "library/x"

// A client is one that hides nothing: no redirects followed, nothing decoded.
func client(t *testing.T, r *Registry) *http.Client {
	tr := &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: r.RootCAs()}, ForceAttemptHTTP2: r.cfg.HTTP2}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get asks for a path, or for a URL, with header fields given as pairs.
func get(t *testing.T, r *Registry, method, path string, header ...string) (*http.Response, []byte, error) {
	t.Helper()
	if strings.HasPrefix(path, "/") {
		path = r.URL() + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client(t, r).Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, body, err
}

func TestHonest(t *testing.T) {
	for _, cfg := range []Config{{}, {TLS: true}, {TLS: true, HTTP2: true}} {
		r := New(t, cfg)
		img := r.AddImage(repoPath, Image{Layers: []int64{100_000}}, "v1")
		res, body, err := get(t, r, "GET", "/v2/"+repoPath+"/manifests/v1")
		if err != nil || !bytes.Equal(body, img.Raw) || res.Header.Get("Docker-Content-Digest") != string(img.Digest) {
			t.Fatalf("GET manifest = %q, %v", body, err)
		}
		if want := 1 + btoi(cfg.HTTP2); res.ProtoMajor != want {
			t.Errorf("HTTP/%d, want HTTP/%d", res.ProtoMajor, want)
		}
		layer := img.Layers[0]
		res, body, err = get(t, r, "GET", "/v2/"+repoPath+"/blobs/"+string(layer.Digest))
		if err != nil || oci.FromBytes(body, "") != layer.Digest || res.ContentLength != layer.Size {
			t.Errorf("GET blob: %d bytes, length %d, %v", len(body), res.ContentLength, err)
		}
		if n := r.BlobBytes(layer.Digest); n != layer.Size {
			t.Errorf("BlobBytes = %d, want %d", n, layer.Size)
		}
		if n := r.Count("GET", Manifest); n != 1 {
			t.Errorf("Count(GET, Manifest) = %d, want 1", n)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestRange(t *testing.T) {
	r := New(t, Config{})
	data := []byte("0123456789")
	blob := "/v2/" + repoPath + "/blobs/" + string(r.AddBlob(repoPath, Bytes(data)).Digest)
	for rg, want := range map[string]string{
		"bytes=0-":   "206 bytes 0-9/10 0123456789",
		"bytes=7-":   "206 bytes 7-9/10 789",
		"bytes=2-4":  "206 bytes 2-4/10 234",
		"bytes=8-99": "206 bytes 8-9/10 89",
		"bytes=-3":   "206 bytes 7-9/10 789",
		"bytes=-99":  "206 bytes 0-9/10 0123456789",
		"bytes=x":    "200  0123456789",
		"":           "200  0123456789",
	} {
		res, body, err := get(t, r, "GET", blob, "Range", rg)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%d %s %s", res.StatusCode, res.Header.Get("Content-Range"), body); got != want {
			t.Errorf("Range %q: %s, want %s", rg, got, want)
		}
	}
	for _, rg := range []string{"bytes=10-", "bytes=5-4"} {
		res, _, err := get(t, r, "GET", blob, "Range", rg)
		if err != nil || res.StatusCode != 416 || res.Header.Get("Content-Range") != "bytes */10" {
			t.Errorf("Range %q: %v, %v, want 416", rg, res, err)
		}
	}
}

// TestFaults holds what each knob does to a blob of ten bytes.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		f      Fault
		rg     string // Range
		want   string // status, Content-Length, Content-Range, body
		broken bool   // the body ends early
	}{
		"none":             {Fault{}, "", "200 10 - 0123456789", false},
		"cut":              {CutAt(4), "", "200 10 - 0123", true},
		"cut at 0":         {CutAt(0), "", "200 10 - ", true},
		"cut of a range":   {CutAt(2), "bytes=5-", "206 5 bytes 5-9/10 56", true},
		"cut of chunks":    {Fault{Length: Chunked, End: EndCut, At: 4}, "", "200 -1 - 0123", true},
		"cut unseen":       {Fault{Length: UntilClose, End: EndCut, At: 4}, "", "200 -1 - 0123", false},
		"first byte":       {Fault{Flip: FlipFirst}, "", "200 10 - \xcf123456789", false},
		"middle byte":      {Fault{Flip: FlipMiddle}, "", "200 10 - 01234\xca6789", false},
		"last byte":        {Fault{Flip: FlipLast}, "bytes=8-", "206 2 bytes 8-9/10 8\xc6", false},
		"longer":           {Fault{Extra: 2}, "", "200 12 - 0123456789\x00\x00", false},
		"shorter":          {Fault{Extra: -2}, "", "200 8 - 01234567", false},
		"claims more":      {Fault{Claim: 3}, "", "200 13 - 0123456789", true},
		"claims less":      {Fault{Claim: -3}, "", "200 7 - 0123456", false},
		"chunked":          {Fault{Length: Chunked}, "", "200 -1 - 0123456789", false},
		"until close":      {Fault{Length: UntilClose}, "", "200 -1 - 0123456789", false},
		"200 to Range":     {NoRange(), "bytes=5-", "200 10 - 0123456789", false},
		"shifted range":    {Fault{RangeShift: 2}, "bytes=5-", "206 3 bytes 7-9/10 789", false},
		"wrong range":      {WrongRange("bytes 0-4/99"), "bytes=5-", "206 5 bytes 0-4/99 56789", false},
		"no Content-Range": {WrongRange(""), "bytes=5-", "206 5 - 56789", false},
		"status":           {Status(503), "", `503 84 - {"errors":[{"code":"UNKNOWN","message":"status 503, as the test wishes"}]}`, false},
		"slow":             {Slow(3, time.Nanosecond), "", "200 10 - 0123456789", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(t, Config{})
			d := r.AddBlob(repoPath, Bytes([]byte("0123456789"))).Digest
			r.On(Match{Kind: Blob}, c.f)
			res, body, err := get(t, r, "GET", "/v2/"+repoPath+"/blobs/"+string(d), "Range", c.rg)
			if res == nil {
				t.Fatal(err)
			}
			cr := res.Header.Get("Content-Range")
			if cr == "" {
				cr = "-"
			}
			if got := fmt.Sprintf("%d %d %s %s", res.StatusCode, res.ContentLength, cr, body); got != strings.Replace(c.want, "503 84", fmt.Sprintf("503 %d", len(body)), 1) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if (err != nil) != c.broken {
				t.Errorf("error %v, want broken %v", err, c.broken)
			}
			r.Idle()
			if e := r.Log()[0]; e.Sent != int64(len(body)) || e.Status != res.StatusCode {
				t.Errorf("the log has %d bytes and status %d, the client %d and %d", e.Sent, e.Status, len(body), res.StatusCode)
			}
		})
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	r := New(t, Config{})
	r.AddImage(repoPath, Image{}, "v1")
	path := "/v2/" + repoPath + "/manifests/v1"
	for name, c := range map[string]struct {
		f     Fault
		check func(res *http.Response, body []byte) bool
	}{
		"html":      {HTML(), func(res *http.Response, b []byte) bool { return res.StatusCode == 200 && b[0] == '<' }},
		"429":       {Busy("60"), func(res *http.Response, _ []byte) bool { return res.Header.Get("Retry-After") == "60" }},
		"429 bare":  {Busy(""), func(res *http.Response, _ []byte) bool { return res.StatusCode == 429 }},
		"no digest": {NoDigest(), func(res *http.Response, _ []byte) bool { return res.Header["Docker-Content-Digest"] == nil }},
		"huge":      {Huge(5 << 20), func(_ *http.Response, b []byte) bool { return len(b) == 5<<20 }},
		"redirect": {Fault{Redirect: "http://169.254.169.254/"}, func(res *http.Response, _ []byte) bool {
			return res.Header.Get("Location") == "http://169.254.169.254/"
		}},
		"gzip": {Fault{Gzip: true}, func(res *http.Response, b []byte) bool {
			return res.Header.Get("Content-Encoding") == "gzip" && b[0] == 0x1f
		}},
		"schema 1": {Schema1(), func(res *http.Response, _ []byte) bool {
			return strings.HasSuffix(res.Header.Get("Content-Type"), "v1+prettyjws")
		}},
		"foreign":     {ForeignLink("http://evil/"), func(res *http.Response, _ []byte) bool { return res.Header.Get("Link") == `<http://evil/>; rel="next"` }},
		"wrong digst": {WrongDigest("sha256:x"), func(res *http.Response, _ []byte) bool { return res.Header.Get("Docker-Content-Digest") == "sha256:x" }},
	} {
		rule := r.On(Match{}, c.f)
		res, body, err := get(t, r, "GET", path)
		if err != nil || !c.check(res, body) {
			t.Errorf("%s: %v, %v", name, res, err)
		}
		rule.Remove()
	}
}

func TestResetAndHangUp(t *testing.T) {
	for _, cfg := range []Config{{}, {TLS: true}} {
		r := New(t, cfg)
		d := r.AddBlob(repoPath, Random(1, 100_000)).Digest
		rule := r.On(Match{Times: 1}, ResetAt(1000))
		_, body, err := get(t, r, "GET", "/v2/"+repoPath+"/blobs/"+string(d))
		if !errors.Is(err, syscall.ECONNRESET) || len(body) > 1000 {
			t.Errorf("%d bytes, error %v, want a reset", len(body), err)
		}
		<-rule.Reached()
		r.On(Match{}, HangUp())
		if res, _, err := get(t, r, "GET", "/v2/"); res != nil || err == nil {
			t.Errorf("%v, %v, want no answer", res, err)
		}
	}
	r := New(t, Config{TLS: true, HTTP2: true})
	d := r.AddBlob(repoPath, Random(1, 100_000)).Digest
	r.On(Match{Times: 1}, CutAt(1000))
	if _, _, err := get(t, r, "GET", "/v2/"+repoPath+"/blobs/"+string(d)); err == nil {
		t.Error("no error of a stream that was reset")
	}
}

func TestHoldStallRelease(t *testing.T) {
	r := New(t, Config{})
	d := r.AddBlob(repoPath, Bytes([]byte("0123456789"))).Digest
	for _, f := range []Fault{Held(), StallAt(4), {Delay: time.Nanosecond}} {
		rule := r.On(Match{Times: 1}, f)
		go func() {
			if f.Delay == 0 {
				<-rule.Reached()
			}
			rule.Release()
		}()
		if _, body, err := get(t, r, "GET", "/v2/"+repoPath+"/blobs/"+string(d)); err != nil || string(body) != "0123456789" {
			t.Errorf("%+v: %q, %v", f, body, err)
		}
		rule.Remove()
	}
}

// TestEndsWhatIsHeld holds that a test that ends does not wait for what it
// holds; goleak watches.
func TestEndsWhatIsHeld(t *testing.T) {
	r := New(t, Config{})
	rule := r.On(Match{}, Held())
	go func() {
		if res, err := http.Get(r.URL() + "/v2/"); err == nil {
			res.Body.Close()
		}
	}()
	<-rule.Reached()
}

func TestWhichRule(t *testing.T) {
	r := New(t, Config{})
	r.On(Match{After: 1, Times: 2}, Status(500))
	r.On(Match{Kind: Ping, If: func(e Entry) bool { return e.Query == "x" }}, Status(501))
	got := ""
	for _, path := range []string{"/v2/?x", "/v2/", "/v2/?x", "/v2/?x", "/v2/"} {
		res, _, err := get(t, r, "GET", path)
		if err != nil {
			t.Fatal(err)
		}
		got += fmt.Sprintf("%d ", res.StatusCode)
	}
	if want := "501 500 500 501 200 "; got != want {
		t.Errorf("statuses %s, want %s", got, want)
	}
}

func TestTagMoves(t *testing.T) {
	r := New(t, Config{})
	r.AddImage(repoPath, Image{}, "v1")
	next := r.AddImage(repoPath, Image{Seed: 1})
	r.On(Match{Kind: Manifest, Method: "HEAD", Times: 1}, Moving(func() { r.SetTag(repoPath, "v1", next.Digest) }))
	head, _, err := get(t, r, "HEAD", "/v2/"+repoPath+"/manifests/v1")
	if err != nil {
		t.Fatal(err)
	}
	r.Idle()
	res, _, err := get(t, r, "GET", "/v2/"+repoPath+"/manifests/v1")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := head.Header.Get("Docker-Content-Digest"), res.Header.Get("Docker-Content-Digest"); a == b || b != string(next.Digest) {
		t.Errorf("HEAD said %s, GET %s, want it moved to %s", a, b, next.Digest)
	}
}

func TestDownUpBlackHole(t *testing.T) {
	r := New(t, Config{})
	url := r.URL()
	r.Down()
	if _, _, err := get(t, r, "GET", "/v2/"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("down: %v, want refused", err)
	}
	r.Up()
	if res, _, err := get(t, r, "GET", url+"/v2/"); err != nil || res.StatusCode != 200 {
		t.Errorf("up again: %v, %v", res, err)
	}
	r.BlackHole()
	c, err := net.Dial("tcp", r.Host())
	if err != nil {
		t.Fatalf("black hole: %v, want a connection", err)
	}
	c.Close()
	r.Up()
	if res, _, err := get(t, r, "GET", url+"/v2/"); err != nil || res.StatusCode != 200 {
		t.Errorf("up again: %v, %v", res, err)
	}
}

func TestUnreachable(t *testing.T) {
	addr := Unreachable(t)
	c, err := net.DialTimeout("tcp", addr, 50*time.Millisecond)
	if err == nil {
		c.Close()
	}
	if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
		t.Errorf("dial: %v, want a timeout", err)
	}
}

func TestCDN(t *testing.T) {
	now := time.Now()
	r := New(t, Config{Now: func() time.Time { return now }})
	d := r.AddBlob(repoPath, Bytes([]byte("0123456789"))).Digest
	r.SetCDN(CDN{On: true, Life: time.Minute})
	link := func() string {
		res, _, err := get(t, r, "GET", "/v2/"+repoPath+"/blobs/"+string(d))
		if err != nil || res.StatusCode != 307 {
			t.Fatalf("%v, %v, want a redirect", res, err)
		}
		return res.Header.Get("Location")
	}
	status := func(url string, header ...string) int {
		res, _, err := get(t, r, "GET", url, header...)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode
	}
	old := link()
	if u, _ := url.Parse(old); u.Host != r.SideHost() {
		t.Errorf("the link is to %s, want %s", u.Host, r.SideHost())
	}
	if got := status(old); got != 200 {
		t.Errorf("status %d, want 200", got)
	}
	if got := status(old, "Authorization", "Bearer x"); got != 400 {
		t.Errorf("with Authorization: status %d, want 400", got)
	}
	now = now.Add(time.Hour)
	if got := status(old); got != 403 {
		t.Errorf("an hour later: status %d, want 403", got)
	}
	old = link()
	r.ExpireLinks()
	if got := status(old); got != 403 {
		t.Errorf("after ExpireLinks: status %d, want 403", got)
	}
	if n := r.BlobBytes(d); n < 10 {
		t.Errorf("BlobBytes = %d, want those of the CDN too", n)
	}
}
