package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// blobHandler serves one blob, whose body open makes; target is its path.
func blobHandler(t *testing.T, content []byte, open func([]byte, int64) io.ReadCloser) (h *Handler, m *memory, target string, events *[]Event) {
	t.Helper()
	m = newMemory()
	d := oci.FromBytes(content, "")
	m.repo(ref.Name{Path: "apps/x"}).blobs[d] = content
	if open != nil {
		m.open = open
	}
	var mu sync.Mutex
	events = new([]Event)
	h = handler(t, Config{Hosted: m, Access: access.Policy{Anonymous: access.Pull}, Observe: func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		*events = append(*events, e)
	}})
	return h, m, "/v2/apps/x/blobs/" + string(d), events
}

// A passer can seek, and write itself.
type passer struct{ *bytes.Reader }

func (passer) Close() error { return nil }

// bodies are the forms in which a backend has a blob.
func bodies(t *testing.T) map[string]func([]byte, int64) io.ReadCloser {
	dir := t.TempDir()
	return map[string]func([]byte, int64) io.ReadCloser{
		"a file": func(b []byte, _ int64) io.ReadCloser {
			name := filepath.Join(dir, "blob")
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			return f
		},
		"a seeker": func(b []byte, _ int64) io.ReadCloser {
			return struct {
				io.ReadSeeker
				io.Closer
			}{bytes.NewReader(b), io.NopCloser(nil)}
		},
		"a writer": func(b []byte, _ int64) io.ReadCloser {
			return passer{bytes.NewReader(b)}
		},
		"a stream": func(b []byte, off int64) io.ReadCloser {
			return io.NopCloser(iotest.HalfReader(bytes.NewReader(b[off:])))
		},
	}
}

// TestRanges holds what each kind of Range is answered with, whatever form the
// blob has.
func TestRanges(t *testing.T) {
	content := make([]byte, 3000)
	for i := range content {
		content[i] = byte(i * 7)
	}
	full := string(content)
	for form, open := range bodies(t) {
		h, _, target, events := blobHandler(t, content, open)
		srv := httptest.NewServer(h)
		etag := `"` + strings.TrimPrefix(target, "/v2/apps/x/blobs/") + `"`
		for _, c := range []struct {
			ranges, ifRange string
			status          int
			contentRange    string
			body            string
		}{
			{"", "", 200, "", full},
			{"bytes=500-1499", "", 206, "bytes 500-1499/3000", full[500:1500]},
			{"bytes=0-", "", 206, "bytes 0-2999/3000", full},
			{"bytes=500-", "", 206, "bytes 500-2999/3000", full[500:]},
			{"bytes=-500", "", 206, "bytes 2500-2999/3000", full[2500:]},
			{"bytes=-5000", "", 206, "bytes 0-2999/3000", full},
			{"bytes=2000-5000", "", 206, "bytes 2000-2999/3000", full[2000:]},
			{"bytes=2999-2999", "", 206, "bytes 2999-2999/3000", full[2999:]},
			{"bytes=3000-", "", 416, "bytes */3000", ""},
			{"bytes=5000-10000", "", 416, "bytes */3000", ""},
			{"bytes=500-0", "", 416, "bytes */3000", ""},
			{"bytes=-0", "", 416, "bytes */3000", ""},
			{"bytes=99999999999999999999-", "", 416, "bytes */3000", ""},
			{"bytes=x-y", "", 416, "bytes */3000", ""},
			{"bytes=5", "", 416, "bytes */3000", ""},
			{"items=0-5", "", 200, "", full},
			{"bytes=0-9", etag, 206, "bytes 0-9/3000", full[:10]},
			{"bytes=0-9", `"sha256:other"`, 200, "", full},
			{"bytes=5000-", `"sha256:other"`, 200, "", full},
			{"bytes=0-2999,0-2999", "", 200, "", full}, // more than the whole
		} {
			r, err := http.NewRequest(http.MethodGet, srv.URL+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.ranges != "" {
				r.Header.Set("Range", c.ranges)
			}
			if c.ifRange != "" {
				r.Header.Set("If-Range", c.ifRange)
			}
			resp, err := srv.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != c.status || resp.Header.Get("Content-Range") != c.contentRange || c.status != 416 && string(body) != c.body {
				t.Errorf("%s: Range %q: got %d, Content-Range %q, %d bytes, %v; want %d, %q, %d bytes", form, c.ranges, resp.StatusCode,
					resp.Header.Get("Content-Range"), len(body), err, c.status, c.contentRange, len(c.body))
			}
			if c.status != 416 && (resp.Header.Get("Accept-Ranges") != "bytes" || resp.Header.Get("Docker-Content-Digest") == "") {
				t.Errorf("%s: Range %q: got header %v", form, c.ranges, resp.Header)
			}
		}
		srv.Close()
		for _, e := range *events {
			if e.Err != nil && e.Status != 416 || e.Status != 416 && e.Sent != int64(len(full)) && e.Status == 200 {
				t.Errorf("%s: event %+v", form, e)
			}
		}
	}
}

// TestMultiRange holds that several ranges come as multipart/byteranges, which
// partial pulls of zstd:chunked layers want.
func TestMultiRange(t *testing.T) {
	content := []byte(strings.Repeat("0123456789", 100))
	for form, open := range bodies(t) {
		h, _, target, _ := blobHandler(t, content, open)
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header.Set("Range", "bytes=0-9, 500-504,-1")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		_, params, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
		if err != nil || w.Code != http.StatusPartialContent {
			t.Fatalf("%s: got %d, %q, %v", form, w.Code, w.Header().Get("Content-Type"), err)
		}
		var got []string
		for parts := multipart.NewReader(w.Body, params["boundary"]); ; {
			p, err := parts.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(p)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p.Header.Get("Content-Range")+" "+string(b))
		}
		want := []string{"bytes 0-9/1000 0123456789", "bytes 500-504/1000 01234", "bytes 999-999/1000 9"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %q, want %q", form, got, want)
		}
	}
}

