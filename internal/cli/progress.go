package cli

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// A progress shows how far a transfer is: bars on a terminal, elsewhere a line
// for each image that is done. Its methods are safe for concurrent use.
type progress struct {
	out   io.Writer // nil shows nothing
	pairs []relocate.Pair
	label func(source ref.Ref) string
	round int // that it is one of, from 1: then images have no lines; 0 for none

	mu   sync.Mutex // guards what follows, and the lines
	done int
	bars *bars // nil where there is no terminal
}

// newProgress shows nothing where quiet is set.
func newProgress(env Env, quiet bool, pairs []relocate.Pair, label func(source ref.Ref) string) *progress {
	p := &progress{pairs: pairs, label: label}
	if quiet {
		return p
	}
	p.out = env.Stderr
	if isTerminal(env.Stderr) {
		p.bars = newBars(env.Stderr)
	}
	return p
}

// isTerminal reports whether somebody is likely to look at w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// observe shows an event.
func (p *progress) observe(e relocate.Event) {
	if p.out == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars != nil {
		p.bars.observe(e, p.label(p.pairs[e.Image].Source))
		return
	}
	if e.Kind != relocate.ImageCopied || p.round > 0 {
		return
	}
	p.done++
	what := "in place"
	if e.Err != nil {
		what = "failed"
	}
	fmt.Fprintf(p.out, "entrepot: %d/%d %s: %s\n", p.done, len(p.pairs), p.label(p.pairs[e.Image].Source), what)
}

// stop ends the bars.
func (p *progress) stop() {
	if p.bars != nil {
		p.bars.finish()
		p.bars = nil
	}
}

// finish ends the bars and says in a line what it came to.
func (p *progress) finish(rep relocate.Report) {
	p.stop()
	if p.out == nil {
		return
	}
	t, round := rep.Totals, ""
	if p.round > 0 {
		round = fmt.Sprintf("round %d: ", p.round)
	}
	fmt.Fprintf(p.out, "entrepot: %s%d of %s in place; read %s, pushed %s, mounted %s, in %.1f s\n",
		round, t.Images-t.Failed, count(t.Images, "image"), size(t.SourceBytes), size(t.PushedBytes), count(t.Mounted, "blob"), t.Seconds)
}

// A tally counts the bytes of an image. What was read of a blob counts at
// once, the rest when the blob is in place.
type tally struct {
	done, all int64
	reading   map[oci.Digest]int64 // :: blob → what was read of it
}

func newTally() *tally { return &tally{reading: map[oci.Digest]int64{}} }

// add takes an event, and returns by how much done and all have grown.
func (t *tally) add(e relocate.Event) (done, all int64) {
	switch e.Kind {
	case relocate.ImageFound:
		all = e.Bytes
	case relocate.BlobProgress:
		t.reading[e.Digest] += e.Bytes
		done = e.Bytes
	case relocate.BlobDone:
		// Less than nothing where it was read twice.
		done = e.Bytes - t.reading[e.Digest]
		delete(t.reading, e.Digest)
	}
	t.done, t.all = t.done+done, t.all+all
	return done, all
}
