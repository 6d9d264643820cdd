package relocate

import (
	"cmp"
	"context"
	"fmt"
	"path"

	"golang.org/x/sync/errgroup"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Prober is a Target that can tell whether it would take a push.
type Prober interface {
	// MayPush returns why a push to a repository would be refused, nil where
	// it would not. It leaves nothing behind. A registry that knows of a
	// repository from its first upload on may know of it then.
	MayPush(ctx context.Context, n ref.Name) error
}

// rights finds the images whose repositories would refuse a push. A repository
// that is there is asked itself; of those that are new, for which rights are
// given by namespace, one for each namespace.
func (f *forecaster) rights(ctx context.Context) {
	target, ok := f.cfg.Target.(Prober)
	if !ok {
		return
	}
	asked := make(map[ref.Name][]*foreseen) // :: repository, or namespace of new ones → images
	for i := range f.images {
		img := &f.images[i]
		if img.err != nil || img.done() {
			continue
		}
		n := img.pair.Target.Name
		if !img.exists {
			n.Path = path.Dir(n.Path) + "/"
		}
		asked[n] = append(asked[n], img)
	}
	var g errgroup.Group
	g.SetLimit(cmp.Or(f.cfg.Jobs, forecastJobs))
	for _, images := range asked {
		g.Go(func() error {
			n := images[0].pair.Target.Name
			err := target.MayPush(ctx, n)
			for _, img := range images {
				if err != nil {
					img.err = fmt.Errorf("push to %s: %w", n, err)
				}
			}
			return nil
		})
	}
	_ = g.Wait() // what is refused is an image's
}

// blind reports whether a question to the target was refused and the plan can do
// without: whether the images may be pushed is asked anyway.
func (f *forecaster) blind(err error) bool {
	_, asks := f.cfg.Target.(Prober)
	return asks && isRefusal(err) && cmp.Or(f.cfg.OnExisting, Overwrite) == Overwrite
}

// done reports whether nothing has to be pushed.
func (img *foreseen) done() bool {
	for _, b := range img.blobs {
		if !b.there {
			return false
		}
	}
	return img.existing == img.digest
}

// attach notes what refers to an image, which is copied too.
func (f *forecaster) attach(ctx context.Context, img *foreseen) (err error) {
	img.attaching = true
	img.referrers, err = f.run.attached(ctx, img.pair.Source.Name, img.manifests, func(m oci.Manifest) ([]oci.Digest, error) {
		had := len(img.manifests)
		err := f.walk(ctx, img, m, false, 0)
		return img.manifests[had:], err
	})
	return err
}
