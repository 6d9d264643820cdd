// Package runimage chooses the run image of a buildpacks build: of an image and
// its mirrors the one that is nearest to where the result goes.
//
//	best, err := img.Best(registry, func(r ref.Ref) bool { … })
//
// The choice is that of the buildpacks lifecycle (platform.BestRunImageMirrorFor)
// and, with pack's local mirrors in [Image.Preferred], that of pack
// (pkg/client, getBestRunMirror). Both only ask whether a name can be read; how
// that is found out, by which rules and from which place, is the caller's
// affair, so that the package is pure. The name that is chosen is the one that
// was written, never that of a place.
package runimage

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// ErrNone says that no candidate can be read.
var ErrNone = errors.New("no run image can be read")

// An Image is a run image with the other names that it has, as run.toml has
// them. "Mirror" is the buildpacks' word: another name of the image, not a place
// that mirror rules lead to.
type Image struct {
	// Preferred are names that go before Image: pack's local mirrors.
	Preferred []string
	// Image is its name.
	Image string
	// Mirrors are its other names, in order.
	Mirrors []string
}

// names returns all names in the order in which they are looked at.
func (i Image) names() []string {
	return slices.Concat(i.Preferred, []string{i.Image}, i.Mirrors)
}

// Contains reports whether a name is one of the image's, however it is spelled.
func (i Image) Contains(name string) bool {
	want := canonical(name)
	return slices.ContainsFunc(i.names(), func(n string) bool { return canonical(n) == want })
}

// canonical returns the whole name of a reference, and other text as it is.
func canonical(name string) string {
	r, err := ref.Parse(name)
	if err != nil {
		return name
	}
	return r.WithDefaultTag().String()
}

// Find returns the first image that has a name. Where there is none, the name
// stands for itself: an extension may have switched to an image that the list
// does not have (lifecycle, platform.GetRunImageForExport).
func Find(images []Image, name string) Image {
	for _, i := range images {
		if i.Contains(name) {
			return i
		}
	}
	return Image{Image: name}
}

// A Candidate is one name of a run image.
type Candidate struct {
	// Name is the name as it was written.
	Name string
	// Ref is what it means, with the tag "latest" where it has none; the zero
	// value where Err is not nil.
	Ref ref.Ref
	// Near says that it is in the registry where the result goes.
	Near bool
	// Err is why the name is none; such a candidate is passed over.
	Err error
}

// Candidates returns the names in the order in which they are tried for a
// result that goes to a registry: those of that registry, then the others, both
// as they are written. Each name is there once, however often and in whichever
// spelling it is listed. An empty registry is near to nothing.
func (i Image) Candidates(registry string) []Candidate {
	registry = fold(registry)
	var near, far []Candidate
	seen := map[string]bool{} // :: whole name → it is listed already
	for _, name := range i.names() {
		if key := canonical(name); name == "" || seen[key] {
			continue
		} else {
			seen[key] = true
		}
		c := Candidate{Name: name}
		if c.Ref, c.Err = ref.Parse(name); c.Err == nil {
			c.Ref = c.Ref.WithDefaultTag()
			c.Near = fold(c.Ref.Host) == registry
		}
		if c.Near {
			near = append(near, c)
		} else {
			far = append(far, c)
		}
	}
	return append(near, far...)
}

// Best returns the first candidate that is readable. It returns ErrNone where
// there is none; readable is asked at most once for each.
func (i Image) Best(registry string, readable func(ref.Ref) bool) (Candidate, error) {
	if i.Image == "" {
		return Candidate{}, errors.New("the run image has no name")
	}
	for _, c := range i.Candidates(registry) {
		if c.Err == nil && readable(c.Ref) {
			return c, nil
		}
	}
	return Candidate{}, ErrNone
}

// Registry returns the registry of the image that is built: "gcr.io" for
// "gcr.io/team/app:v1", "docker.io" for "team/app". A registry alone is taken
// as well.
func Registry(target string) (string, error) {
	if isHost(target) {
		return fold(target), nil
	}
	r, err := ref.Parse(target)
	if err != nil {
		return "", fmt.Errorf("target %q: %w", target, err)
	}
	return fold(r.Host), nil
}

// isHost reports whether a text is a registry alone. A name of one part that
// looks like a host could be an image of Docker Hub, but one of those that Docker
// alone may push.
func isHost(s string) bool {
	if strings.Contains(s, "/") || !ref.ValidHost(s) {
		return false
	}
	host, _, _ := strings.Cut(s, ":")
	return strings.Contains(host, ".") || host == "localhost" || strings.HasPrefix(s, "[")
}

// fold returns the one spelling of a registry.
func fold(host string) string {
	host = strings.ToLower(host)
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return ref.DockerHub
	}
	return host
}
