package relocate

import (
	"fmt"
	"slices"
	"strings"
)

// A Role says what an image is for where that matters to who is led to it: the
// objects that an OpenShift cluster gets depend on it. An image may have
// several: they are joined by commas, sorted, each one once. The zero value is
// an image like any other.
type Role string

// The roles, as oc-mirror tells its images apart.
const (
	ReleaseImage   Role = "release"         // a release of the platform
	ReleaseContent Role = "release-content" // what a release is made of
	UpdateGraph    Role = "graph"           // the update graph as an image
	Catalog        Role = "catalog"         // an operator catalog
	OperatorBundle Role = "operator-bundle" // a bundle of a catalog
	RelatedImage   Role = "related"         // what a bundle runs
	Additional     Role = "additional"      // named by itself
	HelmImage      Role = "helm"            // named by a chart
)

// Roles returns all roles there are, sorted.
func Roles() []Role {
	return []Role{Additional, Catalog, UpdateGraph, HelmImage, OperatorBundle, RelatedImage, ReleaseImage, ReleaseContent}
}

// ParseRole reads a role, or several with commas between them. An unknown one
// is an error.
func ParseRole(s string) (Role, error) {
	var r Role
	if s == "" {
		return r, nil
	}
	for one := range strings.SplitSeq(s, ",") {
		if !slices.Contains(Roles(), Role(one)) {
			return "", fmt.Errorf("there is no role %q of an image", one)
		}
		r = r.And(Role(one))
	}
	return r, nil
}

// Has reports whether other is among the roles.
func (r Role) Has(other Role) bool {
	for one := range strings.SplitSeq(string(r), ",") {
		if one == string(other) {
			return true
		}
	}
	return false
}

// Apart reports whether an image is for nothing but catalogs and update graphs:
// a cluster is told of these by objects with their names at the target, and does
// not look for the original ones.
func (r Role) Apart() bool {
	return r == Catalog || r == UpdateGraph || r == Catalog.And(UpdateGraph)
}

// And returns both roles together.
func (r Role) And(other Role) Role {
	var all []string
	for _, s := range []Role{r, other} {
		if s != "" {
			all = append(all, strings.Split(string(s), ",")...)
		}
	}
	slices.Sort(all)
	return Role(strings.Join(slices.Compact(all), ","))
}
