package relocate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A VerifyConfig says what is verified, and how far.
type VerifyConfig struct {
	Target oci.Reader
	// Deep reads every blob and hashes it; otherwise the target is asked for
	// each whether it is there, and how large.
	Deep bool
	// Platforms are the images of an index that have to be there; none means
	// all.
	Platforms []Platform
	// NoReferrers leaves out what refers to the images.
	NoReferrers bool
	Jobs        int // images at once; 0 chooses
}

// A Verified is what was found of one image.
type Verified struct {
	Target string     `json:"target"`
	Digest oci.Digest `json:"digest"` // "" where there is none
	// Referrers is how many signatures, attestations and the like were looked at.
	Referrers int    `json:"referrers"`
	Blobs     int    `json:"blobs"` // that were looked at, those of referrers too
	Bytes     int64  `json:"bytes"` // of them
	Error     string `json:"error,omitempty"`
	Class     string `json:"class,omitempty"`
	Hint      string `json:"hint,omitempty"`
}

// Verify looks whether images are whole: their manifests, those of their
// platforms, and every blob; and whether all that the target says refers to them
// is whole, signatures for example. A reference with a tag and a digest has to have that
// digest at that tag. The results are in the order of the references; the error
// is that of ctx alone.
func Verify(ctx context.Context, cfg VerifyConfig, refs []ref.Ref) ([]Verified, error) {
	v := &verifier{cfg: cfg, run: newRun(Config{Source: cfg.Target}, nil)}
	found := make([]Verified, len(refs))
	var g errgroup.Group
	g.SetLimit(cmp.Or(max(cfg.Jobs, 0), forecastJobs))
	for i, r := range refs {
		g.Go(func() error {
			one := &found[i]
			one.Target = r.String()
			if err := v.image(ctx, r, one); err != nil {
				one.Error, one.Class, one.Hint = err.Error(), Class(err), hintOf(err)
			}
			return nil
		})
	}
	_ = g.Wait() // what is wrong is an image's
	return found, context.Cause(ctx)
}

// A verifier verifies one set; what images share it looks at once.
type verifier struct {
	cfg   VerifyConfig
	run   *run                   // knows the tags of repositories
	blobs flights[placed, int64] // :: blob and repository → its size
}

func (v *verifier) image(ctx context.Context, r ref.Ref, one *Verified) error {
	at := r.WithDefaultTag()
	if at.Tag != "" {
		at.Digest = ""
	}
	m, err := v.cfg.Target.Manifest(ctx, at)
	if err != nil {
		return err
	}
	one.Digest = m.Digest
	if r.Digest != "" && m.Digest != r.Digest {
		return oci.Errorf(oci.ErrMismatch, "", "the tag %s is %s", r.Tag, m.Digest)
	}
	parts, err := v.walk(ctx, r.Name, m, one, len(v.cfg.Platforms) > 0, 0)
	if err != nil || v.cfg.NoReferrers {
		return err
	}
	one.Referrers, err = v.run.attached(ctx, r.Name, parts, func(m oci.Manifest) ([]oci.Digest, error) {
		return v.walk(ctx, r.Name, m, one, false, 0)
	})
	return err
}

// walk looks at what a manifest refers to, and returns it and those below it.
func (v *verifier) walk(ctx context.Context, n ref.Name, m oci.Manifest, one *Verified, sparse bool, depth int) ([]oci.Digest, error) {
	links, err := m.Links()
	switch {
	case err != nil:
		return nil, err
	case depth > maxDepth:
		return nil, oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "indexes are nested more than %d deep", maxDepth)
	}
	if sparse {
		links.Manifests = chosen(v.cfg.Platforms, links.Manifests)
	}
	blobs, parts := links.Blobs(), []oci.Digest{m.Digest}
	for _, d := range links.Manifests {
		if !oci.IsManifest(d.MediaType) {
			blobs = append(blobs, d)
			continue
		}
		child, err := v.cfg.Target.Manifest(ctx, n.WithDigest(d.Digest))
		if err != nil {
			return nil, fmt.Errorf("%s of its index: %w", d.Digest, err)
		}
		below, err := v.walk(ctx, n, child, one, false, depth+1)
		if err != nil {
			return nil, err
		}
		parts = append(parts, below...)
	}
	for _, d := range blobs {
		size, _, err := v.blobs.do(ctx, placed{n, d.Digest}, func() (int64, error) { return v.blob(ctx, n, d) })
		if err != nil {
			if len(d.URLs) > 0 && errors.Is(err, oci.ErrNotFound) {
				continue // it stays where its URLs say
			}
			return nil, fmt.Errorf("blob %s: %w", d.Digest, err)
		}
		one.Blobs++
		one.Bytes += size
	}
	return parts, nil
}

// blob looks at one blob, and returns its size.
func (v *verifier) blob(ctx context.Context, n ref.Name, d oci.Descriptor) (int64, error) {
	if v.cfg.Deep {
		b, err := v.cfg.Target.Blob(ctx, n, d.Digest, 0)
		if err != nil {
			return 0, err
		}
		size, err := io.Copy(io.Discard, oci.VerifyReader(b.Body, d.Digest, d.Size))
		return size, errors.Join(err, b.Body.Close())
	}
	got, err := v.cfg.Target.Stat(ctx, n, d.Digest)
	if err == nil && got.Size != d.Size {
		err = oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "it has %d bytes, %d were expected", got.Size, d.Size)
	}
	return d.Size, err
}
