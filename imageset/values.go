package imageset

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v4"

	"github.com/entrepot/entrepot/ref"
)

// peekTable is peek of what may be no table.
func (s spot) peekTable(name string) *spot {
	if s.n.Kind != yaml.MappingNode {
		return nil
	}
	return s.peek(name)
}

// needs says that a table lacks a member. What is wrong with one that is there
// was said.
func (s spot) needs(value, name string) {
	if value != "" || s.n.Kind != yaml.MappingNode {
		return
	}
	if m := s.peek(name); m != nil && !m.isNull() && (m.n.Kind != yaml.ScalarNode || m.n.Value != "") {
		return
	}
	s.fail("", "there is no %s", name)
}

// layoutScheme begins the names of images that are in a layout on disk.
const layoutScheme = "oci://"

// image returns a reference; local says that it may be a layout on disk.
func (s spot) image(local bool) string {
	text := s.text()
	if text == "" {
		return ""
	}
	if path, ok := strings.CutPrefix(text, layoutScheme); ok && local {
		if path == "" {
			s.fail("", "there is no path after %s", layoutScheme)
			return ""
		}
		return text
	}
	text = strings.TrimPrefix(text, "docker://")
	if _, err := ref.Parse(text); err != nil {
		s.fail("", "%v", err)
		return ""
	}
	return text
}

// component is a path of a repository (oc-mirror, IsValidPathComponent).
var component = regexp.MustCompile(`^([a-z0-9]+((?:[._]|__|[-]*)[a-z0-9]+)*)(/([a-z0-9]+((?:[._]|__|[-]*)[a-z0-9]+)*))*$`)

// repository returns the path of a repository below the target's prefix.
func (s spot) repository() string {
	text := s.text()
	if text != "" && !component.MatchString(text) {
		s.fail("it has no registry, no tag and no digest: those of the target are added", "%q is no path of a repository", text)
		return ""
	}
	return text
}

var tagForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

func (s spot) tag() string {
	text := s.text()
	if text != "" && !tagForm.MatchString(text) {
		s.fail("", "%q is no tag", text)
		return ""
	}
	return text
}

// version returns a semantic version. Those of releases have three numbers,
// those of operators may leave some out.
func (s spot) version(strict bool) string {
	text := s.text()
	if text == "" {
		return ""
	}
	parse := semver.NewVersion
	if strict {
		parse = semver.StrictNewVersion
	}
	if _, err := parse(text); err != nil {
		s.fail("write it as 4.15.0", "%q is no version", text)
		return ""
	}
	return text
}

// releaseType reports whether a channel is one of OKD.
func (s spot) releaseType() bool {
	switch text := s.text(); {
	case text == "okd":
		return true
	case text != "ocp" && (text != "" || !s.isNull()) && s.n.ShortTag() == "!!str":
		s.fail("it is ocp or okd", "%q is no type of releases", text)
	}
	return false
}

// architectures are what the update service calls them.
var architectures = regexp.MustCompile(`^[a-z0-9_]+$`)

func (s spot) architecture() string {
	text := s.text()
	if text != "" && !architectures.MatchString(text) {
		s.fail("it is one of amd64, arm64, ppc64le, s390x, multi", "%q is no architecture", text)
	}
	return text
}

// url returns the address of a chart repository.
func (s spot) url() string {
	text := s.text()
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "oci":
		// The text of the error would repeat a password.
		s.fail("it begins with https://", "this is no address of a chart repository")
	case u.Scheme == "oci":
		s.fail("fetch the chart and list it below helm.local", "charts in registries are not read from here")
	default:
		return text
	}
	return ""
}

// jsonPath returns a JSONPath as kubectl has it.
func (s spot) jsonPath() string {
	text := s.text()
	if text == "" {
		return ""
	}
	if err := checkJSONPath(text); err != nil {
		s.fail("write it as {.spec.image}", "%q is no JSONPath: %v", text, err)
		return ""
	}
	return text
}
