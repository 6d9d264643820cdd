package imageset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// An Env is what an image set is expanded with. Source is needed where the set
// has releases or catalogs in registries; what is nil is not there, and where the
// set needs it that is an error that says so.
type Env struct {
	// Source is where releases and catalogs are read.
	Source oci.Reader
	// ReadFile reads a file that the configuration names.
	ReadFile func(name string) ([]byte, error)
	// Fetch reads what is at an address of HTTP(S).
	Fetch func(ctx context.Context, url string) ([]byte, error)
	// Graph returns the update graph of a channel, as the OpenShift Update Service
	// gives it: JSON.
	Graph func(ctx context.Context, q Query) ([]byte, error)
	// GraphData returns the data of the update graph, from which the image of it
	// is made: a tar archive that is compressed by gzip.
	GraphData func(ctx context.Context) ([]byte, error)
	// Signatures returns the detached signatures of a release, none where there are
	// none.
	Signatures func(ctx context.Context, release oci.Digest) ([][]byte, error)
	// Charts says how charts are read; its Render renders them.
	Charts document.Options
}

// A Query asks for the update graph of a channel.
type Query struct {
	Channel string
	Arch    string // as the Update Service calls it: "amd64", "multi"
	OKD     bool
}

// An Image is an image of the set.
type Image struct {
	relocate.Mention
	// Place is what in the configuration it is there for.
	Place Place
}

// A Set is what an image set expands to. Whoever has it closes it.
type Set struct {
	// Images are in the order of the configuration: releases, operators, further
	// images, charts. One may be there several times.
	Images []Image
	// Left are those that are left out because they are blocked.
	Left []Image
	// Local are the repositories that have images on disk, and ones that are made
	// here, as filtered catalogs. All others are read where they were before.
	Local map[ref.Name]oci.Reader
	// Files belong to the set and are no images: signatures of releases, templates
	// of catalog sources.
	Files []relocate.File
	// Notes deserve a word to the user.
	Notes []*document.Error

	closers []func() error
}

// Close closes the layouts that images are in.
func (s *Set) Close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// Expand finds the images of the set. An error is made of parts, as that of
// [Parse] is; then there is no set.
func (c *Config) Expand(ctx context.Context, env Env) (*Set, error) {
	x := &expansion{cfg: c, env: env, set: &Set{Local: map[ref.Name]oci.Reader{}}}
	x.releases(ctx)
	for _, o := range c.Operators {
		x.operator(ctx, o)
	}
	for _, a := range c.Additional {
		x.additional(ctx, a)
	}
	x.charts(ctx)
	if err := context.Cause(ctx); err != nil {
		x.errs = append(x.errs, err)
	}
	if len(x.errs) > 0 {
		return nil, errors.Join(append(x.errs, x.set.Close())...)
	}
	x.block()
	return x.set, nil
}

// An expansion is under way.
type expansion struct {
	cfg  *Config
	env  Env
	set  *Set
	errs []error
}

// fail notes what is wrong.
func (x *expansion) fail(p Place, cause error, hint, format string, args ...any) {
	x.errs = append(x.errs, p.err(cause, hint, fmt.Sprintf(format, args...)))
}

func (x *expansion) note(p Place, hint, format string, args ...any) {
	x.set.Notes = append(x.set.Notes, p.err(nil, hint, fmt.Sprintf(format, args...)))
}

// add adds an image.
func (x *expansion) add(p Place, m relocate.Mention) {
	m.At = p.At.String()
	x.set.Images = append(x.set.Images, Image{Mention: m, Place: p})
}

// block takes out what is blocked.
func (x *expansion) block() {
	for _, b := range x.cfg.Blocked {
		n := 0
		x.set.Images = slices.DeleteFunc(x.set.Images, func(i Image) bool {
			if !b.blocks(i) {
				return false
			}
			n++
			x.set.Left = append(x.set.Left, i)
			return true
		})
		if n == 0 {
			x.note(b.Place, "", "%q matches no image of the set", b.Pattern)
		}
	}
}

// blocks reports whether a pattern matches an image: as it is written, and with
// its registry. A target that the configuration names counts as well, as in
// oc-mirror.
func (b Blocked) blocks(i Image) bool {
	names := []string{i.Written, strings.Trim(i.Target, "/:")}
	if r, err := ref.Parse(i.Written); err == nil {
		names = append(names, r.WithDefaultTag().String())
	}
	return slices.ContainsFunc(names, func(name string) bool { return name != "" && b.Pattern.MatchString(name) })
}

// target is what relocate takes for a path and a tag that may both be "".
func target(path, tag string) string {
	if tag != "" {
		tag = ":" + tag
	}
	if path != "" {
		path = "/" + path
	}
	return path + tag
}

// additional adds an image that is named by itself.
func (x *expansion) additional(ctx context.Context, a Additional) {
	m := relocate.Mention{
		Written: a.Name, Target: target(a.TargetRepo, a.TargetTag),
		Role: relocate.Additional, Platforms: a.Platforms,
	}
	if path, ok := strings.CutPrefix(a.Name, layoutScheme); ok {
		r, err := x.onDisk(ctx, path, "", a.TargetTag)
		if err != nil {
			x.fail(a.Place, err, "", "%s", a.Name)
			return
		}
		m.Written = r.String()
		if m.Target == "" || a.TargetRepo == "" {
			m.Target = target(r.Path, r.Tag)
		}
	}
	x.add(a.Place, m)
}
