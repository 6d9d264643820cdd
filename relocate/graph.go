package relocate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A graph is what hangs on the manifests of one image, on its way from one
// repository to another.
type graph struct {
	*run
	img    *image
	from   ref.Name // at the source
	to     ref.Name // at the target
	sparse bool     // of an index only the chosen platforms are copied
}

// maxDepth is how deep indexes and referrers may be nested (reliability, 2,
// "manifest bombs").
const maxDepth = oci.MaxDepth

// maxManifests bounds the manifests of one image with all that refers to it.
const maxManifests = oci.MaxDescriptors

// place puts a manifest into the target's repository by its digest, after all
// that it refers to. It is done once for a repository, however many images
// share it.
func (g *graph) place(ctx context.Context, m oci.Manifest, sparse bool) error {
	return g.placeAt(ctx, m, sparse, 0)
}

func (g *graph) placeAt(ctx context.Context, m oci.Manifest, sparse bool, depth int) error {
	if depth > maxDepth {
		return oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "indexes are nested more than %d deep", maxDepth)
	}
	links, err := m.Links()
	if err != nil {
		return err
	}
	if g.img.found(m) > maxManifests {
		return oci.Errorf(oci.ErrTooLarge, "", "the image has more than %d manifests", maxManifests)
	}
	if sparse {
		links.Manifests = g.cfg.images(g.img.pair, links.Manifests)
	}
	g.observe(Event{Kind: ImageFound, Image: g.img.index, Bytes: sizeOf(links.Blobs())})
	_, first, err := g.manifests.do(ctx, placed{g.to, m.Digest}, func() (struct{}, error) {
		return struct{}{}, g.fill(ctx, m, links, depth)
	})
	if err == nil && !first {
		return g.note(ctx, links, depth) // another image's work; what it has is counted here too
	}
	return err
}

// sizeOf returns the bytes of blobs that are copied.
func sizeOf(blobs []oci.Descriptor) (n int64) {
	for _, d := range blobs {
		if !isForeign(d) {
			n += d.Size
		}
	}
	return n
}

// fill does the work for one manifest.
func (g *graph) fill(ctx context.Context, m oci.Manifest, links oci.Links, depth int) error {
	if g.cfg.Journal.manifest(g.to, m.Digest) {
		return g.note(ctx, links, depth)
	}
	there, err := g.there(ctx, m)
	if err != nil {
		return err
	}
	if err := g.parts(ctx, links, depth); err != nil {
		return err
	}
	if there {
		return nil
	}
	return g.push(ctx, m, links, depth)
}

// there reports whether the target has the manifest. A repository that is new
// is not asked.
func (g *graph) there(ctx context.Context, m oci.Manifest) (bool, error) {
	known, err := g.repo(ctx, g.to)
	if err != nil || !known.exists {
		return false, err
	}
	if g.img.existing == m.Digest {
		return true, nil // its tag says so
	}
	_, err = g.cfg.Target.Resolve(ctx, g.to.WithDigest(m.Digest))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, oci.ErrNotFound), errors.Is(err, oci.ErrDenied), errors.Is(err, oci.ErrUnauthorized):
		return false, nil
	}
	return false, fmt.Errorf("ask for %s: %w", g.to.WithDigest(m.Digest), err)
}

// parts puts in place what a manifest refers to: its blobs, and the manifests
// of an index.
func (g *graph) parts(ctx context.Context, links oci.Links, depth int) error {
	blobs := links.Blobs()
	var children []oci.Descriptor
	for _, d := range links.Manifests {
		if oci.IsManifest(d.MediaType) || isSchema1(d.MediaType) {
			children = append(children, d)
		} else {
			blobs = append(blobs, d) // as BuildKit's caches have them
		}
	}
	return together(len(blobs)+len(children), func(i int) error {
		if i < len(blobs) {
			return g.placeBlob(ctx, blobs[i])
		}
		child, err := g.child(ctx, children[i-len(blobs)])
		if err != nil {
			return err
		}
		return g.placeAt(ctx, child, false, depth+1)
	})
}

// child reads a manifest that another one names.
func (g *graph) child(ctx context.Context, d oci.Descriptor) (oci.Manifest, error) {
	if isSchema1(d.MediaType) {
		return oci.Manifest{}, errSchema1
	}
	r := g.from.WithDigest(d.Digest)
	m, _, err := g.read.do(ctx, r, func() (oci.Manifest, error) {
		if int64(len(d.Data)) == d.Size && d.Size > 0 && oci.FromBytes(d.Data, d.Digest) == d.Digest {
			return oci.Manifest{MediaType: d.MediaType, Digest: d.Digest, Raw: d.Data}, nil
		}
		return g.cfg.Source.Manifest(ctx, r)
	})
	if err != nil {
		return oci.Manifest{}, fmt.Errorf("read %s: %w", r, err)
	}
	return m, nil
}

