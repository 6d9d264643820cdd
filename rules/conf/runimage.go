package conf

import (
	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/runimage"
)

// Run images of buildpacks: run.toml of a builder, its older stack.toml, and the
// mirrors that pack's user has added. Sources: buildpacks/spec platform.md
// (run.toml, stack.toml), lifecycle platform/files (Run, Stack), pack
// internal/config (Config).

// RunImages reads a run.toml: the entries of [[images]], or the one of
// [run-image] in a stack.toml. name is what errors call the file. Unknown keys
// are no error; whatever else is wrong is a [*rules.Problem] with its line.
func RunImages(name string, text []byte) ([]runimage.Image, error) {
	r := &reading{src: Source{Format: "run.toml", Name: name, Text: text}, d: rules.Native()}
	f, err := r.single()
	if err != nil {
		return nil, err
	}
	root := r.runRoot(f)
	var images []runimage.Image
	if root != nil {
		tables := r.tables(f, root, "images")
		if t := r.table(f, root, "run-image"); t != nil {
			tables = append(tables, t)
		}
		for _, t := range tables {
			images = append(images, r.runImage(f, t))
		}
	}
	if wrong := r.takeWrong(); wrong != nil {
		r.refuse(*wrong)
	}
	if r.cfg.Refused == nil && len(images) == 0 {
		r.refuse(r.problem(f, pos{}, "run.toml has a table [[images]] for each run image", "no run image is named"))
	}
	if r.cfg.Refused != nil {
		return nil, r.cfg.Refused
	}
	return images, nil
}

// runRoot parses the file; nil where it is none.
func (r *reading) runRoot(f *file) *node {
	if r.cfg.Refused != nil {
		return nil
	}
	root, err := parseTOML(f.data)
	if err != nil {
		r.refuse(r.syntax(f, err))
		return nil
	}
	return root
}

// runImage reads one table.
func (r *reading) runImage(f *file, t *node) runimage.Image {
	img := runimage.Image{Image: r.str(f, t, "image")}
	for _, m := range r.strs(f, t, "mirrors") {
		img.Mirrors = append(img.Mirrors, m.text)
	}
	if img.Image == "" && len(r.wrong) == 0 {
		r.refuse(r.problem(f, t.at, `write image = "…"`, "a run image has no name"))
	}
	return img
}

// LocalRunImages returns the mirrors of run images that the user of pack has
// added: the tables [[run-images]] of its config.toml. Src is read as in [Read];
// of another format it has none.
func LocalRunImages(src Source) ([]runimage.Image, error) {
	if src.Format != "pack" {
		return nil, nil
	}
	d, err := rules.DialectOf("pack")
	if err != nil {
		return nil, err
	}
	r := &reading{src: src, d: d, fold: true}
	f, err := r.packFile()
	if err != nil || f == nil {
		return nil, err
	}
	root := r.runRoot(f)
	if root == nil {
		return nil, nil // reading the rules says why
	}
	var images []runimage.Image
	for _, t := range r.tables(f, root, "run-images") {
		img := runimage.Image{Image: r.str(f, t, "image")}
		for _, m := range r.strs(f, t, "mirrors") {
			img.Mirrors = append(img.Mirrors, m.text)
		}
		images = append(images, img)
	}
	return images, nil
}