func TestEmptyBlob(t *testing.T) {
	for form, open := range bodies(t) {
		h, _, target, _ := blobHandler(t, []byte{}, open)
		for _, ranges := range []string{"", "bytes=0-", "bytes=5-"} {
			r := httptest.NewRequest(http.MethodGet, target, nil)
			r.Header.Set("Range", ranges)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != 200 || w.Header().Get("Content-Length") != "0" || w.Body.Len() != 0 {
				t.Errorf("%s: Range %q: got %d with %s bytes", form, ranges, w.Code, w.Header().Get("Content-Length"))
			}
		}
	}
}

// readerFrom is a ResponseWriter that sees what is copied into it, as the
// server's own one does when it hands a file to the kernel.
type readerFrom struct {
	*httptest.ResponseRecorder
	from []io.Reader
}

func (w *readerFrom) ReadFrom(r io.Reader) (int64, error) {
	w.from = append(w.from, r)
	return io.Copy(w.ResponseRecorder, r)
}

// TestFilesAreSentByTheKernel holds that a file reaches the ResponseWriter as
// an *os.File, within the io.LimitedReader that net/http puts around it: that,
// and a writer that nobody wrapped, is what sendfile needs.
func TestFilesAreSentByTheKernel(t *testing.T) {
	content := []byte(strings.Repeat("0123456789", 100))
	h, _, target, events := blobHandler(t, content, bodies(t)["a file"])
	for _, c := range []struct {
		ranges string
		sent   int64
	}{{"", 1000}, {"bytes=100-", 900}, {"bytes=100-199", 100}} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		if c.ranges != "" {
			r.Header.Set("Range", c.ranges)
		}
		w := &readerFrom{ResponseRecorder: httptest.NewRecorder()}
		h.ServeHTTP(w, r)
		if len(w.from) != 1 {
			t.Fatalf("Range %q: %d copies, want one", c.ranges, len(w.from))
		}
		limited, ok := w.from[0].(*io.LimitedReader)
		if !ok {
			t.Fatalf("Range %q: the writer was given a %T", c.ranges, w.from[0])
		}
		if _, ok := limited.R.(*os.File); !ok {
			t.Errorf("Range %q: the writer was given a %T", c.ranges, limited.R)
		}
		if e := (*events)[len(*events)-1]; e.Sent != c.sent || e.Err != nil {
			t.Errorf("Range %q: the event says %d bytes and %v, want %d", c.ranges, e.Sent, e.Err, c.sent)
		}
	}
}

