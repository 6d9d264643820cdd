// Package mirror makes one place out of several that have the same images.
//
// A [Mirror] is an [oci.Reader] over the [Place]s that a plan names for an
// image, in their order. A request that one place cannot answer goes on to the
// next one. A blob survives in the middle: a digest names the same bytes
// everywhere, so where a place breaks or stalls at byte n, the same one or
// another one goes on at byte n, and no byte is fetched twice.
//
//	m := mirror.New(mirror.Config{Plan: func(_ mirror.Op, r ref.Ref) ([]mirror.Place, error) {
//		return []mirror.Place{
//			{Label: "cache", Reader: cache, Name: r.Name},
//			{Label: "docker.io", Reader: hub, Name: r.Name, Tags: true},
//		}, nil
//	}})
//	b, err := m.Blob(ctx, n, d, 0)
//
// One place of a plan is the original, the last one unless another is marked:
// where it says something definite, that is the answer. The others are mirrors,
// which may lack things.
package mirror

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// The defaults of a Config.
const (
	defaultIdle     = 30 * time.Second // decisions, 4
	defaultPatience = 10 * time.Second
	defaultAttempts = 8 // decisions, 4
)

// A Place is one place that may have an image.
type Place struct {
	// Reader reads from it. That its contexts end what they began, the
	// reading of a body too, is what the timeouts here rest on.
	Reader oci.Reader
	// Name is the repository as that place calls it.
	Name ref.Name
	// Label names the place in logs, events and [oci.Blob.From]. Places with
	// one label are one place.
	Label string
	// Tags says that the place may answer what changes: tags, lists of tags,
	// and referrers. What a digest names may come from any place.
	Tags bool
	// Original says that what this place says about an image is true, wherever
	// in the plan it stands. Where no place says so, the last one is meant.
	Original bool
}

// Config configures a Mirror. Only Plan is required.
type Config struct {
	// Plan names the places for a question, in the order in which they are
	// asked. The reference is what the question is about: it has a digest for
	// a blob, and neither tag nor digest for a list of tags. Plan is called
	// for each request, from many goroutines. No place is ErrNotFound.
	Plan func(Op, ref.Ref) ([]Place, error)

	Log *slog.Logger // nil discards

	// Idle is how long a body may give nothing while it is read, before it
	// counts as stalled. 0 means 30 s.
	Idle time.Duration
	// Patience is how long a place may take to answer while another one is
	// left to ask: a slow mirror must not eat the time of the pull
	// (containerd#10624). The last one has all the time that its Reader gives
	// it. 0 means 10 s.
	Patience time.Duration
	// Attempts is how often in a row a blob is tried without a byte of
	// progress. 0 means 8.
	Attempts int

	// Alone says that the original may be out of reach for good, as it is
	// behind an air gap: what a mirror said of referrers then counts, with a
	// warning. Otherwise nothing is called none that the original may have.
	Alone bool

	// Observe, if not nil, is told of every [Event]. It is called from many
	// goroutines and must return fast.
	Observe func(Event)
}

// A Mirror reads from several places. Its methods are safe for concurrent use.
// Make one with [New].
type Mirror struct {
	cfg      Config
	log      *slog.Logger
	health   memory[string]   // of places that failed: label
	rejected memory[rejected] // of places that gave wrong bytes
	alone    sync.Map         // :: host that a warning was about → true, see Config.Alone
}

var (
	_ oci.Reader          = (*Mirror)(nil)
	_ oci.Lister          = (*Mirror)(nil)
	_ oci.ReferrersLister = (*Mirror)(nil)
	_ oci.SubjectLister   = (*Mirror)(nil)
	_ oci.Ranger          = (*Mirror)(nil)
)

// New returns a Mirror. It holds nothing that has to be closed.
func New(cfg Config) *Mirror {
	cfg.Idle = cmp.Or(cfg.Idle, defaultIdle)
	cfg.Patience = cmp.Or(cfg.Patience, defaultPatience)
	cfg.Attempts = cmp.Or(cfg.Attempts, defaultAttempts)
	m := &Mirror{cfg: cfg, log: cfg.Log}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	return m
}

// Resolve asks the places for a descriptor; for a tag only those that may
// answer tags.
func (m *Mirror) Resolve(ctx context.Context, r ref.Ref) (d oci.Descriptor, err error) {
	err = m.ask(ctx, OpResolve, r, r.Digest == "", func(ctx context.Context, p Place) error {
		got, err := p.Reader.Resolve(ctx, at(p, r))
		d = got
		return err
	})
	return d, err
}

// Manifest asks the places for a manifest; by a tag only those that may answer
// tags.
func (m *Mirror) Manifest(ctx context.Context, r ref.Ref) (found oci.Manifest, err error) {
	err = m.ask(ctx, OpManifest, r, r.Digest == "", func(ctx context.Context, p Place) error {
		got, err := p.Reader.Manifest(ctx, at(p, r))
		found = got
		return err
	})
	return found, err
}

// Stat asks the places for the size of a blob.
func (m *Mirror) Stat(ctx context.Context, n ref.Name, dgst oci.Digest) (d oci.Descriptor, err error) {
	err = m.ask(ctx, OpStat, n.WithDigest(dgst), false, func(ctx context.Context, p Place) error {
		got, err := p.Reader.Stat(ctx, p.Name, dgst)
		d = got
		return err
	})
	return d, err
}

// at returns r as a place calls it.
func at(p Place, r ref.Ref) ref.Ref {
	r.Name = p.Name
	return r
}

// plan returns the places that may answer, in the order of the plan.
func (m *Mirror) plan(op Op, r ref.Ref, changes bool) ([]Place, error) {
	places, err := m.cfg.Plan(op, r)
	if err != nil {
		return nil, err
	}
	if changes {
		var may []Place
		for _, p := range places {
			if p.Tags {
				may = append(may, p)
			}
		}
		places = may
	}
	if len(places) == 0 {
		return nil, oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "no place is known for %s", r.Name)
	}
	return places, nil
}

// original returns the index of the place whose word counts.
func original(places []Place) int {
	if i := slices.IndexFunc(places, func(p Place) bool { return p.Original }); i >= 0 {
		return i
	}
	return len(places) - 1
}
