package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/imageset"
	"github.com/entrepot/entrepot/relocate"
)

// kindImageSet is the kind of the image sets of oc-mirror.
const kindImageSet document.Kind = "imageset"

// A setUse says what image sets are to a command.
type setUse int

const (
	noSets   setUse = iota // nothing: it takes documents
	copySets               // it copies their images
	anySets                // it also takes those that say what to remove
)

// sets takes the image sets out of inputs, and reads them.
func (f *inputFlags) sets(env Env, ins []document.Input) (rest []document.Input, sets []*imageset.Config, err error) {
	var wrong []error
	for _, in := range ins {
		if in.Kind != kindImageSet && (in.Kind != "" || in.Files != nil || in.Open != nil || !imageset.Is(in.Data)) {
			rest = append(rest, in)
			continue
		}
		c, err := f.set(in)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		for _, n := range c.Notes() {
			warn(env, n)
		}
		sets = append(sets, c)
	}
	return rest, sets, errors.Join(wrong...)
}

// set reads one image set.
func (f *inputFlags) set(in document.Input) (*imageset.Config, error) {
	at := document.Position{File: in.Name}
	if in.Data == nil {
		return nil, &document.Error{At: at, Text: "an image set is a file by itself"}
	}
	c, err := imageset.Parse(in.Name, in.Data)
	switch {
	case err != nil:
		return nil, err
	case f.use == noSets:
		return nil, &document.Error{At: at, Text: "it is an image set, and has no names to rewrite", Hint: "rewrite the documents that name the images"}
	case f.use == copySets && c.Delete:
		return nil, &document.Error{At: at, Text: "it says which images are removed", Hint: "give it to entrepot prune, with --remove"}
	}
	return c, nil
}

// expand finds the images of the image sets. What it asks registries for is read
// as images are; what the sets have by themselves is then read from there.
func (t *transferFlags) expand(ctx context.Context, s *inputSet, f *inputFlags, how document.Options, x *transfer) error {
	if len(s.sets) == 0 {
		return nil
	}
	s.images, s.extras = nil, nil
	graphs, err := t.graphs(f.graph)
	if err != nil {
		return err
	}
	for _, c := range s.sets {
		set, err := c.Expand(ctx, imageset.Env{
			Source: x.cfg.Source, ReadFile: besides(c.Name), Fetch: t.fetchURL,
			Graph: graphs.graph, GraphData: graphs.data, Charts: how,
			Signatures: t.signatures(x.env, c.Name),
		})
		if err != nil {
			return documentError(x.env, err)
		}
		x.closers = append(x.closers, set.Close)
		x.cfg.Source = set.Over(x.cfg.Source)
		for _, n := range set.Notes {
			warn(x.env, n)
		}
		s.images = append(s.images, set.Images...)
		s.extras = append(s.extras, set.Files...)
		if c.ArchiveSize > 0 && (s.volume == 0 || c.ArchiveSize < s.volume) {
			s.volume = c.ArchiveSize
		}
		if len(set.Left) > 0 {
			fmt.Fprintf(x.env.Stderr, "entrepot: %s: %s %s left out, because blockedImages match\n", c.Name, count(len(set.Left), "image"), are(len(set.Left)))
		}
	}
	return nil
}

// leftSets tells, once, that image sets are not written again: they say what is
// copied, and have no place for where it went.
func (s *inputSet) leftSets(env Env) {
	for _, c := range s.sets {
		if !s.told {
			fmt.Fprintf(env.Stderr, "entrepot: %s is left as it is: mirror configuration leads to its images, see --emit\n", c.Name)
		}
	}
	s.told = true
}

// besides returns what reads the files that a file names: relative to where we
// are, as oc-mirror takes them, or to that file.
func besides(name string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && !filepath.IsAbs(path) && name != "-" {
			if data, other := os.ReadFile(filepath.Join(filepath.Dir(name), path)); other == nil {
				return data, nil
			}
		}
		return data, err
	}
}

// ofSets returns the mentions of the images of image sets.
func (s *inputSet) ofSets() []relocate.Mention {
	var all []relocate.Mention
	for _, i := range s.images {
		m := i.Mention
		if from := document.Through(m.Written, s.maps...); m.From == "" && from != m.Written {
			m.From = from
		}
		all = append(all, m)
	}
	return all
}

// expandInputs finds the images of image sets for a command that copies none of
// them.
func (t *transferFlags) expandInputs(ctx context.Context, env Env, s *inputSet, f *inputFlags, how document.Options) error {
	if len(s.sets) == 0 {
		return nil
	}
	x, err := t.open(env)
	if err != nil {
		return err
	}
	defer x.close()
	return t.expand(ctx, s, f, how, x)
}

// setJSON is what inspect prints of an image of a set.
func setJSON(s *inputSet, i imageset.Image) mentionJSON {
	from := i.From
	if from == "" {
		from = document.Through(i.Written, s.maps...)
	}
	m := mention(document.Image{
		Ref: i.Written, Target: i.Target, Digest: i.Digest, At: i.Place.At, Field: i.Place.Field, Kind: kindImageSet,
	}, from)
	m.Role = string(i.Role)
	for _, p := range i.Platforms {
		m.Platforms = append(m.Platforms, p.String())
	}
	return m
}

// kinds are those of inputs, sorted.
func kinds() []document.Kind {
	return slices.Sorted(slices.Values(append(document.Kinds(), kindCatalog, kindImageSet)))
}