// TestBodiesWriteThemselves holds that a body that can write itself is let to,
// to the server's own writer, where all of it is wanted.
func TestBodiesWriteThemselves(t *testing.T) {
	content := []byte(strings.Repeat("0123456789", 100))
	h, _, target, events := blobHandler(t, content, bodies(t)["a writer"])
	for _, c := range []struct {
		header, value string
		itself        bool
	}{
		{"Accept", "*/*", true},
		{"Range", "bytes=0-", false},
		{"If-Match", "*", false},
	} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header.Set(c.header, c.value)
		w := &readerFrom{ResponseRecorder: httptest.NewRecorder()}
		h.ServeHTTP(w, r)
		if itself := len(w.from) == 0; itself != c.itself { // bytes.Reader.WriteTo calls Write
			t.Errorf("%s %s: it wrote itself: %v, want %v", c.header, c.value, itself, c.itself)
		}
		if w.Body.String() != string(content) || w.Header().Get("Content-Length") != "1000" || w.Header().Get("Accept-Ranges") != "bytes" {
			t.Errorf("%s %s: got %d bytes with %v", c.header, c.value, w.Body.Len(), w.Header())
		}
		if e := (*events)[len(*events)-1]; e.Sent != 1000 || e.Err != nil {
			t.Errorf("%s %s: the event says %d bytes and %v", c.header, c.value, e.Sent, e.Err)
		}
	}
}

// TestBrokenBody holds that a body that ends early or fails is never taken for
// complete: the connection is cut, without a word in the server's log.
func TestBrokenBody(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 1<<20)
	broken := oci.Errorf(oci.ErrMismatch, oci.CodeDigestInvalid, "the upstream sent other content")
	cut := func(err error) func([]byte, int64) io.ReadCloser {
		return func(b []byte, off int64) io.ReadCloser {
			return io.NopCloser(io.MultiReader(bytes.NewReader(b[off:max(off, 700_000)]), iotest.ErrReader(err)))
		}
	}
	for name, c := range map[string]struct {
		open    func([]byte, int64) io.ReadCloser
		unsized bool
		ranges  string
	}{
		"mismatch":          {cut(broken), false, ""},
		"mismatch, ranged":  {cut(broken), false, "bytes=1-"},
		"mismatch, several": {cut(broken), false, "bytes=0-9,600000-800000"},
		"short stream":      {cut(io.EOF), false, ""},
		"short writer": {func(b []byte, _ int64) io.ReadCloser {
			return passer{bytes.NewReader(b[:700_000])}
		}, false, ""},
		"unknown size": {cut(broken), true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h, m, target, events := blobHandler(t, content, c.open)
			m.unsized = c.unsized
			var out lockedBuffer
			srv := httptest.NewUnstartedServer(h)
			srv.Config.ErrorLog = log.New(&out, "", 0)
			srv.Start()
			r, err := http.NewRequest(http.MethodGet, srv.URL+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.ranges != "" {
				r.Header.Set("Range", c.ranges)
			}
			resp, err := srv.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if !errors.Is(err, io.ErrUnexpectedEOF) || bytes.Contains(body, []byte("errors")) {
				t.Errorf("the client got %d bytes and %v, want an unexpected EOF", len(body), err)
			}
			srv.Close()
			if out.String() != "" {
				t.Errorf("the server logged %q", out.String())
			}
			if e := (*events)[0]; e.Err == nil || e.Status >= 300 && e.Status != statusCanceled {
				t.Errorf("the event is %+v", e)
			}
		})
	}
}

