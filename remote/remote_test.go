package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noTime time.Time

var repo = ref.Name{Host: "example.com", Path: "team/app"}

const manifestJSON = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
	`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`

func digestOf(s string) oci.Digest { return oci.FromBytes([]byte(s), "") }

// A wireLog is what a server was asked, one line a request.
type wireLog struct {
	mu       sync.Mutex
	lines    []string
	requests []*http.Request
}

func (l *wireLog) add(r *http.Request) {
	line := r.Method + " " + r.URL.RequestURI()
	if s := r.Header.Get("Range"); s != "" {
		line += " " + s
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	l.requests = append(l.requests, r.Clone(context.WithoutCancel(r.Context())))
}

func (l *wireLog) get() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}

// serve starts a server on a loopback port of its own.
func serve(t *testing.T, h http.HandlerFunc) (*httptest.Server, *wireLog) {
	t.Helper()
	log := new(wireLog)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.add(r)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s, log
}

func client(t *testing.T, cfg ClientConfig) *Client {
	t.Helper()
	c := NewClient(cfg)
	t.Cleanup(func() { c.Close() })
	return c
}

// endpoint returns an endpoint for a loopback server.
func endpoint(t *testing.T, cfg ClientConfig, ec EndpointConfig) *Endpoint {
	t.Helper()
	ec.AllowPrivate = true
	e, err := client(t, cfg).Endpoint(ec)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func open(t *testing.T, h http.HandlerFunc) (*Endpoint, *wireLog) {
	t.Helper()
	s, log := serve(t, h)
	return endpoint(t, ClientConfig{Retry: Retry{Attempts: 1}}, EndpointConfig{URL: s.URL}), log
}

func readBlob(e *Endpoint, d oci.Digest, off int64) (string, oci.Blob, error) {
	b, err := e.Blob(context.Background(), repo, d, off)
	if err != nil {
		return "", b, err
	}
	defer b.Body.Close()
	raw, err := io.ReadAll(b.Body)
	return string(raw), b, err
}

func wantKind(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("error %v (%T), want kind %q", err, err, kind)
	}
}

func serveManifest(w http.ResponseWriter, mediaType, raw string) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", string(digestOf(raw)))
	w.Header().Set("Content-Length", fmt.Sprint(len(raw)))
	io.WriteString(w, raw)
}

func TestReads(t *testing.T) {
	content := strings.Repeat("0123456789", 1000)
	e, log := open(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/manifests/"):
			serveManifest(w, oci.TypeImageManifest+"; charset=utf-8", manifestJSON)
		case strings.Contains(r.URL.Path, "/blobs/"):
			http.ServeContent(w, r, "", noTime, strings.NewReader(content))
		case strings.HasSuffix(r.URL.Path, "/tags/list"):
			io.WriteString(w, `{"name":"x","tags":["a","b"]}`)
		default:
			http.NotFound(w, r)
		}
	})
	ctx := context.Background()
	d, err := e.Resolve(ctx, repo.WithTag("v1"))
	if err != nil || d.Digest != digestOf(manifestJSON) || d.Size != int64(len(manifestJSON)) || d.MediaType != oci.TypeImageManifest {
		t.Errorf("Resolve = %+v, %v", d, err)
	}
	m, err := e.Manifest(ctx, repo.WithDigest(d.Digest))
	if err != nil || string(m.Raw) != manifestJSON || m.MediaType != oci.TypeImageManifest {
		t.Errorf("Manifest = %+v, %v", m, err)
	}
	blob := digestOf(content)
	if d, err := e.Stat(ctx, repo, blob); err != nil || d.Size != int64(len(content)) {
		t.Errorf("Stat = %+v, %v", d, err)
	}
	for _, off := range []int64{0, 5, 9999, 10000} {
		got, b, err := readBlob(e, blob, off)
		if err != nil || got != content[off:] || b.Size != int64(len(content)) || b.Offset != off {
			t.Errorf("Blob at %d: %d bytes, size %d, %v", off, len(got), b.Size, err)
		}
	}
	var tags []string
	for tag, err := range e.Tags(ctx, repo, "") {
		if err != nil {
			t.Fatal(err)
		}
		tags = append(tags, tag)
	}
	if strings.Join(tags, " ") != "a b" {
		t.Errorf("tags %q", tags)
	}
	if rs, err := e.Referrers(ctx, repo, d.Digest, ""); err == nil && len(rs) != 0 {
		t.Errorf("referrers %v, %v", rs, err)
	}
	for _, r := range log.requests {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("%s: Accept-Encoding %q", r.URL, got)
		}
	}
}

// deadDNS resolves nothing.
var deadDNS = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("no name server")
}}

// rawServer answers each connection with some bytes and closes it.
func rawServer(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, answer)
			c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return "http://" + l.Addr().String()
}
