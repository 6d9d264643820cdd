package oci_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// TestSplit asks for what is in a place of its own, in the rest and nowhere.
func TestSplit(t *testing.T) {
	ctx := t.Context()
	own, rest := ref.Name{Host: "a.example", Path: "own"}, ref.Name{Host: "a.example", Path: "rest"}
	place, others := regtest.NewMemory("place", nil), regtest.NewMemory("rest", nil)
	mine := place.AddImage(own.Path, regtest.Image{Layers: []int64{10}, Seed: 1}, "v1")
	theirs := others.AddImage(rest.Path, regtest.Image{Layers: []int64{10}, Seed: 2}, "v2")
	others.AddImage(own.Path, regtest.Image{Layers: []int64{10}, Seed: 3}, "v1")
	s := &oci.Split{At: map[ref.Name]oci.Reader{own: place}, Rest: others}
	for _, c := range []struct {
		name ref.Name
		tag  string
		want regtest.Built
	}{{own, "v1", mine}, {rest, "v2", theirs}} {
		if d, err := s.Resolve(ctx, c.name.WithTag(c.tag)); err != nil || d.Digest != c.want.Digest {
			t.Errorf("%s is %s, %v; want %s", c.name, d.Digest, err, c.want.Digest)
		}
		if m, err := s.Manifest(ctx, c.name.WithTag(c.tag)); err != nil || m.Digest != c.want.Digest {
			t.Errorf("the manifest of %s is %s, %v", c.name, m.Digest, err)
		}
		layer := c.want.Layers[0]
		if d, err := s.Stat(ctx, c.name, layer.Digest); err != nil || d.Size != 10 {
			t.Errorf("a layer of %s has %d bytes, %v", c.name, d.Size, err)
		}
		b, err := s.Blob(ctx, c.name, layer.Digest, 0)
		if err != nil {
			t.Errorf("a layer of %s: %v", c.name, err)
			continue
		}
		b.Body.Close()
		var tags []string
		for tag, err := range s.Tags(ctx, c.name, "") {
			if err != nil {
				t.Error(err)
			}
			tags = append(tags, tag)
		}
		if !slices.Equal(tags, []string{c.tag}) {
			t.Errorf("the tags of %s are %v", c.name, tags)
		}
	}
	if _, err := s.Subjects(ctx, own, mine.Digest); !errors.Is(err, oci.ErrUnsupported) {
		t.Errorf("the subjects of a place that knows none: %v", err)
	}
}

// TestSplitAlone asks where there is no rest.
func TestSplitAlone(t *testing.T) {
	ctx, n := t.Context(), ref.Name{Host: "a.example", Path: "x"}
	s, d := &oci.Split{}, oci.FromBytes(nil, "")
	var errs []error
	_, err := s.Resolve(ctx, n.WithTag("v1"))
	errs = append(errs, err)
	_, err = s.Manifest(ctx, n.WithTag("v1"))
	errs = append(errs, err)
	_, err = s.Stat(ctx, n, d)
	errs = append(errs, err)
	_, err = s.Blob(ctx, n, d, 0)
	errs = append(errs, err)
	_, err = s.Subjects(ctx, n, d)
	errs = append(errs, err)
	for _, err := range s.Tags(ctx, n, "") {
		errs = append(errs, err)
	}
	for i, err := range errs {
		if !errors.Is(err, oci.ErrNotFound) {
			t.Errorf("question %d: %v, want not found", i, err)
		}
	}
	if len(errs) != 6 {
		t.Errorf("%d answers, want 6", len(errs))
	}
}
