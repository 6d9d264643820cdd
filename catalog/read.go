package catalog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// MaxSize is the largest size of a catalog's files together, in bytes. The largest
// public ones have some 300 MB.
const MaxSize = 1 << 30

// indexIgnore is the name of the file that says, in the language of .gitignore, which
// files of its directory are no part of the catalog.
const indexIgnore = ".indexignore"

// Read reads the catalog in a directory: all files below it that no .indexignore
// excludes, each a sequence of objects in JSON or in YAML, as opm does. Errors name
// file and line; one for everything that is wrong.
func Read(dir fs.FS) (*Catalog, error) {
	var files []File
	left := int64(MaxSize)
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := dir.Open(name)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(io.LimitReader(f, left+1))
		if left -= int64(len(data)); err == nil && left < 0 {
			err = fmt.Errorf("the catalog is larger than %d bytes", int64(MaxSize))
		}
		files = append(files, File{Path: name, Data: data})
		return errors.Join(err, f.Close())
	})
	if err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	return readFiles(files)
}

// ReadFile reads the catalog in one file.
func ReadFile(f File) (*Catalog, error) { return readFiles([]File{f}) }

// readFiles reads the files of a catalog.
func readFiles(files []File) (*Catalog, error) {
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	ignored := newIgnore(files)
	r := reading{c: &Catalog{byName: map[string]*pkg{}}}
	for _, f := range files {
		if path.Base(f.Path) == indexIgnore || ignored.match(f.Path) {
			continue
		}
		objects, err := split(f)
		if err != nil {
			r.errs = append(r.errs, err)
		}
		for _, o := range objects {
			r.read(o)
		}
	}
	r.join()
	if err := errors.Join(r.errs...); err != nil {
		return nil, err
	}
	if len(r.c.objects) == 0 {
		return nil, errors.New("the catalog is empty: no file has an object")
	}
	return r.c, nil
}

// reading is a catalog while it is read. What belongs to a package may come before
// it, so it is joined at the end.
type reading struct {
	c            *Catalog
	channels     []*channel
	bundles      []*bundle
	deprecations []*deprecations
	errs         []error
}

func (r *reading) fail(o *object, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s: %s %q: "+format, append([]any{o.at, o.Schema, o.Name}, args...)...))
}

// read notes one object.
func (r *reading) read(o *object) {
	if err := decode(o, o); err != nil {
		r.errs = append(r.errs, err)
		return
	}
	r.c.objects = append(r.c.objects, o)
	var err error
	switch o.Schema {
	case "":
		err = fmt.Errorf("%s: an object has no schema", o.at)
	case schemaPackage:
		err = r.readPackage(o)
	case schemaChannel:
		err = r.readChannel(o)
	case schemaBundle:
		err = r.readBundle(o)
	case schemaDeprecations:
		err = r.readDeprecations(o)
	}
	if err != nil {
		r.errs = append(r.errs, err)
	}
}

func (r *reading) readPackage(o *object) error {
	var v struct {
		DefaultChannel string `json:"defaultChannel"`
	}
	if err := decode(o, &v); err != nil {
		return err
	}
	if !validName(o.Name) {
		return fmt.Errorf("%s: %q is not the name of a package", o.at, o.Name)
	}
	if first := r.c.byName[o.Name]; first != nil {
		return fmt.Errorf("%s: the package %q is there twice, first at %s", o.at, o.Name, first.at)
	}
	r.c.byName[o.Name] = &pkg{object: o, defaultChannel: v.DefaultChannel, bundles: map[string]*bundle{}}
	return nil
}

// validName reports whether a package's name is one: it becomes a directory's. OLM
// wants a DNS label; some old packages are no such.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) < 254 && !strings.ContainsAny(name, "/\\\x00")
}

func (r *reading) readChannel(o *object) error {
	var v struct {
		Entries []entry `json:"entries"`
	}
	if err := decode(o, &v); err != nil {
		return err
	}
	r.channels = append(r.channels, &channel{object: o, entries: v.Entries})
	return nil
}

func (r *reading) readBundle(o *object) error {
	var v struct {
		Image         string         `json:"image"`
		RelatedImages []relatedImage `json:"relatedImages"`
		Properties    []property     `json:"properties"`
	}
	if err := decode(o, &v); err != nil {
		return err
	}
	b := &bundle{object: o, image: v.Image, related: v.RelatedImages}
	r.bundles = append(r.bundles, b)
	return b.describe(v.Properties)
}

func (r *reading) readDeprecations(o *object) error {
	var v struct {
		Entries []deprecation `json:"entries"`
	}
	if err := decode(o, &v); err != nil {
		return err
	}
	r.deprecations = append(r.deprecations, &deprecations{object: o, entries: v.Entries})
	return nil
}

// join gives each package what belongs to it.
func (r *reading) join() {
	for _, ch := range r.channels {
		if p := r.owner(ch.object); p == nil {
			continue
		} else if first := p.channel(ch.Name); first != nil {
			r.fail(ch.object, "package %q has it twice, first at %s", p.Name, first.at)
		} else {
			p.channels = append(p.channels, ch)
		}
	}
	for _, b := range r.bundles {
		if p := r.owner(b.object); p == nil {
			continue
		} else if first := p.bundles[b.Name]; first != nil {
			r.fail(b.object, "package %q has it twice, first at %s", p.Name, first.at)
		} else {
			p.bundles[b.Name] = b
		}
	}
	for _, d := range r.deprecations {
		if p := r.owner(d.object); p != nil {
			p.deprecations = append(p.deprecations, d)
		}
	}
}

// owner returns the package that an object belongs to, nil where there is none.
func (r *reading) owner(o *object) *pkg {
	p := r.c.byName[o.Package]
	if p == nil {
		r.fail(o, "it belongs to the package %q, which is not in the catalog", o.Package)
	}
	return p
}
