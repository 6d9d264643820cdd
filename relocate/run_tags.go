package relocate

import (
	"context"
	"errors"
	"fmt"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// setTags moves the tags of the set: first those by which referrers are found,
// so that no image is there without its signatures, then those of the images.
func (r *run) setTags(ctx context.Context) {
	r.eachImage(ctx, func(img *image) error {
		for _, t := range img.tags {
			if t.name == img.pair.Target.Name && t.tag == img.pair.Target.Tag {
				continue
			}
			if err := r.setTag(ctx, img, t); err != nil {
				return err
			}
		}
		return nil
	})
	if r.failed() > 0 && !r.cfg.Partial || ctx.Err() != nil {
		return
	}
	r.eachImage(ctx, func(img *image) error {
		if n := len(img.tags); n > 0 && img.tags[n-1].tag == img.pair.Target.Tag {
			if err := r.replace(ctx, img, img.tags[n-1]); err != nil {
				return err
			}
		}
		return r.remember(img)
	})
}

// eachImage calls f for the images that have not failed.
func (r *run) eachImage(ctx context.Context, f func(*image) error) {
	together(len(r.images), func(i int) error {
		img := r.images[i]
		if img.err != nil {
			return nil
		}
		free, err := r.sched.small.enter(ctx, 0)
		if err != nil {
			return err
		}
		defer free()
		img.finish(f(img))
		return nil
	})
}

// replace sets the tag of an image.
func (r *run) replace(ctx context.Context, img *image, t tagged) error {
	if r.cfg.OnExisting == Backup && img.existing != "" && img.existing != t.manifest.Digest {
		if err := r.backUp(ctx, t.name, t.tag, img.existing); err != nil {
			return err
		}
	}
	return r.setTag(ctx, img, t)
}

func (r *run) setTag(ctx context.Context, img *image, t tagged) error {
	at := t.name.WithTag(t.tag)
	at.Digest = t.manifest.Digest
	_, first, err := r.set.do(ctx, at, func() (struct{}, error) { return struct{}{}, r.point(ctx, img, t) })
	if err != nil {
		return fmt.Errorf("set %s: %w", at, err)
	}
	if !first {
		return nil // images that share a signature share its tag
	}
	img.wroteTags.Add(1)
	r.observe(Event{Kind: TagSet, Image: img.index, Digest: t.manifest.Digest})
	return r.cfg.Journal.tagDone(at, t.manifest.Digest)
}

// point sets a tag. Where the target says that something is missing, although
// it was there when the manifest was pushed, it is put there again.
func (r *run) point(ctx context.Context, img *image, t tagged) error {
	err := r.push(ctx, t.name, t.manifest, t.tag)
	if !errors.Is(err, oci.ErrInvalid) && !errors.Is(err, oci.ErrNotFound) {
		return err
	}
	g := &graph{run: r, img: img, from: img.pair.Source.Name, to: t.name}
	links, bad := t.manifest.Links()
	if bad != nil {
		return err
	}
	if img.sparse && t.manifest.Digest == img.root.Digest {
		links.Manifests = r.cfg.images(img.pair, links.Manifests)
	}
	if healed, bad := g.heal(ctx, links, 0); !healed || bad != nil {
		return err
	}
	return r.push(ctx, t.name, t.manifest, t.tag)
}

func (r *run) push(ctx context.Context, n ref.Name, m oci.Manifest, tag string) error {
	if p, ok := r.cfg.Target.(oci.Pusher); ok {
		_, err := p.PushManifest(ctx, n, m, tag)
		return err
	}
	return r.cfg.Target.PutManifest(ctx, n, m, tag)
}

// BackupTag returns the tag under which [Backup] keeps what a tag was.
func BackupTag(tag string, was oci.Digest) string {
	suffix := "-backup-" + was.Encoded()[:12]
	return tag[:min(len(tag), 128-len(suffix))] + suffix
}

func (r *run) backUp(ctx context.Context, n ref.Name, tag string, was oci.Digest) error {
	m, err := r.cfg.Target.Manifest(ctx, n.WithDigest(was))
	if err == nil {
		err = r.push(ctx, n, m, BackupTag(tag, was))
	}
	if err != nil {
		return fmt.Errorf("back up %s: %w", n.WithTag(tag), err)
	}
	return nil
}
