package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PutBlob stores a blob, which every repository of the layout then has. It is
// visible once it is verified and on the disk.
func (l *Layout) PutBlob(ctx context.Context, _ ref.Name, d oci.Descriptor, open oci.Source) error {
	name, err := pathOf(d.Digest)
	if err != nil {
		return err
	}
	if info, err := l.root.Stat(name); err == nil && (d.Size < 0 || info.Size() == d.Size) {
		return nil
	}
	rc, err := open(ctx, 0)
	if err != nil {
		return err
	}
	defer rc.Close()
	return l.store(name, oci.VerifyReader(rc, d.Digest, d.Size))
}

// PushBlob is PutBlob. There is nothing to mount, since all repositories have
// all blobs, and nothing to resume.
func (l *Layout) PushBlob(ctx context.Context, n ref.Name, d oci.Descriptor, open oci.Source, _ oci.Push) (bool, error) {
	return false, l.PutBlob(ctx, n, d, open)
}

// PutManifest stores a manifest and points tags at it. What has a subject
// stands in index.json too, so that it is found as a referrer.
func (l *Layout) PutManifest(_ context.Context, n ref.Name, m oci.Manifest, tags ...string) error {
	if m.Digest != oci.FromBytes(m.Raw, m.Digest) {
		return oci.Errorf(oci.ErrMismatch, oci.CodeDigestInvalid, "the manifest is not %s", m.Digest)
	}
	name, err := pathOf(m.Digest)
	if err != nil {
		return err
	}
	if _, err := l.root.Stat(name); err != nil {
		if err := l.replace(name, m.Raw); err != nil {
			return err
		}
	}
	links, err := m.Links()
	if err != nil && !errors.Is(err, oci.ErrUnsupported) {
		return err
	}
	if len(tags) == 0 && links.Subject == nil {
		return nil
	}
	return l.update(func(index *ispec.Index) {
		if len(tags) == 0 {
			list(index, m.Descriptor(), links)
		}
		for _, tag := range tags {
			point(index, nameOf(n, tag), m.Descriptor())
		}
	})
}

// PushManifest is PutManifest with a tag or none. Referrers are always listed.
func (l *Layout) PushManifest(ctx context.Context, n ref.Name, m oci.Manifest, tag string) (bool, error) {
	if tag == "" {
		return true, l.PutManifest(ctx, n, m)
	}
	return true, l.PutManifest(ctx, n, m, tag)
}

// list adds an entry without a name, where there is none for the manifest.
func list(index *ispec.Index, d oci.Descriptor, links oci.Links) {
	if slices.ContainsFunc(index.Manifests, func(o oci.Descriptor) bool { return o.Digest == d.Digest }) {
		return
	}
	d.ArtifactType = links.ArtifactType
	index.Manifests = append(index.Manifests, d)
}

// point makes a name stand for a manifest, and for no other.
func point(index *ispec.Index, name string, d oci.Descriptor) {
	d.Annotations = map[string]string{ispec.AnnotationRefName: name}
	i := slices.IndexFunc(index.Manifests, func(o oci.Descriptor) bool { return o.Annotations[ispec.AnnotationRefName] == name })
	if i < 0 {
		index.Manifests = append(index.Manifests, d)
		return
	}
	if index.Manifests[i].Digest != d.Digest {
		index.Manifests[i] = d // what else stood there was said of another manifest
	}
}

// update changes index.json, one process and one goroutine at a time.
func (l *Layout) update(change func(*ispec.Index)) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := l.root.Open(ispec.ImageLayoutFile)
	if err != nil {
		return fmt.Errorf("lock layout: %w", err)
	}
	defer f.Close() // and with it the lock goes
	if err := lock(f); err != nil {
		return fmt.Errorf("lock layout: %w", err)
	}
	index, err := l.index()
	if err != nil {
		return err
	}
	change(&index)
	return l.writeIndex(index)
}

func (l *Layout) writeIndex(index ispec.Index) error {
	index.SchemaVersion, index.MediaType = 2, oci.TypeImageIndex
	if index.Manifests == nil {
		index.Manifests = []oci.Descriptor{}
	}
	raw, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return l.replace(ispec.ImageIndexFile, raw)
}
