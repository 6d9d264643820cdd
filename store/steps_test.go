package store

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"time"
)

// A stepWorld is a bucket that several processes use, each of which stops
// before every step. Whoever schedules says who may make the next one. A process
// that is never let on again is one that has crashed, or that stalls for ever.
type stepWorld struct {
	objects map[Key]string
	procs   []*stepProc
	every   bool           // a step is a step, whatever it is about; otherwise only blobs, marks and pins count
	pins    map[string]pin // :: content → pin; what was parsed is kept across worlds
}

// A stepOp is a call of a bucket. Lists make one for each key and one for the
// end.
type stepOp struct {
	kind    string
	key, to Key // of a list: its prefix, and after what
	data    string
	deep    bool
}

// A stepResult is what such a call has shown.
type stepResult struct {
	ok   bool
	text string // content, or the next key of a list
	size int
}

// apply makes one call.
func (w *stepWorld) apply(op stepOp) stepResult {
	content, ok := w.objects[op.key]
	switch op.kind {
	case "open":
		return stepResult{ok: ok, text: content}
	case "stat":
		return stepResult{ok: ok, size: len(content)}
	case "put":
		w.objects[op.key] = op.data
		return stepResult{ok: true}
	case "delete", "move": // into the trash, where nobody looks
		delete(w.objects, op.key)
	case "copy":
		if ok {
			w.objects[op.to] = content
		}
	case "list":
		k := next(keysAfter(w.objects), string(op.key), string(op.to), op.deep)
		return stepResult{ok: k != "", text: k, size: len(w.objects[Key(k)])}
	}
	return stepResult{ok: ok}
}

// isStep reports whether others may come before a call. What is about neither
// blobs nor marks nor pins is no part of the protocol.
func (op stepOp) isStep() bool {
	for _, prefix := range []string{"v/b/", "v/c/", "v/m/"} {
		if strings.HasPrefix(string(op.key), prefix) {
			return true
		}
	}
	return false
}

func (op stepOp) isWrite() bool { return op.kind != "open" && op.kind != "stat" && op.kind != "list" }

// A stepWork is what a process does.
type stepWork func(context.Context, *Vault) error

// A stepProc is one of the processes: a writer or a collector. It is its own
// bucket.
type stepProc struct {
	of       string // its letter, in the names that it gives
	ask      func(stepOp) (stepResult, bool)
	names    int
	shortcut *shortcut // nil: the real protocol

	next   func() (struct{}, bool)
	done   bool
	result error
}

// stepNow is what all clocks say; every object is old by then, so that nothing is
// left alone because of its age.
var stepNow = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func newStepProc(of, cut string, ask func(stepOp) (stepResult, bool)) *stepProc {
	p := &stepProc{of: of, ask: ask}
	if cut != "" {
		p.shortcut = &shortcut{kind: cut}
	}
	return p
}

// run does the work, with a vault that knows nothing yet.
func (p *stepProc) run(work stepWork) {
	cfg := Config{Records: 64, ManifestBytes: 1 << 12, Now: func() time.Time { return stepNow }, rand: p.name}
	s := &Store{cfg: cfg, bucket: p, log: cfg.log()}
	s.vault = newVault(s)
	p.result = work(context.Background(), s.vault)
	p.done = true
}

// start adds a process. Its work runs up to its first step.
func (w *stepWorld) start(of, cut string, work stepWork) {
	var yield func(struct{}) bool
	p := newStepProc(of, cut, func(op stepOp) (stepResult, bool) {
		if (w.every || op.isStep()) && !yield(struct{}{}) {
			return stepResult{}, false
		}
		return w.apply(op), true
	})
	p.next, _ = iter.Pull(func(y func(struct{}) bool) {
		yield = y
		p.run(work)
	})
	w.procs = append(w.procs, p)
	p.next()
}

// name is the process's random: the same in every run, and never the same
// twice.
func (p *stepProc) name() string {
	p.names++
	if p.shortcut.is("names are used again") && p.names == 1 {
		return oldInc
	}
	return stepName(p.of, p.names)
}

func stepName(of string, n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	return of + strings.Repeat("a", 13-len(of)-1) + letters[n:n+1]
}

const oldInc = "ooooooooooooo"

var errStopped = errors.New("the process was stopped")

// call makes a call of which absence is an error.
func (p *stepProc) call(op stepOp) (stepResult, error) {
	r, on := p.ask(op)
	if !on {
		return r, errStopped
	}
	if !r.ok {
		return r, errMiss
	}
	return r, nil
}

func (p *stepProc) Open(_ context.Context, k Key) (Object, error) {
	r, err := p.call(stepOp{kind: "open", key: k})
	if err != nil {
		return Object{}, err
	}
	return Object{Body: stepBody{strings.NewReader(r.text)}, Info: infoOfSize(len(r.text))}, nil
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
	p.shortcut.wrote(k)
	_, err := p.call(stepOp{kind: "put", key: k, data: string(data)})
	return err
}

func (p *stepProc) Stat(_ context.Context, k Key) (Info, error) {
	if info, err, done := p.shortcut.stat(p, k); done {
		return info, err
	}
	return p.stat(k)
}

func (p *stepProc) stat(k Key) (Info, error) {
	r, err := p.call(stepOp{kind: "stat", key: k})
	if err != nil {
		return Info{}, err
	}
	return infoOfSize(r.size), nil
}

func (p *stepProc) Delete(_ context.Context, k Key) error {
	_, err := p.call(stepOp{kind: "delete", key: k})
	if after := p.shortcut.later(); after != nil {
		return after()
	}
	return err
}

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
			r, on := p.ask(stepOp{kind: "list", key: Key(prefix), to: Key(last), deep: deep})
			if !on {
				yield(Entry{}, errStopped)
				return
			}
			last = r.text
			p.shortcut.listed(Key(last))
			if last == "" || !yield(Entry{Key: last, Info: func() (Info, error) { return infoOfSize(r.size), nil }}, nil) {
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
		_, err := p.call(stepOp{kind: "move", key: from, to: to})
		return err
	}
	if p.shortcut.is("the mark goes before the blob") {
		p.shortcut.then = move
		return nil
	}
	return move()
}

func (p *stepProc) Copy(_ context.Context, from, to Key) error {
	_, err := p.call(stepOp{kind: "copy", key: from, to: to})
	return err
}

// whole returns a pin below prefix of which all is there and may be read, and
// one of which something is not.
func (w *stepWorld) whole(prefix string) (whole, dangling Key) {
	for k, content := range w.objects {
		if !strings.HasPrefix(string(k), prefix) {
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
