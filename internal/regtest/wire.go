package regtest

import (
	"net/http"
	"strings"
	"sync"

	"github.com/entrepot/entrepot/oci"
)

// A Kind says what a request asks for.
type Kind string

// The kinds of request.
const (
	Ping      Kind = "ping"      // /v2/
	Manifest  Kind = "manifest"  // /v2/<repo>/manifests/<ref>
	Blob      Kind = "blob"      // /v2/<repo>/blobs/<digest>
	Upload    Kind = "upload"    // /v2/<repo>/blobs/uploads/…
	Tags      Kind = "tags"      // /v2/<repo>/tags/list
	Referrers Kind = "referrers" // /v2/<repo>/referrers/<digest>
	Catalog   Kind = "catalog"   // /v2/_catalog
	Token     Kind = "token"     // the token endpoint
	CDNBlob   Kind = "cdn"       // a blob at the CDN
	Other     Kind = "other"
)

// An Entry is one request as it arrived, and what was answered.
type Entry struct {
	Kind   Kind
	Method string // of a Memory: HEAD for Resolve and Stat, GET for the rest
	Path   string
	Query  string      // raw
	Header http.Header // of the request, all of it
	Repo   string
	Ref    string // tag or digest, "" where there is none
	Offset int64  // where a Range starts; 0 without one
	Status int    // 0 while nothing is answered; of a Memory always 0
	Sent   int64  // bytes of the body that were given to the socket, or read
	Done   bool   // the answer has ended
}

// Authorization returns the scheme of the Authorization header, "" where there
// is none.
func (e Entry) Authorization() string {
	scheme, _, _ := strings.Cut(e.Header.Get("Authorization"), " ")
	return scheme
}

// A Wire is a log of requests, in the order in which they arrived. Its methods
// are safe for concurrent use.
type Wire struct {
	mu      sync.Mutex // guards what follows, and what the entries point at
	entries []*Entry
	changed chan struct{} // closed at the next change; nil where nobody waits
}

// Log returns the requests so far, those that are under way too.
func (w *Wire) Log() []Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]Entry, len(w.entries))
	for i, e := range w.entries {
		all[i] = *e
	}
	return all
}

// ResetLog forgets the requests so far.
func (w *Wire) ResetLog() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = nil
}

// Count returns how many requests of a method and a kind there were; "" counts
// every method, or every kind.
func (w *Wire) Count(method string, kind Kind) int {
	n := 0
	for _, e := range w.Log() {
		if (method == "" || e.Method == method) && (kind == "" || e.Kind == kind) {
			n++
		}
	}
	return n
}

// BlobBytes returns how many bytes of a blob were sent, by registry and CDN
// together. It never is less than what the clients have received.
func (w *Wire) BlobBytes(d oci.Digest) int64 {
	var n int64
	for _, e := range w.Log() {
		if (e.Kind == Blob || e.Kind == CDNBlob) && e.Ref == string(d) {
			n += e.Sent
		}
	}
	return n
}

// Idle waits until no request is under way. A request that is held or stalled
// is under way.
func (w *Wire) Idle() {
	for {
		w.mu.Lock()
		busy := false
		for _, e := range w.entries {
			busy = busy || !e.Done
		}
		if busy && w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		w.mu.Unlock()
		if !busy {
			return
		}
		<-changed
	}
}

func (w *Wire) begin(e Entry) *Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = append(w.entries, &e)
	return &e
}

func (w *Wire) status(e *Entry, status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.Status = status
}

func (w *Wire) sent(e *Entry, n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.Sent += n
}

func (w *Wire) end(e *Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.Done = true
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}
