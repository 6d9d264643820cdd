package catalog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// readFiles reads the files of a catalog, several at a time.
func readFiles(files []File) (*Catalog, error) {
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	ignored := newIgnore(files)
	files = slices.DeleteFunc(files, func(f File) bool { return path.Base(f.Path) == indexIgnore || ignored.match(f.Path) })
	objects := make([][]*object, len(files))
	errs := make([]error, len(files))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(len(files), runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(files)); i = next.Add(1) - 1 {
				objects[i], errs[i] = readObjects(files[i])
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c, err := join(slices.Concat(objects...))
	if err == nil && len(c.objects) == 0 {
		err = errors.New("the catalog is empty: no file has an object")
	}
	return c, err
}

// readObjects reads the objects of a file.
func readObjects(f File) ([]*object, error) {
	all, err := split(f)
	errs := []error{err}
	for _, o := range all {
		errs = append(errs, o.read())
	}
	return all, errors.Join(errs...)
}

// contents are the members of objects that are read, of all schemas: large ones are
// gone through once.
type contents struct {
	*object
	DefaultChannel string // of a package
	Entries        []struct {
		entry       // of a channel
		deprecation // of deprecations
	}
	Image         string // of a bundle, as what follows
	RelatedImages []relatedImage
	Properties    []property
}

// read finds out what an object is. Of one with a schema that is not known only that
// has to be right.
func (o *object) read() error {
	v := contents{object: o}
	if err := decode(o, &v); err != nil && (o.known() || o.Schema == "") {
		return err
	}
	switch o.Schema {
	case "":
		return fmt.Errorf("%s: an object has no schema", o.at)
	case schemaPackage:
		if !validName(o.Name) {
			return fmt.Errorf("%s: %q is not the name of a package", o.at, o.Name)
		}
		o.content = v.DefaultChannel
	case schemaChannel:
		ch := &channel{object: o}
		for _, e := range v.Entries {
			ch.entries = append(ch.entries, e.entry)
		}
		o.content = ch
	case schemaBundle:
		b := &bundle{object: o, image: v.Image, related: v.RelatedImages}
		o.content = b
		return b.describe(v.Properties)
	}
	return nil
}

// known reports whether an object has a schema that a catalog gives a meaning to.
func (o *object) known() bool {
	return slices.Contains([]string{schemaPackage, schemaChannel, schemaBundle, schemaDeprecations}, o.Schema)
}

// validName reports whether a package's name is one: it becomes a directory's. OLM
// wants a DNS label; some old packages are no such.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) < 254 && !strings.ContainsAny(name, "/\\\x00")
}

// join makes a catalog of objects. What belongs to a package may stand before it.
func join(objects []*object) (*Catalog, error) {
	c := &Catalog{objects: objects, byName: map[string]*pkg{}}
	var errs []error
	for _, o := range objects {
		if o.Schema != schemaPackage {
			continue
		}
		if first := c.byName[o.Name]; first != nil {
			errs = append(errs, fmt.Errorf("%s: the package %q is there twice, first at %s", o.at, o.Name, first.at))
			continue
		}
		c.byName[o.Name] = &pkg{object: o, defaultChannel: o.content.(string), bundles: map[string]*bundle{}}
	}
	for _, o := range objects {
		if o.Schema == schemaPackage || !o.known() {
			continue
		}
		err := fmt.Errorf("it belongs to the package %q, which is not in the catalog", o.Package)
		if p := c.byName[o.Package]; p != nil {
			err = p.add(o)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s %q: %w", o.at, o.Schema, o.Name, err))
		}
	}
	return c, errors.Join(errs...)
}

// add gives a package what belongs to it.
func (p *pkg) add(o *object) error {
	var first *object
	switch v := o.content.(type) {
	case *channel:
		if ch := p.channel(v.Name); ch != nil {
			first = ch.object
		}
		p.channels = append(p.channels, v)
	case *bundle:
		if b := p.bundles[v.Name]; b != nil {
			first = b.object
		}
		p.bundles[v.Name] = v
	}
	if first != nil {
		return fmt.Errorf("package %q has it twice, first at %s", p.Name, first.at)
	}
	return nil
}
