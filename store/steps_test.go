package store

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// A stepWorld is a bucket that several processes use, each of which stops
// before every step. Whoever schedules says who may make the next one, so that
// every way in which steps can follow each other can be tried. A process that
// is never let on again is one that has crashed, or that stalls for ever.
type stepWorld struct {
	objects map[Key]string
	sum     uint64 // of the objects, in no order
	procs   []*stepProc
	every   bool           // a step is a step, whatever it is about; otherwise only blobs, marks and pins count
	pins    map[string]pin // :: content → pin; what was parsed is kept across worlds
}

// A stepProc is one of the processes: a writer or a collector.
type stepProc struct {
	w        *stepWorld
	next     func() (struct{}, bool)
	stop     func()
	yield    func(struct{}) bool
	seen     uint64 // hash of all that it has seen, which determines what it does next
	done     bool
	result   error
	shortcut *shortcut // nil: the real protocol
	names    int
}

// now is what all clocks say; every object is old by then, so that nothing is
// left alone because of its age.
var stepNow = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func hash64(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		io.WriteString(h, p)
		h.Write([]byte{0})
	}
	return h.Sum64()
}

func (w *stepWorld) put(k Key, content string) {
	w.remove(k)
	w.objects[k] = content
	w.sum ^= hash64(string(k), content)
}

func (w *stepWorld) remove(k Key) bool {
	old, ok := w.objects[k]
	if ok {
		w.sum ^= hash64(string(k), old)
		delete(w.objects, k)
	}
	return ok
}

// start adds a process. Its work runs up to its first step.
func (w *stepWorld) start(name string, cut *shortcut, work func(context.Context, *Vault) error) *stepProc {
	p := &stepProc{w: w, shortcut: cut}
	if cut != nil {
		p.shortcut = &shortcut{kind: cut.kind}
	}
	p.next, p.stop = iter.Pull(func(yield func(struct{}) bool) {
		p.yield = yield
		s := &Store{cfg: Config{Records: 64, ManifestBytes: 1 << 12, Now: func() time.Time { return stepNow }, rand: func() string { return p.name(name) }}, bucket: p}
		s.log = s.cfg.log()
		s.vault = newVault(s)
		p.result = work(context.Background(), s.vault)
		p.done = true
	})
	w.procs = append(w.procs, p)
	p.next()
	return p
}

// name is the process's random: the same in every run, and never the same
// twice.
func (p *stepProc) name(of string) string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	p.names++
	if p.shortcut.is("names are used again") && p.names == 1 {
		return oldInc
	}
	return of + strings.Repeat("a", 13-len(of)-1) + letters[p.names:p.names+1]
}

const oldInc = "ooooooooooooo"

// state is a hash of everything that what comes next depends on.
func (w *stepWorld) state() uint64 {
	h := w.sum
	for i, p := range w.procs {
		h = h*1099511628211 ^ p.seen + uint64(i)
	}
	return h
}

var errStopped = errors.New("the process was stopped")

// step waits until the process may go on.
func (p *stepProc) step(k string) error {
	if !p.w.every && !strings.HasPrefix(k, "v/b/") && !strings.HasPrefix(k, "v/c/") && !strings.HasPrefix(k, "v/m/") {
		return nil
	}
	if !p.yield(struct{}{}) {
		return errStopped
	}
	return nil
}

// saw notes what a step has shown.
func (p *stepProc) saw(parts ...string) { p.seen = p.seen*1099511628211 ^ hash64(parts...) }

func (p *stepProc) Open(_ context.Context, k Key) (Object, error) {
	if err := p.step(string(k)); err != nil {
		return Object{}, err
	}
	content, ok := p.w.objects[k]
	p.saw("open", string(k), content)
	if !ok {
		return Object{}, errMiss
	}
	return Object{Body: stepBody{strings.NewReader(content)}, Info: infoOfSize(len(content))}, nil
}

type stepBody struct{ *strings.Reader }

func (stepBody) Close() error { return nil }

func infoOfSize(n int) Info {
	return Info{Size: int64(n), ModTime: stepNow.Add(-48 * time.Hour)}
}

func (p *stepProc) Put(_ context.Context, k Key, data []byte) error {
	if strings.HasPrefix(string(k), "v/c/") && p.shortcut.is("no marks") {
		return nil
	}
	if err := p.step(string(k)); err != nil {
		return err
	}
	p.shortcut.wrote(k)
	p.saw("put", string(k))
	p.w.put(k, string(data))
	return nil
}

func (p *stepProc) Stat(_ context.Context, k Key) (Info, error) {
	if info, err, done := p.shortcut.stat(p, k); done {
		return info, err
	}
	return p.stat(k)
}

func (p *stepProc) stat(k Key) (Info, error) {
	if err := p.step(string(k)); err != nil {
		return Info{}, err
	}
	content, ok := p.w.objects[k]
	if !ok {
		p.saw("no", string(k))
		return Info{}, errMiss
	}
	p.saw("yes", string(k))
	return infoOfSize(len(content)), nil
}

func (p *stepProc) Delete(_ context.Context, k Key) error {
	if err := p.step(string(k)); err != nil {
		return err
	}
	ok := p.w.remove(k)
	p.saw("delete", string(k), map[bool]string{true: "it was there"}[ok])
	if after := p.shortcut.later(); after != nil {
		return after()
	}
	if !ok {
		return errMiss
	}
	return nil
}

