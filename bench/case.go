package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
)

// The servers, as tables name them.
const (
	entrepot     = "entrepot"
	before       = "entrepot before" // of flag -before
	nginx        = "nginx"
	distribution = "distribution v3"
	crane        = "crane registry"
	direct       = "direct" // no proxy at all
)

// A metric is one column of a table.
type metric struct {
	key    string // in samples and in JSON
	head   string
	format string // of one value
	worst  bool   // the maximum counts and not the median
}

// A sample is what one measurement of one server gave.
//
//	:: metric key → value
type sample map[string]float64

// A target is a bound on one of Entrepot's metrics.
type target struct {
	key     string  // the metric
	peer    string  // the bound is a multiple of this server's figure; "" for an absolute bound
	in      string  // the case that the peer's figure is taken from; "" for this one
	atLeast bool    // otherwise: at most
	bound   float64 // in the metric's unit, or a factor of the peer's figure
}

// A testCase is one line of measurements: some servers doing the same work.
type testCase struct {
	name    string
	what    string // a sentence above the table
	needs   string // a program; without it the case is left out
	servers []string
	once    []string // of these: measured in the first round only, since they take a minute
	metrics []metric
	targets []target
	measure func(ctx context.Context, b *bench, server string, round int) (sample, error)
}

// A result holds the samples of a case, by round.
type result struct {
	Case    string              `json:"case"`
	Samples map[string][]sample `json:"samples"` // :: server → rounds
	skipped []string
}

// allCases returns every case, in the order in which they run.
func allCases(o options) []testCase {
	var all []testCase
	all = append(all, blobCases(o)...)
	all = append(all, manifestCases()...)
	all = append(all, coldCases()...)
	all = append(all, followerCases()...)
	all = append(all, tlsCases()...)
	all = append(all, warehouseCases()...)
	all = append(all, mixedCases()...)
	all = append(all, moveCases()...)
	all = append(all, carryCases()...)
	return all
}

func selectCases(all []testCase, re *regexp.Regexp) []testCase {
	return slices.DeleteFunc(all, func(c testCase) bool { return !re.MatchString(c.name) })
}

// withBefore adds the other state of Entrepot to a case.
func (c testCase) withBefore() testCase {
	at := slices.Index(c.servers, entrepot)
	c.servers = slices.Insert(slices.Clone(c.servers), at+1, before)
	return c
}

// measure runs the rounds of a case. In each, every server is measured once;
// the order turns, so that none is always the one after a certain other.
func (b *bench) measure(ctx context.Context, c testCase) (result, error) {
	r := result{Case: c.name, Samples: map[string][]sample{}}
	var servers []string
	for _, s := range c.servers {
		switch {
		case !b.options.servers.MatchString(s):
		case b.has(s) && (c.needs == "" || b.bin[c.needs] != ""):
			servers = append(servers, s)
		default:
			r.skipped = append(r.skipped, s)
		}
	}
	for round := range b.options.rounds {
		for i := range servers {
			server := servers[(i+round)%len(servers)]
			if round > 0 && slices.Contains(c.once, server) {
				continue
			}
			fmt.Fprintf(os.Stderr, "bench: %s: round %d of %d: %s\n", c.name, round+1, b.options.rounds, server)
			s, err := c.measure(ctx, b, server, round)
			if err != nil {
				return r, fmt.Errorf("%s: %w", server, err)
			}
			r.Samples[server] = append(r.Samples[server], s)
		}
	}
	return r, nil
}

// value returns the figure that counts: the median of the rounds, or the worst
// of them. ok is false where the server was not measured.
func (r result) value(server string, m metric) (v float64, ok bool) {
	vs := r.values(server, m.key)
	if len(vs) == 0 {
		return 0, false
	}
	if m.worst {
		return vs[len(vs)-1], true
	}
	return median(vs), true
}

// values returns the sorted values of one metric.
func (r result) values(server, key string) []float64 {
	var vs []float64
	for _, s := range r.Samples[server] {
		if v, ok := s[key]; ok {
			vs = append(vs, v)
		}
	}
	slices.Sort(vs)
	return vs
}

// median of sorted values; there is at least one.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
