package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/relocate"
)

// A transfer moves images as its flags say. Whoever opened it closes it.
type transfer struct {
	flags  *transferFlags
	env    Env
	cfg    relocate.Config
	source *network
	target *network
	// from and to are where images are; the zero values are registries.
	from, to location
	closers  []func() error // of what images are read from
	local    bool           // the target is here: it is asked what it has, and nothing is remembered of it

	reaching *sync.WaitGroup // see reachOut

	round int            // of --watch, from 1; 0 where there are none
	have  *relocate.Have // remembers between rounds where there is no file to; nil: nothing does
}

// open makes a transfer between registries. Nothing is asked of any.
func (t *transferFlags) open(env Env) (*transfer, error) {
	cfg, err := t.config()
	if err != nil {
		return nil, err
	}
	if err := t.networkFlags.check(); err != nil {
		return nil, err
	}
	if cfg.Log, err = t.logger(env.Stderr); err != nil {
		return nil, err
	}
	v, err := t.readRules(env)
	if err != nil {
		return nil, err
	}
	x := &transfer{flags: t, env: env, cfg: cfg, reaching: new(sync.WaitGroup)}
	net := networkConfig{jobs: t.jobs, retry: t.retry, log: cfg.Log}
	if x.source, err = t.network(v, net, env); err != nil {
		return nil, err
	}
	net.writes = true
	if x.target, err = t.network(plainView(), net, env); err != nil {
		x.close()
		return nil, err
	}
	x.cfg.Source = mirror.New(mirror.Config{Plan: x.source.plan, Alone: true, Log: cfg.Log})
	x.cfg.Target = registries{x.target}
	x.cfg.Requests = func() (int64, int64) { return x.source.requests.Load(), x.target.requests.Load() }
	return x, nil
}

// reachOut finds out in advance how the sources are spoken to: where that has
// to be tried it takes round trips.
func (x *transfer) reachOut(pairs []relocate.Pair) {
	seen := map[string]bool{}
	for _, p := range pairs {
		if host := p.Source.Host; !seen[host] {
			seen[host] = true
			// What goes wrong is seen when something is asked.
			x.reaching.Go(func() { x.source.plan(mirror.OpResolve, p.Source) })
		}
	}
}

func (x *transfer) close() {
	if x.reaching != nil {
		x.reaching.Wait()
	}
	for _, c := range slices.Backward(x.closers) {
		_ = c() // it was only read
	}
	for _, n := range []*network{x.source, x.target} {
		if n != nil {
			n.client.Close() // never fails
		}
	}
}

// run moves the images of the pairs. The error is that of the command.
func (x *transfer) run(ctx context.Context, pairs []relocate.Pair) (relocate.Report, error) {
	journal, err := x.openFiles(pairs)
	if err != nil {
		return relocate.Report{}, err
	}
	defer x.cfg.Have.Close()
	bars := newProgress(x.env, x.flags.quiet, pairs, x.from.label)
	bars.round = x.round
	x.cfg.Observe = bars.observe
	rep, err := relocate.Run(ctx, x.cfg, pairs)
	for i := range rep.Images {
		rep.Images[i].Source, rep.Images[i].Target = x.from.show(pairs[i].Source), x.to.show(pairs[i].Target)
	}
	bars.finish(rep)
	if bad := x.cfg.Journal.Close(); err == nil && bad != nil {
		err = bad
	}
	if err == nil && journal != "" {
		err = os.Remove(journal)
	}
	return rep, x.explain(ctx, rep, err, journal)
}

// openFiles opens the journal, and what was copied before. Those of our own
// are a convenience: without a place for them there are none.
func (x *transfer) openFiles(pairs []relocate.Pair) (journal string, err error) {
	dir := userDir(x.env, "XDG_CACHE_HOME", ".cache")
	if x.local {
		dir = ""
	}
	if dir != "" {
		dir = filepath.Join(dir, "entrepot")
		if os.MkdirAll(dir, 0o700) != nil {
			dir = ""
		}
	}
	if dir != "" {
		if x.cfg.Have, err = relocate.OpenHave(filepath.Join(dir, "copied")); err != nil {
			x.cfg.Log.Warn("what was copied before is not known", "err", err)
		}
	}
	if x.cfg.Have == nil {
		x.cfg.Have = x.have
	}
	journal = x.flags.journal
	if journal == "" && dir != "" {
		journal = filepath.Join(dir, journalName(pairs))
	}
	if journal == "" {
		return "", nil
	}
	x.cfg.Journal, err = relocate.OpenJournal(journal)
	if err != nil && x.flags.journal == "" {
		x.cfg.Log.Warn("there is no journal to resume from", "err", err)
		return "", nil
	}
	return journal, err
}