// List makes one step for each key, and one for the end.
func (p *stepProc) List(_ context.Context, prefix, after string, deep bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		stale := p.shortcut.listing(prefix, deep)
		for last := after; ; {
			if stale != nil {
				if last = next(keysAfter(stale), prefix, last, deep); last == "" || !yield(Entry{Key: last}, nil) {
					return
				}
				continue
			}
			if err := p.step(prefix); err != nil {
				yield(Entry{}, err)
				return
			}
			last = next(keysAfter(p.w.objects), prefix, last, deep)
			p.saw("list", last)
			size := len(p.w.objects[Key(last)])
			p.shortcut.listed(Key(last))
			if last == "" || !yield(Entry{Key: last, Info: func() (Info, error) { return infoOfSize(size), nil }}, nil) {
				return
			}
		}
	}
}

func keysAfter(objects map[Key]string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range objects {
			if !yield(string(k)) {
				return
			}
		}
	}
}

// next returns the first key after last, "" for none.
func next(keys iter.Seq[string], prefix, last string, deep bool) string {
	first := ""
	for k := range keys {
		rest, ok := strings.CutPrefix(k, prefix)
		if dir, _, below := strings.Cut(rest, "/"); below && !deep {
			k = prefix + dir + "/"
		}
		if ok && k > last && (first == "" || k < first) {
			first = k
		}
	}
	return first
}

// Move is how a collector removes a blob.
func (p *stepProc) Move(_ context.Context, from, to Key) error {
	move := func() error {
		if err := p.step(string(from)); err != nil {
			return err
		}
		ok := p.w.remove(from)
		p.saw("move", string(from), map[bool]string{true: "it was there"}[ok])
		if !ok {
			return errMiss
		}
		return nil
	}
	if p.shortcut.is("the mark goes before the blob") {
		p.shortcut.then = move
		return nil
	}
	return move()
}

func (p *stepProc) Copy(_ context.Context, from, to Key) error {
	if err := p.step(string(from)); err != nil {
		return err
	}
	content, ok := p.w.objects[from]
	p.saw("copy", string(from), content)
	if !ok {
		return errMiss
	}
	p.w.put(to, content)
	return nil
}

// dangling returns a pin of all, or with acknowledged those of a manifest, that
// names a blob that is not there, or in images one that nobody may read.
func (w *stepWorld) whole(prefix Key) (whole, dangling Key) {
	for k, content := range w.objects {
		if !strings.HasPrefix(string(k), string(prefix)) {
			continue
		}
		if w.names(k, content) {
			whole = k
		} else {
			dangling = k
		}
	}
	return whole, dangling
}

// names reports whether all that a pin names is there.
func (w *stepWorld) names(k Key, content string) bool {
	p, ok := w.pins[content]
	if !ok {
		if json.Unmarshal([]byte(content), &p) != nil {
			return false
		}
		w.pins[content] = p
	}
	n, d, ok := parsePinKey(k)
	if !ok {
		return false
	}
	for _, x := range p.Pins {
		b, err := vaultBlobKey(x.Digest, x.Inc)
		if _, ok := w.objects[b]; !ok || err != nil {
			return false
		}
		link, err := vaultLinkKey(n, x.Digest, x.Inc, "")
		if err != nil || x.Digest != d && next(keysAfter(w.objects), string(link), "", true) == "" {
			return false
		}
	}
	return true
}

// A shortcut is a way to break the protocol, to show that it would be found.
type shortcut struct {
	kind   string
	pinned bool             // this writer has written a pin
	first  map[Key]string   // what the first listing of pins gave
	lists  int              // of pins
	then   func() error     // what was put off
	ahead  map[Key]struct{} // blobs that were looked for too soon
}

func (s *shortcut) is(kind string) bool { return s != nil && s.kind == kind }

func (s *shortcut) wrote(k Key) {
	if s != nil && strings.HasPrefix(string(k), "v/m/") {
		s.pinned = true
	}
}

// stat answers for the writers that do not look, or look in the wrong order.
func (s *shortcut) stat(p *stepProc, k Key) (Info, error, bool) {
	if s == nil || !s.pinned {
		return Info{}, nil, false
	}
	marker := strings.HasPrefix(string(k), "v/c/")
	switch s.kind {
	case "no second look by writers":
		if marker {
			return Info{}, errMiss, true
		}
		return infoOfSize(0), nil, true
	case "the blob is looked for before the mark":
		if !marker {
			_, ok := s.ahead[k]
			if !ok {
				return Info{}, errMiss, true
			}
			return infoOfSize(0), nil, true
		}
		s.ahead = map[Key]struct{}{}
		blob := Key("v/b/" + strings.TrimPrefix(string(k), "v/c/"))
		if _, err := p.stat(blob); err == nil {
			s.ahead[blob] = struct{}{}
		} else if !errors.Is(err, oci.ErrNotFound) {
			return Info{}, err, true
		}
	}
	return Info{}, nil, false
}

// later returns what was put off until now.
func (s *shortcut) later() func() error {
	if s == nil || s.then == nil {
		return nil
	}
	then := s.then
	s.then = nil
	return then
}

// listing returns the keys of an earlier listing that is served again.
func (s *shortcut) listing(prefix string, deep bool) map[Key]string {
	if !s.is("no second look by collectors") || prefix != "v/m/" || !deep {
		return nil
	}
	if s.lists++; s.lists == 1 {
		s.first = map[Key]string{}
		return nil
	}
	return s.first
}

func (s *shortcut) listed(k Key) {
	if s != nil && s.first != nil && strings.HasPrefix(string(k), "v/m/") {
		s.first[k] = ""
	}
}
