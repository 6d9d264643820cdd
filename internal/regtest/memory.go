package regtest

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// Trouble is what goes wrong with one call of a [Memory]. The zero value is an
// honest answer.
type Trouble struct {
	Before func()        // runs when the call arrives
	Hold   bool          // no answer until the rule's Release, or the context ends
	Delay  time.Duration // no answer for so long
	Err    error         // instead of an answer

	// Of the body of a blob.
	NoSize bool  // the size is not known
	Flip   Flip  // one wrong byte, of the whole content
	Extra  int64 // bytes more than the content has; negative: fewer
	Drip   Drip  // slowly
	End    End   // what happens after At bytes of this body
	At     int64
	Short  bool // with EndCut: the cut looks like an end

	After func() // runs when the call has been answered; of a blob before its body
}

// A Memory is a place for images without any network. It may be used in a
// testing/synctest bubble: it waits on nothing but timers, channels and
// contexts. It looks at the path of a name only. Its methods are safe for
// concurrent use.
type Memory struct {
	*Shelf
	*Wire
	faults rules[Trouble]
	label  string
}

var (
	_ oci.Reader          = (*Memory)(nil)
	_ oci.Lister          = (*Memory)(nil)
	_ oci.ReferrersLister = (*Memory)(nil)
)

// NewMemory returns a place with the content of a shelf, an empty one where it
// is nil. Its blobs come From the label.
func NewMemory(label string, s *Shelf) *Memory {
	if s == nil {
		s = NewShelf()
	}
	return &Memory{Shelf: s, Wire: new(Wire), label: label}
}

// On adds a rule: calls that match meet the trouble. Of several rules the
// first that matches counts, in the order in which they were added.
func (m *Memory) On(match Match, t Trouble) *Rule { return m.faults.add(match, t) }

// Clear removes every rule and lets go what they hold.
func (m *Memory) Clear() { m.faults.clear() }

// Down is the trouble of a place that cannot be reached.
func Down() Trouble {
	return Trouble{Err: &oci.Error{Kind: oci.ErrUnavailable, Message: "upstream cannot be reached", Err: syscall.ECONNREFUSED}}
}

// call logs a call and meets its rule. The entry has not ended where there is
// no error.
func (m *Memory) call(ctx context.Context, e Entry) (*Entry, Trouble, *Rule, error) {
	e.Header = http.Header{}
	entry := m.begin(e)
	t, rule := m.faults.pick(e)
	if t.Before != nil {
		t.Before()
	}
	err := context.Cause(ctx)
	if t.Hold && err == nil {
		rule.arrive()
		select {
		case <-rule.released:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if t.Delay > 0 && err == nil {
		err = sleep(ctx, t.Delay)
	}
	if err == nil {
		err = t.Err
	}
	if t.After != nil {
		t.After()
	}
	if err != nil {
		m.end(entry)
	}
	return entry, t, rule, err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Resolve implements [oci.Reader].
func (m *Memory) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	found, err := m.lookUp(ctx, http.MethodHead, r)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return found.Descriptor(), nil
}

// Manifest implements [oci.Reader].
func (m *Memory) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	return m.lookUp(ctx, http.MethodGet, r)
}

func (m *Memory) lookUp(ctx context.Context, method string, r ref.Ref) (oci.Manifest, error) {
	// What is there counts from before the call: a rule's After may move a tag.
	found, ok := m.manifest(r.Path, r.Identifier())
	e, _, _, err := m.call(ctx, Entry{Kind: Manifest, Method: method, Repo: r.Path, Ref: r.Identifier()})
	if err != nil {
		return oci.Manifest{}, err
	}
	defer m.end(e)
	if !ok {
		return oci.Manifest{}, oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "manifest unknown")
	}
	return found, nil
}

// Stat implements [oci.Reader].
func (m *Memory) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	e, _, _, err := m.call(ctx, Entry{Kind: Blob, Method: http.MethodHead, Repo: n.Path, Ref: string(d)})
	if err != nil {
		return oci.Descriptor{}, err
	}
	defer m.end(e)
	c, ok := m.blob(n.Path, d)
	if !ok {
		return oci.Descriptor{}, errNoBlob
	}
	return oci.Descriptor{Digest: d, Size: c.Size()}, nil
}

var errNoBlob = oci.Errorf(oci.ErrNotFound, oci.CodeBlobUnknown, "blob unknown to registry")