// journalName names the journal of a set of images.
func journalName(pairs []relocate.Pair) string {
	h := sha256.New()
	for _, p := range pairs {
		fmt.Fprintln(h, p.Source, p.Target)
	}
	return "journal-" + hex.EncodeToString(h.Sum(nil)[:12])
}

// explain gives the error of a run its exit code and hint.
func (x *transfer) explain(ctx context.Context, rep relocate.Report, err error, journal string) error {
	if err == nil {
		return nil
	}
	again := "run the same command again: what is in place is not copied again"
	switch {
	case x.round > 0:
		again = "" // the next round does
	case journal != "":
		again = "run the same command again: it goes on from " + journal
	}
	if conflict, ok := errors.AsType[*relocate.ExistsError](err); ok {
		return &fault{exitConflict, conflict, "choose other tags, or another --on-existing"}
	}
	if lacks, ok := errors.AsType[*relocate.BaseError](err); ok {
		return failure(lacks, baseHint)
	}
	if errors.Is(err, relocate.ErrIncomplete) {
		for _, img := range rep.Images {
			if img.Error != "" {
				printError(x.env.Stderr, fmt.Errorf("%s: %s", img.Source, img.Error), img.Hint)
			}
		}
		return &fault{exitOf(rep), err, again}
	}
	if ctx.Err() != nil {
		return failure(errors.New("interrupted"), again)
	}
	if errors.Is(err, oci.ErrUnauthorized) || errors.Is(err, oci.ErrDenied) {
		return &fault{exitAuth, err, "log in to the registry, or give its credentials with --authfile"}
	}
	return err
}

// exitOf returns 6 where the credentials are all that was wrong.
func exitOf(rep relocate.Report) int {
	for _, img := range rep.Images {
		if img.Class != relocate.Class(oci.ErrUnauthorized) && img.Class != relocate.Class(oci.ErrDenied) {
			return exitSome
		}
	}
	return exitAuth
}

// warn tells what the user may not expect of images that are in place.
func (x *transfer) warn(rep relocate.Report) {
	for _, img := range rep.Images {
		if img.Foreign > 0 {
			fmt.Fprintf(x.env.Stderr, "entrepot: warning: %s: what is in %s is not for registries to distribute and stays where its URLs say\n", img.Source, count(img.Foreign, "layer"))
		}
		if img.Kept {
			fmt.Fprintf(x.env.Stderr, "entrepot: warning: %s: the tag is another image, and stays that\n", img.Target)
		}
	}
}

// print writes the report where the flags want it.
func (x *transfer) print(rep relocate.Report) error {
	x.warn(rep)
	if err := x.writeReport(rep); err != nil {
		return err
	}
	if x.flags.json {
		enc := json.NewEncoder(x.env.Stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(rep)
	}
	return x.list(rep)
}

// writeReport writes a report into its file, where there is one.
func (x *transfer) writeReport(rep any) error {
	if x.flags.report == "" {
		return nil
	}
	raw, err := json.MarshalIndent(rep, "", "  ")
	if err == nil {
		err = writeAll([]outFile{{x.flags.report, append(raw, '\n')}}, true)
	}
	if err != nil {
		return failure(fmt.Errorf("--report: %w", err), "")
	}
	return nil
}

// list prints what became of the images, a line each. Those that failed were
// told as errors.
func (x *transfer) list(rep relocate.Report) error {
	for _, img := range rep.Images {
		if img.Result == relocate.Failed {
			continue
		}
		at, _, _ := strings.Cut(img.Target, "@") // its digest is there once
		if _, err := fmt.Fprintf(x.env.Stdout, "%s\t%s@%s\n", img.Result, at, img.Digest); err != nil {
			return err
		}
	}
	return nil
}
