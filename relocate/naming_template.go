package relocate

import (
	"fmt"
	"path"
	"strings"
	"text/template"

	"github.com/entrepot/entrepot/ref"
)

// A Source is what a naming's template sees of an image.
type templateSource struct {
	Host   string // as a component of a path: "docker.io", "registry.example.com_5000"
	Path   string // "library/alpine"
	Dir    string // all but the last component: "library"; "" where there is one
	Base   string // the last component: "alpine"
	Flat   string // the path, joined by dashes
	MD5    string // 32 hexadecimal digits of the name "docker.io/library/alpine"
	SHA256 string // 32 hexadecimal digits of the same
}

// templateFuncs are what templates may call beside Go's own functions.
func templateFuncs() template.FuncMap {
	return template.FuncMap{
		"replace":    func(old, by, s string) string { return strings.ReplaceAll(s, old, by) },
		"trimPrefix": func(prefix, s string) string { return strings.TrimPrefix(s, prefix) },
		"trimSuffix": func(suffix, s string) string { return strings.TrimSuffix(s, suffix) },
		"lower":      strings.ToLower,
	}
}

// setTemplate makes the naming of a Go template. What it gives is the path
// below the prefix.
func (n *Naming) setTemplate(text string) error {
	t, err := template.New("naming").Option("missingkey=error").Funcs(templateFuncs()).Parse(text)
	if err != nil {
		return fmt.Errorf("naming template: %w", err)
	}
	n.name = func(r ref.Ref) (ref.Name, error) {
		var b strings.Builder
		if err := t.Execute(&b, newTemplateSource(r.Name)); err != nil {
			return ref.Name{}, fmt.Errorf("naming template: %w", err)
		}
		return n.below(b.String()), nil
	}
	// A field that does not exist shows in execution only.
	_, err = n.name(ref.Ref{Name: ref.Name{Host: ref.DockerHub, Path: "library/alpine"}})
	return err
}

func newTemplateSource(n ref.Name) templateSource {
	dir := path.Dir(n.Path)
	if dir == "." {
		dir = ""
	}
	return templateSource{
		Host: hostComponent(n.Host), Path: n.Path, Dir: dir, Base: path.Base(n.Path),
		Flat: strings.ReplaceAll(n.Path, "/", "-"), MD5: md5Hex(n.String()), SHA256: sha256Hex(n.String()),
	}
}
