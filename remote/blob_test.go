package remote

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/google/go-cmp/cmp"
)

const content = "0123456789abcdefghij"

// TestBlobRanges holds that what is asked for from 10 on is never anything
// else, whatever the registry answers (spec/reliability.md, faults 3 and 5).
//
// container-libs#1114: a 200 that answers a Range.
func TestBlobRanges(t *testing.T) {
	partial := func(cr, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", cr)
			w.WriteHeader(http.StatusPartialContent)
			io.WriteString(w, body)
		}
	}
	for _, tt := range []struct {
		name string
		h    http.HandlerFunc
		size int64
		kind error // of Blob or of the reading
	}{
		{name: "good", h: partial("bytes 10-19/20", content[10:]), size: 20},
		{name: "unknown total", h: partial("bytes 10-19/*", content[10:]), size: -1},
		{name: "200", h: func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, content) }, size: 20},
		{name: "200 without length", h: func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, content[:5])
			w.(http.Flusher).Flush()
			io.WriteString(w, content[5:])
		}, size: -1},
		{name: "206 from 0", h: partial("bytes 0-19/20", content), kind: oci.ErrMismatch},
		{name: "206 from 9", h: partial("bytes 9-19/20", content[9:]), kind: oci.ErrMismatch},
		{name: "206 that ends early", h: partial("bytes 10-14/20", content[10:15]), kind: oci.ErrMismatch},
		{name: "206 of another length", h: partial("bytes 10-19/20", content[10:15]), kind: oci.ErrMismatch},
		{name: "206 without a range", h: partial("", content[10:]), kind: oci.ErrMismatch},
		{name: "206 beyond the total", h: partial("bytes 10-29/20", content[10:]), kind: oci.ErrMismatch},
		{name: "200, too short", h: func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, content[:5]) }, kind: oci.ErrMismatch},
		{name: "200, too short, without length", h: func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			io.WriteString(w, content[:5])
		}, kind: oci.ErrMismatch},
		{name: "416", h: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes */5")
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		}, kind: oci.ErrMismatch},
		{name: "html", h: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, "<html>0123456789abcdefghij</html>")
		}, kind: oci.ErrMismatch},
		{name: "cut", h: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "20")
			io.WriteString(w, content[:15])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, kind: oci.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, log := open(t, tt.h)
			got, b, err := readBlob(e, digestOf(content), 10)
			if log.get()[0] != "GET /v2/team/app/blobs/"+string(digestOf(content))+" bytes=10-" {
				t.Errorf("asked %q", log.get())
			}
			if tt.kind != nil {
				wantKind(t, err, tt.kind)
				if !strings.HasPrefix(content[10:], got) {
					t.Errorf("it gave %q before it failed", got)
				}
				return
			}
			if err != nil || got != content[10:] || b.Size != tt.size || b.Offset != 10 {
				t.Errorf("got %q, size %d, offset %d, %v", got, b.Size, b.Offset, err)
			}
		})
	}
}

func TestSkipIsBounded(t *testing.T) {
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, content) })
	e := endpoint(t, ClientConfig{}, EndpointConfig{URL: s.URL, MaxSkip: 9})
	_, _, err := readBlob(e, digestOf(content), 10)
	wantKind(t, err, oci.ErrUnsupported)
	got, _, err := readBlob(e, digestOf(content), 9)
	if err != nil || got != content[9:] {
		t.Errorf("within the bound: %q, %v", got, err)
	}
}

func TestIfRangeNeedsAStrongValidator(t *testing.T) {
	for etag, want := range map[string]string{`"abc"`: `"abc"`, `W/"abc"`: "", "abc": "", `"`: "", "": ""} {
		e, log := open(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", etag)
			http.ServeContent(w, r, "", noTime, strings.NewReader(content))
		})
		for _, off := range []int64{0, 10} {
			if got, _, err := readBlob(e, digestOf(content), off); err != nil || got != content[off:] {
				t.Errorf("ETag %s: %q, %v", etag, got, err)
			}
		}
		if got := log.requests[1].Header.Get("If-Range"); got != want {
			t.Errorf("ETag %s: If-Range %q, want %q", etag, got, want)
		}
	}
}

func TestEtagsAreBounded(t *testing.T) {
	var tags etags
	for i := range 3 * maxEtags {
		tags.put(oci.Digest(fmt.Sprint(i)), `"x"`)
	}
	if len(tags.m) > maxEtags {
		t.Errorf("%d validators are kept", len(tags.m))
	}
}

