package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestParseWrk(t *testing.T) {
	const out = `Running 1s test @ http://127.0.0.1:1/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   455.68us  590.52us   7.25ms   93.13%
    Req/Sec    77.41k     8.18k   84.73k    90.00%
  Latency Distribution
     50%  367.00us
     75%  402.00us
     90%  610.00us
     99%    3.15ms
  77021 requests in 1.00s, 130.26MB read
Requests/sec:  76943.31
Transfer/sec:    130.13MB
`
	got, err := parseWrk(out)
	if err != nil {
		t.Fatal(err)
	}
	if want := (wrkResult{requests: 77021, rate: 76943.31, p50: 0.367, p99: 3.15}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := parseWrk(out + "  Non-2xx or 3xx responses: 77021\n"); err == nil {
		t.Error("failed requests pass")
	}
}

func TestJudge(t *testing.T) {
	c := testCase{
		name:    "cold",
		metrics: []metric{{key: "wall", head: "s"}, {key: "peak", head: "MiB", worst: true}},
		targets: []target{
			{key: "wall", peer: direct, bound: 1.5},
			{key: "peak", bound: 64},
			{key: "wall", peer: nginx, bound: 1}, // not measured
		},
	}
	var r report
	r.Results = []result{{Case: "cold", Samples: map[string][]sample{
		entrepot: {{"wall": 3, "peak": 60}, {"wall": 1, "peak": 65}, {"wall": 2, "peak": 60}},
		direct:   {{"wall": 1}, {"wall": 2}},
	}}}
	r.judge([]testCase{c})
	want := []verdict{
		{Case: "cold", Target: "s ÷ direct ≤ 1.5", Reached: 2 / 1.5, OK: true},
		{Case: "cold", Target: "MiB ≤ 64", Reached: 65},
	}
	if len(r.Verdicts) != len(want) {
		t.Fatalf("got %+v, want %+v", r.Verdicts, want)
	}
	for i, v := range r.Verdicts {
		if v != want[i] {
			t.Errorf("got %+v, want %+v", v, want[i])
		}
	}
}

// fakeRegistry has an image with small layers, and counts requests for blobs.
func fakeRegistry(t *testing.T, spoil bool) (addr string, blobs *atomic.Int64) {
	t.Helper()
	c := &content{dir: t.TempDir()}
	r := repository{name: imageRepo}
	if err := c.addImage(&r, []int64{1, 2 << 20, 10000, 300}, 1); err != nil {
		t.Fatal(err)
	}
	d := r.manifests[0].descriptor
	d.Platform = &platform{Architecture: "amd64", OS: "linux"}
	index, err := json.Marshal(document{Manifests: []descriptor{d}})
	if err != nil {
		t.Fatal(err)
	}
	blobs = new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		name := req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]
		switch {
		case name == tag:
			w.Write(index)
		case name == d.Digest:
			w.Write(r.manifests[0].raw)
		default:
			blobs.Add(1)
			raw, err := os.ReadFile(c.path(descriptor{Digest: name}))
			if err != nil {
				http.NotFound(w, req)
				return
			}
			if spoil {
				raw[len(raw)-1]++
			}
			http.ServeContent(w, req, "", time.Time{}, strings.NewReader(string(raw)))
		}
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String(), blobs
}

func TestPull(t *testing.T) {
	for _, verify := range []bool{false, true} {
		addr, blobs := fakeRegistry(t, false)
		if _, err := pullMany(t.Context(), addr, 3, verify); err != nil {
			t.Errorf("verify %v: %v", verify, err)
		}
		if got, want := blobs.Load(), int64(3*5); got != want {
			t.Errorf("verify %v: got %d requests for blobs, want %d", verify, got, want)
		}
	}
	addr, _ := fakeRegistry(t, true)
	if _, err := pullMany(t.Context(), addr, 1, true); err == nil {
		t.Error("wrong bytes pass")
	}
}

func TestPullThroughRelay(t *testing.T) {
	addr, _ := fakeRegistry(t, false)
	r, err := newRelay(addr, 2*time.Millisecond, 1e9)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pullMany(t.Context(), r.addr, 4, true); err != nil {
		t.Error(err)
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
}

// TestTLS reads a blob over TLS, from a server that has our certificate.
func TestTLS(t *testing.T) {
	pair, err := newKeyPair(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(pair.cert, pair.key)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 3<<20)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(body))
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	srv.StartTLS()
	defer srv.Close()
	p := &process{addr: srv.Listener.Addr().String(), pair: pair}
	c, err := p.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	var count atomic.Int64
	d := descriptor{Digest: digestOf(body), Size: int64(len(body))}
	for _, verify := range []bool{false, true} {
		if err := c.getBlob(blobRepo, d, &count, verify); err != nil {
			t.Errorf("verify %v: %v", verify, err)
		}
	}
	if got, want := count.Load(), 2*d.Size; got != want {
		t.Errorf("got %d bytes, want %d", got, want)
	}
	if c, err = (&process{addr: p.addr}).dial(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.getBlob(blobRepo, d, &count, false); err == nil {
		t.Error("plain HTTP passes")
	}
}

// TestNoOrigin: without the program that is needed the error says so, and
// nothing is left behind.
func TestNoOrigin(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	temp := t.TempDir()
	err := run(t.Context(), options{run: regexp.MustCompile(""), servers: regexp.MustCompile(""), peers: temp, temp: temp})
	if err == nil || !strings.Contains(err.Error(), "go install") {
		t.Errorf("got %v, want an error that says how the registry is installed", err)
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
}

// TestFollowBlob: all clients read the whole blob, and one that fails ends it.
func TestFollowBlob(t *testing.T) {
	const size = 200_000
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		n := size
		if asked.Add(1) == 6 {
			n--
		}
		w.Write(make([]byte, n))
	}))
	defer srv.Close()
	p := &process{addr: srv.Listener.Addr().String()}
	for i, fails := range []bool{false, true} {
		if _, err := followBlob(t.Context(), p, descriptor{Size: size}, 4); (err != nil) != fails {
			t.Errorf("time %d: got %v, want an error: %v", i, err, fails)
		}
	}
}

func TestDiscardEndsWithTheStream(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100000")
		io.CopyN(w, rand.Reader, 50000)
	}))
	defer srv.Close()
	c, err := dial(context.Background(), srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	var count atomic.Int64
	if err := c.getBlob(blobRepo, descriptor{Size: 100000}, &count, false); err == nil {
		t.Error("a body that is cut passes")
	}
	if got := count.Load(); got != 50000 {
		t.Errorf("got %d bytes, want 50000", got)
	}
}
