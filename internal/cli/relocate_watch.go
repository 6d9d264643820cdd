package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/entrepot/entrepot/relocate"
)

// minWatch is the shortest time between two rounds: a registry is asked for
// every tag in each.
const minWatch = time.Second

// watchHelp says what --watch does.
const watchHelp = `With --watch it is done in rounds: one at once, then one every INTERVAL (a round
that takes longer is followed by the next at once), and one when SIGHUP arrives.
Inputs, mirror rules and credentials are read again for each. Inputs that cannot
be read are told, and the round goes on with what they said last. A round that
fails does not end it. Files are written when they have changed, all or none; the
file of --report is replaced in each round, --json prints an object a round, and
standard error gets a line. SIGINT or SIGTERM end it after the round that is
under way, a second one ends that too. The exit code is then that of the last
round.`

// checkWatch refuses what cannot be done again and again.
func (opts *relocateOptions) checkWatch(args []string) error {
	switch {
	case !opts.watching:
		return nil
	case opts.watch < minWatch:
		return usageError(fmt.Errorf("--watch: %v is less than %v", opts.watch, minWatch), "write for example --watch 15m")
	case opts.plan:
		return usageError(errors.New("--watch does it, --plan does not"), "leave one of them out")
	case slices.Contains(args, "-"):
		return usageError(errors.New("--watch reads its inputs again, and standard input is read once"), "write it to a file")
	}
	return nil
}

// keepCurrent relocates the inputs in rounds, until a signal ends it.
func (opts *relocateOptions) keepCurrent(ctx context.Context, env Env, args []string, signals <-chan os.Signal) error {
	w := &watch{opts: opts, env: env, args: args, have: relocate.NewHave()}
	p := &pacer{every: opts.watch, signals: signals, round: w.round, env: env}
	return p.run(ctx)
}

// A watch is the rounds of one command.
type watch struct {
	opts  *relocateOptions
	env   Env
	args  []string
	count int
	good  *inputSet      // of the last round whose inputs could be read; nil: there was none
	have  *relocate.Have // what is in place, where the user has no cache
}

// A roundReport is the report of one round.
type roundReport struct {
	Round   int       `json:"round"` // from 1
	Started time.Time `json:"started"`
	Error   string    `json:"error"` // why it failed; what failed of an image is said there
	relocate.Report
}

// round relocates the inputs once, as they are now.
func (w *watch) round(ctx context.Context) error {
	w.count++
	opts := w.opts.forOnce()
	rep := roundReport{Round: w.count, Started: time.Now().UTC().Truncate(time.Millisecond)}
	x, err := w.relocate(ctx, opts, &rep)
	if err != nil {
		rep.Error = err.Error()
	}
	if rep.Images == nil {
		rep.Images, rep.Outputs = []relocate.ImageReport{}, []string{}
	}
	return errors.Join(err, x.printRound(rep))
}

// relocate does the work of a round. What it returns is closed, and good for
// printing alone.
func (w *watch) relocate(ctx context.Context, opts *relocateOptions, rep *roundReport) (*transfer, error) {
	opts.earlier = w.good
	r, err := opts.open(ctx, w.env, w.args)
	if err != nil {
		return &transfer{flags: &opts.transferFlags, env: w.env}, err
	}
	defer r.x.close()
	w.good = r.out.set
	r.x.round, r.x.have, r.changed = w.count, w.have, true
	rep.Report, err = r.move(ctx)
	if w.good.stale != nil {
		err = errors.Join(err, failure(w.good.stale, "until this is put right, rounds go on with what the inputs said last"))
	}
	return r.x, err
}

// forOnce returns the options for one run: what inputs say of registries holds
// for that alone.
func (opts *relocateOptions) forOnce() *relocateOptions {
	one := *opts
	one.insecure, one.plainHTTP = slices.Clone(opts.insecure), slices.Clone(opts.plainHTTP)
	return &one
}

// printRound tells what was done in a round. Of images only those are listed
// that were not there.
func (x *transfer) printRound(rep roundReport) error {
	if err := x.writeReport(rep); err != nil {
		return err
	}
	if x.flags.json {
		enc := json.NewEncoder(x.env.Stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(rep)
	}
	x.warn(rep.Report)
	rep.Images = slices.DeleteFunc(slices.Clone(rep.Images), func(img relocate.ImageReport) bool { return img.Result == relocate.Present })
	return x.list(rep.Report)
}

// areThere reports whether all files are what they are to be.
func areThere(files []outFile) bool {
	for _, f := range files {
		info, err := os.Stat(f.path)
		if err != nil || !info.Mode().IsRegular() {
			return false
		}
		if is, err := os.ReadFile(f.path); err != nil || !bytes.Equal(is, f.data) {
			return false
		}
	}
	return true
}

// A pacer says when a round begins, and when it is enough.
type pacer struct {
	every   time.Duration
	signals <-chan os.Signal // SIGHUP asks for a round, all others for the end
	round   func(context.Context) error
	env     Env
}

// run begins rounds until it is told to end. The error says whether the last of
// them was good. What is wrong with the command line is found in the first one
// and ends it.
func (p *pacer) run(ctx context.Context) error {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for n := 1; ; n++ {
		tick.Reset(p.every)
		end, asked, err := p.once(ctx)
		if f, ok := errors.AsType[*fault](err); ok && f.code == exitUsage && n == 1 {
			return err
		}
		if code := report(p.env.Stderr, err); code != exitDone {
			err = &fault{code, fmt.Errorf("the last of %s failed", count(n, "round")), ""}
		}
		for !end && !asked && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-tick.C:
				asked = true
			case s := <-p.signals:
				asked, end = s == syscall.SIGHUP, s != syscall.SIGHUP
			}
		}
		if end || ctx.Err() != nil {
			return err
		}
	}
}

// once does one round, and listens meanwhile: it says whether the end was asked
// for, or another round, as its inputs may have changed after they were read.
func (p *pacer) once(ctx context.Context) (end, again bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.round(ctx) }()
	for {
		select {
		case err := <-done:
			return end, again, err
		case s := <-p.signals:
			switch {
			case s == syscall.SIGHUP:
				again = true
			case end:
				cancel()
			default:
				end = true
				fmt.Fprintln(p.env.Stderr, "entrepot: this round is the last; another signal ends it too")
			}
		}
	}
}