func TestContentEncodingIsNotDecoded(t *testing.T) {
	e, _ := open(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, content)
	})
	if got, b, err := readBlob(e, digestOf(content), 0); err != nil || got != content || b.Size != 20 {
		t.Errorf("got %q, %v, want the bytes as they came", got, err)
	}
}

func TestStat(t *testing.T) {
	length := func(w http.ResponseWriter) { w.Header().Set("Content-Length", "20") }
	ranged := func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", noTime, strings.NewReader(content))
	}
	for _, tt := range []struct {
		name string
		head func(http.ResponseWriter)
		get  http.HandlerFunc
		size int64
		kind error
	}{
		{name: "head", head: length, size: 20},
		{name: "401", head: status(401), get: ranged, size: 20},
		{name: "403", head: status(403), get: ranged, size: 20},
		{name: "404", head: status(404), get: ranged, size: 20},
		{name: "405", head: status(405), get: ranged, size: 20},
		{name: "no length", head: func(w http.ResponseWriter) { w.(http.Flusher).Flush() }, get: ranged, size: 20},
		{name: "200 to the range", head: status(405), get: func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, content) }, size: 20},
		{name: "empty", head: status(405), get: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes */0")
			w.WriteHeader(416)
		}, size: 0},
		{name: "really not there", head: status(404), get: func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }, kind: oci.ErrNotFound},
		{name: "unknown for good", head: status(405), get: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-0/*")
			w.WriteHeader(206)
		}, kind: oci.ErrMismatch},
		{name: "500", head: status(500), kind: oci.ErrUnavailable},
		{name: "html", head: func(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/html") }, kind: oci.ErrMismatch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, log := open(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodHead:
					tt.head(w)
				case tt.get == nil:
					t.Errorf("it was asked by %s", r.Method)
				default:
					tt.get(w, r)
				}
			})
			d, err := e.Stat(t.Context(), repo, digestOf(content))
			if tt.kind != nil {
				wantKind(t, err, tt.kind)
			} else if err != nil || d.Size != tt.size || d.Digest != digestOf(content) {
				t.Errorf("Stat = %+v, %v, want size %d", d, err, tt.size)
			}
			if lines := log.get(); len(lines) == 2 && !strings.HasSuffix(lines[1], "bytes=0-0") {
				t.Errorf("asked %q", lines)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	cdn, cdnLog := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			w.WriteHeader(400) // as S3 does
			return
		}
		http.ServeContent(w, r, "", noTime, strings.NewReader(content))
	})
	hops := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var at int
			fmt.Sscanf(r.URL.RawQuery, "hop=%d", &at)
			if at == n {
				http.Redirect(w, r, cdn.URL+"/signed?sig=x", http.StatusTemporaryRedirect)
				return
			}
			http.Redirect(w, r, fmt.Sprintf("%s?hop=%d", r.URL.Path, at+1), http.StatusFound)
		}
	}
	for n, good := range map[int]bool{0: true, 4: true, 5: false} {
		e, _ := open(t, hops(n))
		got, _, err := readBlob(e, digestOf(content), 5)
		if good && (err != nil || got != content[5:]) {
			t.Errorf("%d hops: %q, %v", n+1, got, err)
		}
		if !good {
			wantKind(t, err, oci.ErrMismatch)
		}
	}
	for _, line := range cdnLog.get() {
		if line != "GET /signed?sig=x bytes=5-" {
			t.Errorf("the CDN was asked %q", line)
		}
	}
	for _, to := range []string{"", "ftp://x/y", "https://user:pass@x/", "//", "http://[::1", "javascript:alert(1)"} {
		e, _ := open(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", to)
			w.WriteHeader(307)
		})
		_, _, err := readBlob(e, digestOf(content), 0)
		wantKind(t, err, oci.ErrMismatch)
		if strings.Contains(fmt.Sprint(err), "pass") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

// TestExpiredSignature holds that a CDN's 403 is no denial: asking the registry
// again gives another signature (spec/reliability.md, 1; docker-registry-proxy#26
// kept the signed URL).
func TestExpiredSignature(t *testing.T) {
	var mu sync.Mutex
	n := 0
	cdn, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("sig") == "1" {
			w.WriteHeader(403)
			return
		}
		io.WriteString(w, content)
	})
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		n++
		http.Redirect(w, r, fmt.Sprintf("%s/?sig=%d", cdn.URL, n), 307)
	})
	e := endpoint(t, ClientConfig{Retry: Retry{Base: 1}}, EndpointConfig{URL: s.URL})
	if got, _, err := readBlob(e, digestOf(content), 0); err != nil || got != content {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestHeadOfALinkSignedForGet holds that Stat asks again by GET where a CDN
// refuses the HEAD that it was redirected.
func TestHeadOfALinkSignedForGet(t *testing.T) {
	cdn, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(403)
			return
		}
		http.ServeContent(w, r, "", noTime, strings.NewReader(content))
	})
	e, log := open(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, cdn.URL, 307) })
	if d, err := e.Stat(t.Context(), repo, digestOf(content)); err != nil || d.Size != 20 || len(log.get()) != 2 {
		t.Errorf("Stat = %+v, %v after %q", d, err, log.get())
	}
}

// TestProtocols holds decision 27: HTTP/2 for manifests, HTTP/1.1 for blobs.
func TestProtocols(t *testing.T) {
	got := map[string]string{}
	var mu sync.Mutex
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got[strings.Split(r.URL.Path, "/")[4]] = r.Proto
		mu.Unlock()
		if strings.Contains(r.URL.Path, "manifests") {
			serveManifest(w, oci.TypeImageManifest, manifestJSON)
			return
		}
		io.WriteString(w, content)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	e := endpoint(t, ClientConfig{TLS: &tls.Config{InsecureSkipVerify: true}}, EndpointConfig{URL: s.URL})
	resolve1(t, e)
	if _, _, err := readBlob(e, digestOf(content), 0); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"manifests": "HTTP/2.0", "blobs": "HTTP/1.1"}, got); diff != "" {
		t.Errorf("protocols (-want +got):\n%s", diff)
	}
}

// TestConnectionsAreReused holds that layers that are fetched side by side, one
// image after the other, do not open connections again and again.
func TestConnectionsAreReused(t *testing.T) {
	const parallel = 40
	var mu sync.Mutex
	conns := map[string]bool{}
	var meet chan struct{}
	var arrived int
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		conns[r.RemoteAddr] = true
		wait := meet
		if arrived++; arrived%parallel == 0 {
			close(meet)
			meet = make(chan struct{})
		}
		mu.Unlock()
		<-wait
		io.WriteString(w, content)
	})
	meet = make(chan struct{})
	e := endpoint(t, ClientConfig{}, EndpointConfig{URL: s.URL})
	for range 3 {
		var wg sync.WaitGroup
		for range parallel {
			wg.Go(func() {
				if _, _, err := readBlob(e, digestOf(content), 0); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if n := len(conns); n != parallel {
		t.Errorf("%d connections for %d layers side by side", n, parallel)
	}
}

func TestEvents(t *testing.T) {
	cdn, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("RateLimit-Remaining", "5;w=60") // its own
		io.WriteString(w, content)
	})
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("RateLimit-Limit", "100;w=21600")
		w.Header().Set("RateLimit-Remaining", "76;w=21600")
		http.Redirect(w, r, cdn.URL, 307)
	})
	var events []Event
	e := endpoint(t, ClientConfig{Observe: func(ev Event) { events = append(events, ev) }}, EndpointConfig{URL: s.URL, Label: "here"})
	b, err := e.Blob(t.Context(), repo, digestOf(content), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 1 {
		t.Errorf("before the body is closed: %+v", events)
	}
	io.CopyN(io.Discard, b.Body, 7)
	b.Body.Close()
	b.Body.Close()
	if len(events) != 2 || b.From != "here" {
		t.Fatalf("events %+v, from %q", events, b.From)
	}
	for i := range events {
		events[i].Duration = 0
	}
	want := []Event{
		{Endpoint: "here", Host: strings.TrimPrefix(s.URL, "http://"), Kind: KindBlob, Method: "GET", Code: 307, Bytes: events[0].Bytes, Remaining: 76, Limit: 100},
		{Endpoint: "here", Host: strings.TrimPrefix(cdn.URL, "http://"), Kind: KindBlob, Method: "GET", Code: 200, Bytes: 7, Remaining: -1, Limit: -1},
	}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestClosedClient(t *testing.T) {
	e, _ := open(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
		w.WriteHeader(401)
	})
	e.client.Close()
	if _, err := e.Manifest(t.Context(), repo.WithTag("v1")); !errors.Is(err, errClosed) {
		t.Errorf("error %v, want that the client is closed", err)
	}
}