// TestFileOfOtherSize holds that a file that is not as long as its blob is not
// served at all (distribution#2367, distribution#4191).
func TestFileOfOtherSize(t *testing.T) {
	h, m, target, _ := blobHandler(t, make([]byte, 1000), bodies(t)["a file"])
	m.open = func(b []byte, off int64) io.ReadCloser { return bodies(t)["a file"](b[:700], off) }
	if w := serve(h, http.MethodGet, target, nil); w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "700") {
		t.Errorf("got %d %s, want 500", w.Code, w.Body)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestClientLeaves holds that a client that leaves in the middle, or before the
// backend has an answer, leaves nothing behind and is no error.
func TestClientLeaves(t *testing.T) {
	waiting := make(chan struct{})
	for name, c := range map[string]struct {
		ranges string
		first  int // bytes that come before the body waits
	}{"at the start": {"", 0}, "in the middle": {"", 4096}, "in the second range": {"bytes=0-99,100000-200000", 200}} {
		t.Run(name, func(t *testing.T) {
			content := make([]byte, 1<<20)
			h, m, target, events := blobHandler(t, content, nil)
			h.cfg.Hosted = slowBlob{m, c.first, waiting}
			srv := httptest.NewServer(h)
			ctx, cancel := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.ranges != "" {
				r.Header.Set("Range", c.ranges)
			}
			go func() {
				<-waiting
				cancel()
			}()
			if resp, err := srv.Client().Do(r); err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			srv.Close() // waits for the handler
			if e := (*events)[0]; e.Status != statusCanceled {
				t.Errorf("the event is %+v, want status %d", e, statusCanceled)
			}
		})
	}
}

// slowBlob has bodies that wait for ever after their first bytes.
type slowBlob struct {
	*memory
	first   int
	waiting chan struct{}
}

func (s slowBlob) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	b, err := s.memory.Blob(ctx, n, d, off)
	b.Body = io.NopCloser(io.MultiReader(io.LimitReader(b.Body, int64(s.first)), waitReader{ctx, s.waiting}))
	return b, err
}

type waitReader struct {
	ctx     context.Context
	waiting chan struct{}
}

func (w waitReader) Read([]byte) (int, error) {
	w.waiting <- struct{}{}
	<-w.ctx.Done()
	return 0, w.ctx.Err()
}

// TestKeepAlive holds that one connection serves many requests, refused ones
// among them.
func TestKeepAlive(t *testing.T) {
	h, _, target, _ := blobHandler(t, []byte("x"), nil)
	srv := httptest.NewUnstartedServer(h)
	conns := 0
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns++
		}
	}
	srv.Start()
	for _, path := range []string{target, "/v2/", "/v2/apps/x/manifests/t", "/v2/x", target} {
		resp, err := srv.Client().Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	srv.Close()
	if conns != 1 {
		t.Errorf("%d connections, want 1", conns)
	}
}

// FuzzCheckRange holds that net/http answers whatever checkRange lets pass.
func FuzzCheckRange(f *testing.F) {
	for _, s := range []string{"bytes=0-", "bytes=-5", "bytes=1-2, 3-4", "bytes=5-1", "bytes=10-", "bytes=,", "bytes=", "bytes= 1 - 2 ", "bytes=-0", "bytes=0-99999999999999999999", "items=0-1"} {
		f.Add(s)
	}
	content := []byte("0123456789")
	f.Fuzz(func(t *testing.T, header string) {
		known, overlap := checkRange(header, int64(len(content)))
		if !known {
			return
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Range"] = []string{header}
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		if overlap && w.Code == http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("%q: net/http, which has to answer it, answers 416", header)
		}
	})
}

func TestParseContentRange(t *testing.T) {
	for s, want := range map[string][2]int64{
		"0-99": {0, 100}, "bytes 0-99/*": {0, 100}, "bytes 5-5/10": {5, 1}, "7-7": {7, 1},
		"": {-1}, "-": {-1}, "5-": {-1}, "-5": {-1}, "5-4": {-1}, "a-b": {-1}, "0-+9": {-1}, "0-9223372036854775807": {-1}, "0-99999999999999999999": {-1},
	} {
		off, size, ok := parseContentRange(s)
		if ok != (want[0] >= 0) || ok && [2]int64{off, size} != want {
			t.Errorf("parseContentRange(%q) = %d, %d, %v, want %v", s, off, size, ok, want)
		}
	}
}
