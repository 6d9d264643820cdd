// Command bench measures Entrepot beside real peers, all in one run and on one
// machine, and prints what it found as Markdown: a table per case, and the
// ratios with the targets they have to meet. It is a benchmark and not a test:
// a missed target is printed, and the exit code says only whether it ran.
//
//	go run -C bench .                       # everything; about twenty minutes
//	go run -C bench . -quick -run 'blob/'   # a first impression of some cases
//	go run -C bench . -list                 # what there is
//
// The peers are nginx and wrk (from the system), distribution's registry and
// crane (from -peers or PATH). A peer that is missing is named and left out.
// Absolute figures from a shared machine mean little: the servers of a case are
// measured in turn, round after round, and only their ratios are judged.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	run      *regexp.Regexp // cases
	servers  *regexp.Regexp
	rounds   int           // per case
	window   time.Duration // of one measurement under load
	quick    bool
	list     bool
	entrepot string // binary; "" builds it
	before   string // binary of another state of Entrepot; "" for none
	peers    string // directory, looked at before PATH
	json     string // file; "" for none
	temp     string // directory for the content; "" for the system's
}

func main() {
	o, err := parseFlags(os.Args[1:])
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

func parseFlags(args []string) (options, error) {
	var o options
	var cases, servers string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&cases, "run", "", "run the cases that match this regular expression")
	f.StringVar(&servers, "servers", "", "measure only the servers that match this regular expression")
	f.IntVar(&o.rounds, "rounds", 5, "rounds per case; each measures every server once")
	f.DurationVar(&o.window, "window", 2*time.Second, "length of one measurement under load")
	f.BoolVar(&o.quick, "quick", false, "one round, windows of a second, and a 256 MiB blob in place of the 2 GiB one")
	f.BoolVar(&o.list, "list", false, "print the names of the cases and leave")
	f.StringVar(&o.entrepot, "entrepot", "", "the binary to measure (default: built from the directory above)")
	f.StringVar(&o.before, "before", "", "another Entrepot binary, measured beside it: what a change is worth")
	f.StringVar(&o.peers, "peers", "../.cache/bin", "where the peers are looked for, before PATH")
	f.StringVar(&o.json, "json", "", "write every sample to this file")
	f.StringVar(&o.temp, "temp", "", "where the content is kept while it runs; needs 8 GB and a million files (default: the system's)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.quick {
		o.rounds, o.window = 1, time.Second
	}
	var err1, err2 error
	o.run, err1 = regexp.Compile(cases)
	o.servers, err2 = regexp.Compile(servers)
	return o, errors.Join(err1, err2)
}

// run prepares the place, measures, reports, and leaves nothing behind.
func run(ctx context.Context, o options) (err error) {
	cases := selectCases(allCases(o), o.run)
	if o.list {
		for _, c := range cases {
			fmt.Println(c.name)
		}
		return nil
	}
	if len(cases) == 0 {
		return fmt.Errorf("no case matches %q", o.run)
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()

	var rep report
	rep.describe(b)
	rep.printHead(os.Stdout)
	for i, c := range cases {
		if o.before != "" {
			c = c.withBefore()
			cases[i] = c
		}
		r, err := b.measure(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		rep.Results = append(rep.Results, r)
		rep.printCase(os.Stdout, c, r)
	}
	rep.judge(cases)
	rep.printTargets(os.Stdout)
	if o.json != "" {
		return rep.writeJSON(o.json)
	}
	return nil
}
