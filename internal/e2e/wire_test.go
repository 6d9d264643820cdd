package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// An exchange is one request over one hop and what was answered.
type exchange struct {
	Method, Path, Query string
	Range               string // the request's
	Authorization       bool   // whether the request had one
	Status              int    // 0 while there is no answer
	Header              http.Header
	Bytes               int64  // of the body, as sent so far
	Digest              string // sha256 of the body, once it is complete
}

func (e exchange) String() string {
	s := e.Method + " " + e.Path
	if e.Query != "" {
		s += "?" + e.Query
	}
	if e.Range != "" {
		s += " [" + e.Range + "]"
	}
	return fmt.Sprintf("%s -> %d, %d bytes", s, e.Status, e.Bytes)
}

// A wire is a reverse proxy that changes nothing and writes down everything.
type wire struct {
	url string

	mu  sync.Mutex // guards log and its elements
	log []*exchange
}

// newWire starts a wire in front of the server at target.
func newWire(t testing.TB, target string) *wire {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	w := new(wire)
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 32}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { // the Host stays that of the client
			r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery
		},
		Transport:      transport,
		FlushInterval:  -1,
		ErrorLog:       log.New(io.Discard, "", 0),
		ModifyResponse: w.answered,
	}
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(rw, r.WithContext(w.asked(r)))
	}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		transport.CloseIdleConnections()
	})
	w.url = srv.URL
	return w
}

// address is host and port of the wire.
func (w *wire) address() string { return strings.TrimPrefix(w.url, "http://") }

func (w *wire) answered(resp *http.Response) error {
	e := exchangeOf(resp.Request.Context())
	w.mu.Lock()
	e.Status, e.Header = resp.StatusCode, resp.Header.Clone()
	w.mu.Unlock()
	resp.Body = &wireBody{ReadCloser: resp.Body, w: w, e: e, h: sha256.New()}
	return nil
}

// A wireBody counts and hashes what passes.
type wireBody struct {
	io.ReadCloser
	w *wire
	e *exchange
	h hash.Hash
}

func (b *wireBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.h.Write(p[:n])
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	b.e.Bytes += int64(n)
	if err == io.EOF {
		b.e.Digest = "sha256:" + hex.EncodeToString(b.h.Sum(nil))
	}
	return n, err
}

// take returns what was logged since the last take.
func (w *wire) take() exchanges {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all exchanges
	for _, e := range w.log {
		all = append(all, *e)
	}
	w.log = nil
	return all
}

// exchanges is a log of the wire, in the order of the requests.
type exchanges []exchange

func (x exchanges) String() string {
	var s strings.Builder
	for _, e := range x {
		s.WriteString("\t" + e.String() + "\n")
	}
	return s.String()
}

// of returns the exchanges of one kind: "blobs", "manifests", "tags" or
// "referrers", with that method, or any where it is "".
func (x exchanges) of(method, kind string) exchanges {
	var some exchanges
	for _, e := range x {
		if (method == "" || e.Method == method) && strings.Contains(e.Path, "/"+kind+"/") {
			some = append(some, e)
		}
	}
	return some
}

// bytes sums the bodies up.
func (x exchanges) bytes() int64 {
	var n int64
	for _, e := range x {
		n += e.Bytes
	}
	return n
}

// last is the last segment of a path: a digest or a tag.
func (e exchange) last() string { return e.Path[strings.LastIndexByte(e.Path, '/')+1:] }

type exchangeKey struct{}

// asked writes the request down and returns a context that knows its line.
func (w *wire) asked(r *http.Request) context.Context {
	e := &exchange{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery,
		Range: r.Header.Get("Range"), Authorization: r.Header.Get("Authorization") != ""}
	w.mu.Lock()
	w.log = append(w.log, e)
	w.mu.Unlock()
	return context.WithValue(r.Context(), exchangeKey{}, e)
}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }
