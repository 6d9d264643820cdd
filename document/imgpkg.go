package document

import (
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
)

// Lock files: imgpkg's ImagesLock and BundleLock (carvel-dev/imgpkg,
// pkg/imgpkg/lockconfig), whose images have digests, and the Images.lock of
// Helm's distribution tooling (vmware-labs/distribution-tooling-for-helm), which
// lists the digests beside the image.

func isLock(r *reading) bool {
	return r.anyDoc(func(n *tree.Node) bool {
		return strings.HasPrefix(n.Str("apiVersion"), "imgpkg.carvel.dev/") || isHelmLock(n)
	})
}

func isHelmLock(n *tree.Node) bool {
	return n.Str("apiVersion") == "v0" && n.Str("kind") == "ImagesLock"
}

func readLock(r *reading) error {
	if r.syntax != nil {
		return r.refuse(r.main, r.syntax)
	}
	f := r.addFile(r.main)
	for _, doc := range r.docs {
		root := r.root(f, doc)
		kind := root.str("kind")
		switch {
		case isHelmLock(doc):
			root.helmLock()
		case root.str("apiVersion") != "imgpkg.carvel.dev/v1alpha1":
			root.fail("imgpkg.carvel.dev/v1alpha1 is", "apiVersion %q is not known", root.str("apiVersion"))
		case kind == "ImagesLock":
			root.only("apiVersion", "kind", "images")
			for _, i := range root.member("images").items() {
				i.only("image", "annotations")
				i.member("image").locked()
			}
		case kind == "BundleLock":
			root.only("apiVersion", "kind", "bundle")
			b := root.member("bundle")
			b.only("image", "tag")
			b.member("image").locked()
		default:
			root.fail("known are ImagesLock and BundleLock", "%q is no kind of lock", kind)
		}
	}
	return nil
}

// locked adds an image that has to have a digest.
func (s spot) locked() {
	if s.n == nil {
		return
	}
	if i := s.image(); i != nil && !strings.Contains(i.Ref, "@") {
		s.fail("", "%s has no digest", i.Ref)
	}
}

func (s spot) helmLock() {
	s.only("apiVersion", "kind", "metadata", "chart", "images")
	for _, i := range s.member("images").items() {
		i.only("name", "image", "chart", "digests")
		i.member("image").image()
	}
}
