package imageset

import (
	"bytes"
	"errors"
	"regexp"
	"strings"

	"github.com/entrepot/entrepot/document"
	"go.yaml.in/yaml/v4"
)

// The group and the kinds of image sets.
const (
	group      = "mirror.openshift.io/"
	kindMirror = "ImageSetConfiguration"
	kindDelete = "DeleteImageSetConfiguration"
)

// maxSize is the largest configuration that is read, in bytes.
const maxSize = 16 << 20

// kindLine matches the kind of a configuration that is not YAML.
var kindLine = regexp.MustCompile(`(?m)^kind:[ \t]*["']?(Delete)?ImageSetConfiguration\b`)

// Is reports whether a text is meant to be an image set: by its kind, or by its
// apiVersion. It may have faults nevertheless.
func Is(data []byte) bool {
	if len(data) > maxSize || !bytes.Contains(data, []byte(kindMirror)) && !bytes.Contains(data, []byte(group)) {
		return false
	}
	root, err := parseYAML("", data)
	if err != nil {
		return kindLine.Match(data)
	}
	if root.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		v := root.Content[i+1]
		switch root.Content[i].Value {
		case "kind":
			if v.Value == kindMirror || v.Value == kindDelete {
				return true
			}
		case "apiVersion":
			if strings.HasPrefix(v.Value, group) {
				return true
			}
		}
	}
	return false
}

// Parse reads an image set in YAML or JSON. name is what the file is called in
// errors. An error is made of parts, one for everything that is wrong; see
// [document.Errors].
func Parse(name string, data []byte) (*Config, error) {
	if len(data) > maxSize {
		return nil, &document.Error{At: document.Position{File: name}, Text: "it is larger than 16 MiB"}
	}
	root, err := parseYAML(name, data)
	if err != nil {
		return nil, err
	}
	r := &reading{name: name, cfg: &Config{Name: name}}
	top := spot{r: r, n: root}
	if root.Kind != yaml.MappingNode {
		top.wrong("a table")
		return nil, errors.Join(r.errs...)
	}
	if r.header(top) {
		r.body(top)
		if r.nodes <= maxNodes {
			r.check()
		}
	}
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	return r.cfg, nil
}

// header reads which format it is. Without that nothing else can be judged.
func (r *reading) header(top spot) bool {
	apiVersion, kind := top.peek("apiVersion"), top.peek("kind")
	hint := "apiVersion is " + group + string(V2Alpha1) + " or " + group + string(V1Alpha2)
	if apiVersion == nil {
		top.fail(hint, "there is no apiVersion")
	} else {
		version, ok := strings.CutPrefix(apiVersion.text(), group)
		r.version = Version(version)
		if !ok || r.version != V1Alpha2 && r.version != V2Alpha1 {
			apiVersion.fail(hint, "%q is no version that is known", apiVersion.n.Value)
		}
	}
	switch {
	case kind == nil:
		top.fail("kind is "+kindMirror+" or "+kindDelete, "there is no kind")
	case kind.n.Value != kindDelete && kind.n.Value != kindMirror:
		kind.fail("kind is "+kindMirror+" or "+kindDelete, "%q is no image set", kind.n.Value)
	default:
		r.cfg.Delete = kind.n.Value == kindDelete
	}
	if r.cfg.Delete && r.version == V1Alpha2 {
		// The examples of oc-mirror have it so, which does not look.
		apiVersion.note("", "%s does not have the kind %s: it is read as %s", V1Alpha2, kindDelete, V2Alpha1)
		r.version = V2Alpha1
	}
	r.cfg.Version = r.version
	return len(r.errs) == 0
}

// peek returns a member of a table, nil where there is none.
func (s spot) peek(name string) *spot {
	for i := 0; i+1 < len(s.n.Content); i += 2 {
		if s.n.Content[i].Value == name {
			m := s.at(s.n.Content[i+1], s.join(name))
			return &m
		}
	}
	return nil
}

// body reads the rest.
func (r *reading) body(top spot) {
	ignore := func(spot) {}
	fields := []field{{name: "apiVersion", read: ignore}, {name: "kind", read: ignore}}
	name := "mirror"
	if r.cfg.Delete {
		name = "delete"
		fields = append(fields, field{name: name, read: r.mirror})
	} else {
		fields = append(fields,
			field{name: name, read: r.mirror},
			field{name: "archiveSize", read: r.archiveSize},
			field{name: "storageConfig", in: []Version{V1Alpha2}, read: r.storage})
	}
	top.table(fields...)
	if top.peek(name) == nil {
		top.fail("", "there is no %s", name)
	}
}

func (r *reading) archiveSize(s spot) {
	n := s.number()
	if n < 0 || n > 1<<20 {
		s.fail("", "%d GiB cannot be the size of an archive", n)
		return
	}
	r.cfg.ArchiveSize = n << 30
}

// storage reads where oc-mirror v1 kept what it had done.
func (r *reading) storage(s spot) {
	text, truth := func(m spot) { m.text() }, func(m spot) { m.boolean() }
	s.table(
		field{name: "registry", read: func(m spot) { m.table(field{name: "imageURL", read: text}, field{name: "skipTLS", read: truth}) }},
		field{name: "local", read: func(m spot) { m.table(field{name: "path", read: text}) }})
	s.note("what the other side has is said by --have or --since", "it is not needed here: no state is kept between runs")
}