// Blob implements [oci.Reader].
func (m *Memory) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	e, t, rule, err := m.call(ctx, Entry{Kind: Blob, Method: http.MethodGet, Repo: n.Path, Ref: string(d), Offset: off})
	if err != nil {
		return oci.Blob{}, err
	}
	c, ok := m.blob(n.Path, d)
	if !ok {
		m.end(e)
		return oci.Blob{}, errNoBlob
	}
	c = Fault{Flip: t.Flip, Extra: t.Extra}.content(c)
	if off > c.Size() {
		m.end(e)
		return oci.Blob{}, oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "range not satisfiable")
	}
	b := oci.Blob{Descriptor: oci.Descriptor{Digest: d, Size: c.Size()}, Offset: off, From: m.label}
	if t.NoSize {
		b.Size = -1
	}
	b.Body = &memoryBody{ctx: ctx, m: m, e: e, c: c, t: t, rule: rule, start: off, pos: off, closed: make(chan struct{})}
	return b, nil
}

// Referrers implements [oci.ReferrersLister].
func (m *Memory) Referrers(ctx context.Context, n ref.Name, d oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	e, _, _, err := m.call(ctx, Entry{Kind: Referrers, Method: http.MethodGet, Repo: n.Path, Ref: string(d)})
	if err != nil {
		return nil, err
	}
	defer m.end(e)
	return m.referrers(n.Path, d, artifactType), nil
}

// Tags implements [oci.Lister].
func (m *Memory) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		e, _, _, err := m.call(ctx, Entry{Kind: Tags, Method: http.MethodGet, Repo: n.Path})
		if err != nil {
			yield("", err)
			return
		}
		defer m.end(e)
		tags, ok := m.tags(n.Path)
		if !ok {
			yield("", oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "repository name not known to registry"))
			return
		}
		i, found := slices.BinarySearch(tags, after)
		if found {
			i++
		}
		for _, tag := range tags[i:] {
			if !yield(tag, nil) {
				return
			}
		}
	}
}

// A memoryBody is the body of a blob. One goroutine reads it; another one may
// close it.
type memoryBody struct {
	ctx   context.Context // of the call: it governs the reading too
	m     *Memory
	e     *Entry
	c     Content
	t     Trouble
	rule  *Rule
	start int64
	pos   int64
	ended bool // the trouble's end is behind us

	close  sync.Once
	closed chan struct{}
}

func (b *memoryBody) Read(p []byte) (int, error) {
	if err := b.live(); err != nil || len(p) == 0 {
		return 0, err
	}
	limit := b.c.Size()
	if b.t.End != EndWhole && !b.ended {
		limit = min(limit, b.start+b.t.At)
		if b.pos >= limit {
			return b.misbehave(p)
		}
	}
	if b.pos >= limit {
		return 0, io.EOF
	}
	if b.t.Drip.Bytes > 0 {
		p = p[:min(len(p), b.t.Drip.Bytes)]
		if err := sleep(b.ctx, b.t.Drip.Every); err != nil {
			return 0, err
		}
	}
	n, err := b.c.ReadAt(p[:min(int64(len(p)), limit-b.pos, 32<<10)], b.pos)
	if err != nil && err != io.EOF {
		return n, err
	}
	b.pos += int64(n)
	b.m.sent(b.e, int64(n))
	return n, nil
}

func (b *memoryBody) live() error {
	select {
	case <-b.closed:
		return errors.New("read of a closed body")
	default:
		return context.Cause(b.ctx)
	}
}

// misbehave does what the trouble says, at its place.
func (b *memoryBody) misbehave(p []byte) (int, error) {
	b.rule.arrive()
	switch {
	case b.t.End == EndStall:
		select {
		case <-b.rule.released:
			b.ended = true
			return b.Read(p)
		case <-b.ctx.Done():
			return 0, context.Cause(b.ctx)
		case <-b.closed:
			return 0, errors.New("read of a closed body")
		}
	case b.t.End == EndReset:
		return 0, &oci.Error{Kind: oci.ErrUnavailable, Err: syscall.ECONNRESET}
	case b.t.Short:
		return 0, io.EOF
	}
	return 0, &oci.Error{Kind: oci.ErrUnavailable, Err: io.ErrUnexpectedEOF}
}

func (b *memoryBody) Close() error {
	b.close.Do(func() {
		close(b.closed)
		b.m.end(b.e)
	})
	return nil
}
