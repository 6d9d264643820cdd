package relocate

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Have is what was finished at destinations in earlier runs, by repository
// and digest, in a file that only grows and may be deleted at any time: then
// the destinations are asked again. What it says is believed only of a
// manifest that the destination still has.
//
// A nil Have knows nothing and remembers nothing. Its methods are safe for
// concurrent use, by several processes too.
type Have struct {
	mu    sync.Mutex            // guards what follows
	file  *os.File              // nil: it is kept in memory alone
	repos map[string]bool       // :: repository → something is known of it
	whole map[haveKey]*finished // :: what was copied → what there was
	homes map[haveKey]ref.Name  // :: host and digest of a blob → a repository that has it
}

type haveKey struct {
	repo   string // of a home: the host
	digest oci.Digest
	scope  string // the platforms that were copied, "" for all
}

// A finished is a line of the file: an image that is whole at a destination.
type finished struct {
	Host    string       `json:"host"`
	Repo    string       `json:"repo"`
	Digest  oci.Digest   `json:"digest"`            // of the source
	Becomes oci.Digest   `json:"becomes,omitempty"` // at the destination, where it is another
	Scope   string       `json:"scope,omitempty"`
	Refers  *refers      `json:"refers,omitempty"` // nil where referrers were not copied
	Blobs   []oci.Digest `json:"blobs,omitempty"`
}

// Refers is what referred to an image when it was copied.
type refers struct {
	Manifests []oci.Digest          `json:"manifests"`      // whose referrers were asked for: the image's own
	Subjects  []oci.Digest          `json:"of,omitempty"`   // of the referrers of the root
	Tags      map[string]oci.Digest `json:"tags,omitempty"` // :: tag of cosign's → digest
}

func (f finished) name() ref.Name { return ref.Name{Host: f.Host, Path: f.Repo} }

// NewHave returns a memory without a file, for the runs of one process. It need
// not be closed.
func NewHave() *Have {
	return &Have{repos: map[string]bool{}, whole: map[haveKey]*finished{}, homes: map[haveKey]ref.Name{}}
}

// OpenHave opens the memory of a file, a new one where there is none. Whoever
// opened it closes it.
func OpenHave(name string) (*Have, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open what was copied before: %w", err)
	}
	h := NewHave()
	h.file = f
	_, err = readLines(f, func(raw []byte) error {
		var one finished
		if err := json.Unmarshal(raw, &one); err != nil {
			return err
		}
		h.take(&one)
		return nil
	})
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return h, nil
}

func (h *Have) take(one *finished) {
	n := one.name()
	h.repos[n.String()] = true
	for _, d := range one.Blobs {
		h.homes[haveKey{repo: one.Host, digest: d}] = n
	}
	one.Blobs = nil
	h.whole[haveKey{n.String(), one.Digest, one.Scope}] = one
}

// Close closes the file.
func (h *Have) Close() error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return nil
	}
	return h.file.Close()
}

// knows reports whether something was copied to the repository before.
func (h *Have) knows(n ref.Name) bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.repos[n.String()]
}

// find returns what is known of an image, nil for nothing.
func (h *Have) find(n ref.Name, d oci.Digest, scope string) *finished {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.whole[haveKey{n.String(), d, scope}]
}

// home returns a repository of the same registry that had the blob, not n
// itself.
func (h *Have) home(n ref.Name, d oci.Digest) ref.Name {
	if h == nil {
		return ref.Name{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if home := h.homes[haveKey{repo: n.Host, digest: d}]; home != n {
		return home
	}
	return ref.Name{}
}

// add remembers an image that is whole.
func (h *Have) add(one finished) error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file != nil {
		if err := writeLine(h.file, one); err != nil {
			return fmt.Errorf("remember what was copied: %w", err)
		}
	}
	h.take(&one)
	return nil
}