var errSchema1 = oci.Errorf(oci.ErrUnsupported, oci.CodeUnsupported,
	"the image has a manifest of Docker's schema 1, which cannot be copied without changing its digest; push it again with a current client")

func isSchema1(mediaType string) bool {
	return mediaType == oci.TypeDockerSchema1 || mediaType == oci.TypeDockerSchema1JWS
}

// note counts what is in place already, and walks down for the closure.
func (g *graph) note(ctx context.Context, links oci.Links, depth int) error {
	for _, d := range links.Blobs() {
		if !isForeign(d) {
			g.img.present.Add(1)
			g.observe(Event{Kind: BlobDone, Image: g.img.index, Digest: d.Digest, Bytes: d.Size})
		}
	}
	for _, d := range links.Manifests {
		if !oci.IsManifest(d.MediaType) {
			continue
		}
		child, err := g.child(ctx, d)
		if err != nil {
			return err
		}
		if err := g.placeAt(ctx, child, false, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// push stores a manifest whose parts are there. Where the target says that
// they are not, they are looked for, put there again, and it is tried again:
// some registries forget, others are slow to remember.
func (g *graph) push(ctx context.Context, m oci.Manifest, links oci.Links, depth int) error {
	for attempt := 1; ; attempt++ {
		err := g.put(ctx, m)
		if err == nil {
			g.img.wroteManifests.Add(1)
			return g.cfg.Journal.manifestDone(g.to, m.Digest)
		}
		at := g.to.WithDigest(m.Digest)
		if attempt == healAttempts || !errors.Is(err, oci.ErrInvalid) && !errors.Is(err, oci.ErrNotFound) {
			return fmt.Errorf("push %s: %w", at, err)
		}
		healed, lost := g.heal(ctx, links, depth)
		if lost != nil {
			return fmt.Errorf("push %s: %w", at, lost)
		}
		if !healed && !g.sparse && g.late(ctx, err, attempt) {
			continue
		}
		if !healed && g.sparse && oci.IsIndex(m.MediaType) {
			err = &hinted{err, "the target may refuse an index that lacks platforms: copy all of them, or use --trim-index"}
		}
		if !healed {
			return fmt.Errorf("push %s: %w", at, err)
		}
	}
}

// late waits where the target misses something that it has: some need a moment
// before all of their nodes know of a blob (reliability, 1, "retryable set").
func (g *graph) late(ctx context.Context, err error, attempt int) bool {
	told, ok := errors.AsType[*oci.Error](err)
	if !ok || told.Code != oci.CodeManifestBlobUnknown && told.Code != oci.CodeBlobUnknown {
		return false
	}
	select {
	case <-time.After(lateBy << (attempt - 1)):
		return true
	case <-ctx.Done():
		return false
	}
}

// lateBy is how long the first such wait is; each next one is twice as long.
const lateBy = 250 * time.Millisecond

// put pushes a manifest by its digest, and notes whether the target lists it
// as a referrer.
func (g *graph) put(ctx context.Context, m oci.Manifest) error {
	p, ok := g.cfg.Target.(oci.Pusher)
	if !ok {
		return g.cfg.Target.PutManifest(ctx, g.to, m)
	}
	listed, err := p.PushManifest(ctx, g.to, m, "")
	if listed {
		g.listed.Store(placed{g.to, m.Digest}, struct{}{})
	}
	return err
}

// healAttempts is how often a manifest is pushed whose parts the target has
// lost.
const healAttempts = 4

// heal puts what the target has lost there again. It reports whether there was
// something.
func (g *graph) heal(ctx context.Context, links oci.Links, depth int) (bool, error) {
	lost := oci.Links{}
	for _, d := range links.Blobs() {
		if isForeign(d) {
			continue
		}
		if _, err := g.cfg.Target.Stat(ctx, g.to, d.Digest); errors.Is(err, oci.ErrNotFound) {
			g.blobs.forget(g.to, d.Digest)
			lost.Layers = append(lost.Layers, d)
		}
	}
	for _, d := range links.Manifests {
		if _, err := g.cfg.Target.Resolve(ctx, g.to.WithDigest(d.Digest)); errors.Is(err, oci.ErrNotFound) {
			g.manifests.forget(placed{g.to, d.Digest})
			g.cfg.Journal.forget(g.to, d.Digest)
			lost.Manifests = append(lost.Manifests, d)
		}
	}
	if len(lost.Layers)+len(lost.Manifests) == 0 {
		return false, nil
	}
	g.log.WarnContext(ctx, "target has lost content", "repository", g.to.String(), "blobs", len(lost.Layers), "manifests", len(lost.Manifests))
	return true, g.parts(ctx, lost, depth)
}
