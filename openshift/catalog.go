package openshift

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	"github.com/entrepot/entrepot/relocate"
)

const (
	catalogSourceAPI  = "operators.coreos.com/v1alpha1"
	catalogSourceKind = "CatalogSource"
	marketplace       = "openshift-marketplace" // where the cluster looks for catalog sources
	clusterCatalogAPI = "olm.operatorframework.io/v1"
)

// catalogs writes a CatalogSource, for OLM, and a ClusterCatalog, for its
// successor, for each catalog.
func (w *writer) catalogs() {
	all := w.having(relocate.Catalog)
	names := w.catalogNames(all)
	for i, p := range all {
		w.catalogSource(p, "cs-"+names[i])
		name := "cc-" + names[i]
		w.object(name+".yaml", object{
			"apiVersion": clusterCatalogAPI, "kind": "ClusterCatalog", "metadata": metadata(name),
			"spec": object{"priority": 0, "source": object{"type": "Image", "image": object{"ref": reference(p)}}},
		})
	}
}

// catalogSource writes a CatalogSource, from the template where the catalog has
// one.
func (w *writer) catalogSource(p relocate.Placed, name string) {
	file := name + ".yaml"
	if t := w.extras.templates[p.Name().String()]; t != nil {
		w.object(file, t.catalogSource(name, reference(p)))
		return
	}
	meta := metadata(name)
	meta["namespace"] = marketplace
	w.object(file, object{
		"apiVersion": catalogSourceAPI, "kind": catalogSourceKind, "metadata": meta,
		"spec": object{"sourceType": "grpc", "image": reference(p)},
	})
}

// maxLabel is how long the name of an object may be that becomes a part of
// others' names and labels (RFC 1123).
const maxLabel = 63

// catalogNames returns what the objects for catalogs are called, after "cs-" or
// "cc-": the last component of the repository, and what tells its images apart.
// Where that is too long, or two catalogs would have one name, a hash of the
// original name is in it.
func (w *writer) catalogNames(all []relocate.Placed) []string {
	const room = maxLabel - len("cs-")
	names := make([]string, len(all))
	count := make(map[string]int)
	for i, p := range all {
		names[i] = w.component(p) + "-" + suffix(p)
		count[names[i]]++
	}
	for i, p := range all {
		if len(names[i]) <= room && count[names[i]] == 1 {
			continue
		}
		sum := sha256.Sum256([]byte(p.Name().String()))
		tail := "-" + hex.EncodeToString(sum[:4]) + "-" + suffix(p)
		c := w.component(p)
		names[i] = strings.TrimRight(c[:min(len(c), room-len(tail))], "-") + tail
	}
	return names
}

// component returns the last component of a catalog's repository. Where an input
// names the target that is the target's; a naming may have put all of the
// original name into it, and does not change what a catalog is called.
func (w *writer) component(p relocate.Placed) string {
	repository := p.Target.Path
	if n := w.set.Naming; n != nil {
		if t, err := n.Target(p.Name()); err == nil && t.Name == p.Target.Name {
			repository = p.Name().Path
		}
	}
	return strings.Trim(label(path.Base(repository)), "-")
}

// maxSuffix is how much of a tag or a digest is in a name.
const maxSuffix = 12

// suffix returns the start of the catalog's tag, or of its digest where the
// inputs name it by that alone and give it no tag of their own.
func suffix(p relocate.Placed) string {
	s := p.Target.Tag
	if d := p.Name().Digest; p.Name().Tag == "" && d != "" && strings.Contains(s, d.Encoded()[:maxSuffix]) {
		s = d.Encoded()
	}
	s = strings.Trim(label(s[:min(len(s), maxSuffix)]), "-")
	if s == "" {
		s = "0"
	}
	return s
}

// label turns text into what may be in the name of an object.
func label(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(s))
}

const updateServiceFile = "updateService.yaml"

// updateService writes the UpdateService for the update graph, which knows the
// releases of one repository.
func (w *writer) updateService() {
	graphs := w.having(relocate.UpdateGraph)
	if len(graphs) == 0 {
		return
	}
	if len(graphs) > 1 {
		w.refuse(fmt.Sprintf("there are %d update graphs, %s and %s among them, and an UpdateService has one", len(graphs), graphs[0].Name(), graphs[1].Name()), "leave one of them out")
	}
	releases := w.having(relocate.ReleaseImage)
	if len(releases) == 0 {
		w.warn("there is an update graph and no release: no UpdateService is written", "")
		return
	}
	first := releases[0].Target.Name
	for _, p := range releases {
		if p.Target.Name != first {
			w.refuse(fmt.Sprintf("the releases go to %s and %s, and an UpdateService looks into one repository", first, p.Target.Name), "give them one target")
			break
		}
	}
	meta := metadata("update-service-oc-mirror")
	meta["namespace"] = "openshift-update-service"
	w.object(updateServiceFile, object{
		"apiVersion": "updateservice.operator.openshift.io/v1", "kind": "UpdateService", "metadata": meta,
		"spec": object{"replicas": 2, "releases": first.String(), "graphDataImage": reference(graphs[0])},
	})
}
