// Package openshift writes the objects that lead an OpenShift cluster to a set
// of images: an ImageDigestMirrorSet and an ImageTagMirrorSet for each category
// of images, a CatalogSource and a ClusterCatalog for each operator catalog, an
// UpdateService for an update graph, and a ConfigMap of release signatures.
//
// Names and fields are those of oc-mirror v2, so that a cluster that was led by
// oc-mirror before finds its objects replaced. Scopes are exact: an entry is for
// one repository. Everything is a function of the set: there are no times in the
// files, and their order is that of names.
//
//	files, warnings, err := openshift.Files(set)
package openshift

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
	"github.com/entrepot/entrepot/rules"
)

// Format is what the files together are called.
const Format = "openshift"

// createdBy is in an annotation of all objects, where oc-mirror has its own
// name, its version and the time.
const createdBy = "entrepot"

// Files returns the files for a set, sorted by name, and what is worth a
// warning. What the objects cannot say is a [relocate.InexpressibleError]. The
// mirror sets are read back as a cluster reads them and followed for every image
// before anything is returned; see [Check].
func Files(s relocate.Set) ([]relocate.File, []rules.Problem, error) {
	extras, err := readExtras(s.Extras)
	if err != nil {
		return nil, nil, err
	}
	w := &writer{set: s, extras: extras}
	w.mirrorSets()
	w.catalogs()
	w.updateService()
	w.signatures()
	w.reach()
	if w.err != nil {
		return nil, nil, w.err
	}
	if len(w.reasons) > 0 {
		return nil, nil, &relocate.InexpressibleError{Format: Format, Reasons: w.reasons, Hint: w.hint}
	}
	if err := Check(s, w.files); err != nil {
		return nil, nil, err
	}
	slices.SortFunc(w.files, func(a, b relocate.File) int { return cmp.Compare(a.Name, b.Name) })
	return w.files, w.warnings, nil
}

// Owns reports whether a file of that name is one that [Files] writes for some
// set.
func Owns(name string) bool {
	switch name {
	case digestMirrors.file, tagMirrors.file, updateServiceFile, signatureYAML, signatureJSON:
		return true
	}
	return path.Ext(name) == ".yaml" && (strings.HasPrefix(name, "cs-") || strings.HasPrefix(name, "cc-"))
}

// A writer collects files.
type writer struct {
	set      relocate.Set
	extras   extras
	files    []relocate.File
	warnings []rules.Problem
	reasons  []string // not to write anything
	hint     string
	err      error // the first one
}

func (w *writer) warn(text, hint string) {
	w.warnings = append(w.warnings, rules.Problem{Text: text, Hint: hint})
}

// add adds a file of YAML, unless it could not be written.
func (w *writer) add(name string, data []byte, err error) {
	if err != nil {
		w.err = cmp.Or(w.err, fmt.Errorf("write %s: %w", name, err))
	}
	w.files = append(w.files, relocate.File{Name: name, Data: append([]byte(w.set.Comment()), data...)})
}

// object adds a file of one object.
func (w *writer) object(name string, o any) {
	data, err := marshal(o)
	w.add(name, data, err)
}

// reach warns of what clusters need to speak to the target at all. There is no
// object of our own for it: it is in the one that configures all images of the
// cluster, which only its owner can write.
func (w *writer) reach() {
	host := w.target()
	const object = "image.config.openshift.io/cluster"
	switch r := w.set.Reach; {
	case r.PlainHTTP || r.SkipVerify:
		w.warn("the cluster speaks to "+host+" only with a certificate that it trusts",
			"add it to registrySources.insecureRegistries in the spec of "+object)
	case len(r.CA) > 0:
		w.warn("the cluster has to trust the authority of "+host,
			"name a ConfigMap with its certificate in additionalTrustedCA in the spec of "+object)
	}
}

// target is the registry that the images go to.
func (w *writer) target() string {
	if len(w.set.Images) == 0 {
		return ""
	}
	return w.set.Images[0].Target.Host
}

// reference is what an object calls an image at the target: by its tag, so that
// the cluster notices a new one, or by its digest where the inputs name it by
// that alone.
func reference(p relocate.Placed) string {
	if p.Name().Tag != "" || p.Digest == "" && p.Target.Digest == "" {
		return p.Target.Name.WithTag(p.Target.Tag).String()
	}
	return p.Target.Name.WithDigest(cmp.Or(p.Digest, p.Target.Digest)).String()
}

// having returns the images with a role.
func (w *writer) having(r relocate.Role) []relocate.Placed {
	var some []relocate.Placed
	for _, p := range w.set.Images {
		if p.Role.Has(r) {
			some = append(some, p)
		}
	}
	return some
}

// compareNames is the order of names.
func compareNames(a, b ref.Name) int { return cmp.Compare(a.String(), b.String()) }
