package cli

import (
	"fmt"
	"io"
	"sync"

	"github.com/entrepot/entrepot/relocate"
)

// A progress shows how far a transfer is: a line for each image that is done.
type progress struct {
	out   io.Writer // nil shows nothing
	pairs []relocate.Pair

	mu   sync.Mutex // guards done, and the lines
	done int
}

func newProgress(env Env, quiet bool, pairs []relocate.Pair) *progress {
	p := &progress{out: env.Stderr, pairs: pairs}
	if quiet {
		p.out = nil
	}
	return p
}

func (p *progress) observe(e relocate.Event) {
	if p.out == nil || e.Kind != relocate.ImageCopied {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	what := "in place"
	if e.Err != nil {
		what = "failed"
	}
	fmt.Fprintf(p.out, "entrepot: %d/%d %s: %s\n", p.done, len(p.pairs), p.pairs[e.Image].Source.Familiar(), what)
}

func (p *progress) finish(relocate.Report) {}
