package openshift

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

const mirrorAPI = "config.openshift.io/v1"

// A mirrorKind is a kind of object that leads references of one kind.
type mirrorKind struct{ file, prefix, kind, key string }

var (
	digestMirrors = mirrorKind{"idms-oc-mirror.yaml", "idms-", "ImageDigestMirrorSet", "imageDigestMirrors"}
	tagMirrors    = mirrorKind{"itms-oc-mirror.yaml", "itms-", "ImageTagMirrorSet", "imageTagMirrors"}
)

// categories are those of oc-mirror, in the order in which they are written.
// What is in none of the first is generic.
var categories = []struct {
	name  string
	roles []relocate.Role
}{
	{"release", []relocate.Role{relocate.ReleaseImage, relocate.ReleaseContent}},
	{"operator", []relocate.Role{relocate.OperatorBundle, relocate.RelatedImage}},
	{"generic", []relocate.Role{relocate.Additional, relocate.HelmImage}},
}

// categoriesOf returns the categories of an image: several where it is several
// things.
func categoriesOf(r relocate.Role) []string {
	var all []string
	for _, c := range categories {
		if slices.ContainsFunc(c.roles, r.Has) {
			all = append(all, c.name)
		}
	}
	if len(all) == 0 {
		all = []string{"generic"}
	}
	return all
}

// mirrors are entries of mirror sets.
//
//	:: category → source repository → where its images are
type mirrors map[string]map[ref.Name][]ref.Name

func (m mirrors) add(category string, from, to ref.Name) {
	if from == to {
		return // a set whose only mirror is the source is none
	}
	if m[category] == nil {
		m[category] = make(map[ref.Name][]ref.Name)
	}
	if all := m[category][from]; !slices.Contains(all, to) {
		m[category][from] = append(all, to)
	}
}

// mirrorSets writes the mirror sets.
func (w *writer) mirrorSets() {
	digests, tags := mirrors{}, mirrors{}
	for _, p := range w.set.Images {
		if p.Role.Apart() || !w.expressible(p) {
			continue
		}
		if remade(p) {
			w.warn(fmt.Sprintf("%s has another digest there, %s: the cluster does not find it by the one it is named by", p.Name(), p.Digest), "copy it as it is")
		}
		byDigest, byTag := led(p)
		for _, c := range categoriesOf(p.Role) {
			if byDigest {
				digests.add(c, p.Name().Name, p.Target.Name)
			}
			if byTag {
				tags.add(c, p.Name().Name, p.Target.Name)
			}
		}
	}
	w.mirrorFile(digestMirrors, digests)
	w.mirrorFile(tagMirrors, tags)
}

// led reports whether an image is looked for by its digest, and whether by its
// tag. An image with both is in both sets (OCPBUGS-85331): clients differ in
// which of them they use. The installer reads the mirrors of releases where
// those for digests are, so a release is there even when it is named by its tag.
func led(p relocate.Placed) (byDigest, byTag bool) {
	n := p.Name()
	byDigest = n.Digest != "" || p.Role.Has(relocate.ReleaseImage)
	return byDigest, n.Tag != "" && n.Tag == p.Target.Tag
}

// remade reports whether an image is another one at the target than its name
// says: an index that was trimmed.
func remade(p relocate.Placed) bool {
	d := p.Name().Digest
	return d != "" && p.Digest != "" && p.Digest != d
}

// expressible notes why the mirror sets cannot lead to an image.
func (w *writer) expressible(p relocate.Placed) bool {
	n := p.Name()
	before := len(w.reasons)
	if n.Digest == "" && n.Tag != p.Target.Tag {
		w.refuse(fmt.Sprintf("%s gets another tag, %s, and a mirror has the same tags", n, p.Target.Tag), "keep its tag, or name the image by its digest")
	}
	for _, name := range []ref.Name{n.Name, p.Target.Name} {
		switch {
		case strings.HasPrefix(name.Host, "["):
			w.refuse(fmt.Sprintf("%s: there are no IPv6 addresses in mirror sets", name), "use a DNS name for it")
		case name.Host != "localhost" && !strings.ContainsAny(name.Host, ".:"):
			w.refuse(fmt.Sprintf("%s: %s would be taken for an account at Docker Hub", name, name.Host), "use the registry's full name, or its port")
		}
	}
	return len(w.reasons) == before
}

// refuse notes a reason, once, and the hint for the first one.
func (w *writer) refuse(reason, hint string) {
	if len(w.reasons) == 0 {
		w.hint = hint
	}
	if !slices.Contains(w.reasons, reason) {
		w.reasons = append(w.reasons, reason)
	}
}

// mirrorFile writes the file of one kind, where it has entries.
func (w *writer) mirrorFile(k mirrorKind, m mirrors) {
	var sets []any
	for _, c := range categories {
		bySource := m[c.name]
		if len(bySource) == 0 {
			continue
		}
		var list []any
		for _, from := range slices.SortedFunc(maps.Keys(bySource), compareNames) {
			list = append(list, object{"source": from.String(), "mirrors": w.places(from, bySource[from])})
		}
		sets = append(sets, object{
			"apiVersion": mirrorAPI, "kind": k.kind, "metadata": metadata(k.prefix + c.name + "-0"), "spec": object{k.key: list},
		})
	}
	if len(sets) > 0 {
		data, err := marshalAll(sets)
		w.add(k.file, data, err)
	}
}

// places returns the mirrors of a source, sorted.
func (w *writer) places(from ref.Name, to []ref.Name) []string {
	slices.SortFunc(to, compareNames)
	var all []string
	for _, n := range to {
		all = append(all, n.String())
	}
	if len(all) > 1 {
		w.warn(fmt.Sprintf("the images of %s are in %d repositories, %s: the cluster asks them in turn", from, len(all), strings.Join(all, ", ")), "")
	}
	return all
}
