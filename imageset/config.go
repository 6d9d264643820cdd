// Package imageset reads the image sets of oc-mirror, and finds out which images
// they are.
//
// An ImageSetConfiguration says what an OpenShift cluster without the internet
// needs: releases of the platform, operators, charts and further images. [Parse]
// reads one, of either version, strictly: every field that it does not know, or
// that its version does not have, is an error with its path and line. A
// [Config] names few images itself; [Config.Expand] asks the catalogs, the
// releases, the update graph and the charts for the others:
//
//	cfg, err := imageset.Parse("isc.yaml", data)
//	set, err := cfg.Expand(ctx, imageset.Env{Source: registries})
//	for _, image := range set.Images { … }
//
// What the fields mean is what they mean to oc-mirror
// (https://github.com/openshift/oc-mirror, v2 for v2alpha1 and v1 for v1alpha2);
// doc/imageset.md has them one by one.
package imageset

import (
	"regexp"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/relocate"
)

// A Version is that of a configuration's format.
type Version string

// The versions.
const (
	V1Alpha2 Version = "v1alpha2" // of oc-mirror v1
	V2Alpha1 Version = "v2alpha1" // of oc-mirror v2
)

// A Config is an image set as it is written. It does not change and is safe for
// concurrent use.
type Config struct {
	// Name is that of the file.
	Name    string
	Version Version
	// Delete says that the images are to be removed: it is a
	// DeleteImageSetConfiguration.
	Delete bool
	// ArchiveSize is how large one file of an archive may become, in bytes; 0
	// means that the configuration does not say. It is written in GiB.
	ArchiveSize int64

	Platform   Platform
	Operators  []Operator
	Additional []Additional
	Helm       Helm
	Blocked    []Blocked

	notes []*document.Error
}

// Notes returns what deserves a word to the user and is no error: fields that
// have no meaning here.
func (c *Config) Notes() []*document.Error { return c.notes }

// A Place is where something is written: for errors, and for lists of images.
type Place struct {
	At    document.Position
	Field string // its path, as in "mirror.operators[0].catalog"
}

// err returns an error about the place.
func (p Place) err(cause error, hint, text string) *document.Error {
	return &document.Error{At: p.At, Field: p.Field, Text: text, Hint: hint, Err: cause}
}

// below returns the place of a member, as far as it is known: in the same line.
func (p Place) below(field string) Place {
	p.Field += "." + field
	return p
}

// Platform are the releases of OpenShift or OKD.
type Platform struct {
	Place
	// Graph asks for the update graph as an image.
	Graph    bool
	GraphAt  Place
	Channels []Channel
	// Architectures are those of the releases, each of which is an image of its
	// own; none means amd64. "multi" is the one that has several.
	Architectures []string
	// Platforms choose of the release that has several.
	Platforms []relocate.Platform
	// Release is the release image itself, "" for those of channels.
	Release   string
	ReleaseAt Place
	// KubeVirt asks for the image of the release's virtual machine disks.
	KubeVirt   bool
	KubeVirtAt Place
}

// A Channel is a channel of releases, and what is wanted of it.
type Channel struct {
	Place
	Name         string
	OKD          bool
	Min, Max     string // versions; "" for the newest
	ShortestPath bool   // only what an update from Min to Max goes through
	Full         bool   // without Min: from the oldest one on
}

// An Operator is a catalog of operators, and what is wanted of it.
type Operator struct {
	Place
	// Catalog is a reference, or "oci://" and the path of a layout.
	Catalog string
	// TargetCatalog is the repository at the target, below the prefix; "" leaves
	// it to the naming.
	TargetCatalog string
	// TargetName is the last part of that alone (v1alpha2).
	TargetName string
	TargetTag  string
	// OriginalRef is the name of a catalog that is in a layout (v1alpha2).
	OriginalRef string
	// Template is a file to make the cluster's CatalogSource from; "" for none.
	Template         string
	TemplateAt       Place
	Full             bool
	SkipDependencies bool
	Packages         []Package
	Platforms        []relocate.Platform
}

// A Package is an operator, and which versions of it are wanted.
type Package struct {
	Place
	Name           string
	Channels       []PackageChannel
	DefaultChannel string
	Min, Max       string
}

// A PackageChannel is a channel of an operator.
type PackageChannel struct {
	Place
	Name     string
	Min, Max string
}

// An Additional is an image by itself.
type Additional struct {
	Place
	Name       string // a reference, or "oci://" and the path of a layout
	TargetRepo string // below the prefix; "" leaves it to the naming
	TargetTag  string
	Platforms  []relocate.Platform
}

// Helm are the charts.
type Helm struct {
	Repositories []Repository
	Local        []Chart
}

// A Repository is a place that has charts.
type Repository struct {
	Place
	Name, URL string
	// All says that all charts are wanted, because none are listed.
	All    bool
	Charts []Chart
}

// A Chart is a chart of a repository, or in a file.
type Chart struct {
	Place
	Name    string
	Version string // "" for the newest
	Path    string // of a local one
	// ImagePaths are JSONPaths, as kubectl has them, of images in the rendered
	// chart, beside those where Kubernetes itself has images.
	ImagePaths   []string
	ImagePathsAt Place
	Platforms    []relocate.Platform
}

// A Blocked is a pattern of images that are left out.
type Blocked struct {
	Place
	Pattern *regexp.Regexp
}
