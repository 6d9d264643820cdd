package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/entrepot/entrepot/catalog"
	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// kindCatalog is the kind of operator catalogs.
const kindCatalog document.Kind = "catalog"

// layoutInput is how an input names an image in a layout, as oc-mirror writes it.
const layoutInput = "oci://"

// A catalogInput is an operator catalog among the inputs: a directory or a file, or
// the image that has it. Nothing in it is rewritten: its bundles are signed by their
// digests.
type catalogInput struct {
	name  string
	c     *catalog.Catalog
	image *catalog.Image // nil for files
	dir   string         // of the layout that the image is in; "" for a registry
	told  bool           // that it is not rewritten
}

// left tells, once, that a catalog is not rewritten.
func (c *catalogInput) left(env Env) {
	if !c.told {
		fmt.Fprintf(env.Stderr, "entrepot: %s is left as it is: mirror configuration leads to its images, see --emit\n", c.name)
	}
	c.told = true
}

// isCatalog reports whether a file, a directory or standard input is read as a
// catalog.
func (f *inputFlags) isCatalog(env *Env, arg string) bool {
	if f.kind != "" {
		return f.kind == string(kindCatalog)
	}
	if arg == "-" {
		in := bufio.NewReaderSize(env.Stdin, 64<<10)
		start, _ := in.Peek(64 << 10) // whoever reads on gets the error
		env.Stdin = in
		return catalog.Looks(start)
	}
	info, err := os.Stat(arg)
	switch {
	case err != nil || !info.IsDir() && !info.Mode().IsRegular():
		return false // a pipe is read once, by who knows what it is
	case info.IsDir():
		return catalog.LooksDir(os.DirFS(arg))
	}
	file, err := os.Open(arg)
	if err != nil {
		return false
	}
	defer file.Close()
	start, err := io.ReadAll(io.LimitReader(file, 4<<20)) // opm's YAML has the schema last, behind an icon
	return err == nil && catalog.Looks(start)
}

// catalogFiles reads a catalog in a directory, in a file, or from standard input.
func catalogFiles(env Env, arg string) (*catalogInput, error) {
	in := &catalogInput{name: arg}
	info, err := os.Stat(arg)
	switch {
	case arg == "-":
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(env.Stdin, catalog.MaxSize+1)); err == nil && len(data) > catalog.MaxSize {
			err = fmt.Errorf("the catalog is larger than %d bytes", int64(catalog.MaxSize))
		}
		if err == nil {
			in.c, err = catalog.ReadFile(catalog.File{Path: "stdin", Data: data})
		}
	case err != nil:
	case info.IsDir():
		in.c, err = catalog.Read(os.DirFS(arg))
	default:
		var data []byte
		if data, err = os.ReadFile(arg); err == nil {
			in.c, err = catalog.ReadFile(catalog.File{Path: path.Base(filepath.ToSlash(arg)), Data: data})
		}
	}
	if err != nil {
		return nil, inputError(fmt.Errorf("%s: %w", arg, err))
	}
	return in, nil
}

// catalogs returns what reads the catalog in an image: of a registry, as images are
// read, or of a layout.
func (t *transferFlags) catalogs(ctx context.Context, env Env) func(string) (*catalogInput, error) {
	return func(arg string) (*catalogInput, error) {
		x, err := t.open(env)
		if err != nil {
			return nil, err
		}
		defer x.close()
		return catalogImageOf(ctx, x.cfg.Source, arg)
	}
}

// catalogImageOf reads the catalog in an image of a layout, or of a registry.
func catalogImageOf(ctx context.Context, from oci.Reader, arg string) (*catalogInput, error) {
	if strings.HasPrefix(arg, layoutInput) {
		return catalogLayout(ctx, arg)
	}
	r, err := ref.Parse(arg)
	if err != nil {
		return nil, err
	}
	c, image, err := catalog.FromImage(ctx, from, r)
	return &catalogInput{name: arg, c: c, image: image}, err
}

// catalogLayout reads the catalog in an image of a layout.
func catalogLayout(ctx context.Context, arg string) (*catalogInput, error) {
	at, err := parseLocation("oci:" + strings.TrimPrefix(arg, layoutInput))
	if err != nil {
		return nil, err
	}
	l, err := layout.Open(at.dir)
	if err != nil {
		return nil, failure(fmt.Errorf("%s: %w", arg, err), "")
	}
	defer l.Close()
	c, image, err := catalog.FromImage(ctx, l, at.ref)
	if err != nil {
		return nil, failure(fmt.Errorf("%s: %w", arg, err), "")
	}
	return &catalogInput{name: arg, c: c, image: image, dir: at.dir}, nil
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// source is what the catalog's image is called and where it is read: an image of a
// layout has the name of its directory, at no registry.
func (c *catalogInput) source() ref.Ref {
	r := c.image.Ref
	if c.dir != "" {
		base := notInNames.ReplaceAllString(strings.ToLower(filepath.Base(filepath.Clean(c.dir))), "-")
		r.Name = ref.Name{Host: "localhost", Path: strings.Trim(base, "-")}
		if r.Path == "" {
			r.Path = "catalog"
		}
		if r.Tag == "" {
			r.Tag = "latest"
		}
	}
	r.Digest = c.image.Digest
	return r
}

// open makes the layout that the catalog's image is in, if any, the source of it.
func (c *catalogInput) open(a *oci.Split) (close func(), err error) {
	close = func() {}
	if c.dir == "" {
		return close, nil
	}
	name := c.source().Name
	if a.At[name] != nil {
		return close, failure(fmt.Errorf("%s: another input is called %s too", c.name, name), "give its directory another name")
	}
	l, err := layout.Open(c.dir)
	if err != nil {
		return close, fmt.Errorf("%s: %w", c.name, err)
	}
	a.At[name] = l
	return func() { l.Close() }, nil // it was only read
}

// A catalogMention is one mention of an image in a catalog.
type catalogMention struct {
	relocate.Mention
	at    document.Position
	field string
}

// mentions returns the images that a catalog names, and its own, with what is not
// right about them.
func (c *catalogInput) mentions() ([]catalogMention, []catalog.Problem) {
	var all []catalogMention
	if c.image != nil {
		r := c.source()
		m := relocate.Mention{Written: r.String(), Role: relocate.Catalog, At: c.name}
		if c.dir == "" { // as it was written, and no other than the one that was read
			r.Digest = c.image.Ref.Digest
			m.Written, m.Digest = r.String(), c.image.Digest
			if r.Digest != "" {
				m.Digest = ""
			}
		}
		all = append(all, catalogMention{Mention: m, at: document.Position{File: c.name}})
	}
	images, problems := c.c.Images()
	for _, i := range images {
		role := relocate.RelatedImage
		if i.Bundle {
			role = relocate.OperatorBundle
		}
		for _, n := range i.Needs {
			field := "image"
			if n.Name != "" || !i.Bundle {
				field = "relatedImages." + n.Name
			}
			at := c.place(n.At)
			all = append(all, catalogMention{
				Mention: relocate.Mention{Written: i.Ref, Role: role, At: at.String()},
				at:      at, field: n.Bundle + ": " + strings.TrimSuffix(field, "."),
			})
		}
	}
	return all, problems
}

// place returns where a line of the catalog is, for the user.
func (c *catalogInput) place(at string) document.Position {
	p := document.Position{File: at}
	if i := strings.LastIndexByte(at, ':'); i >= 0 {
		p.File = at[:i]
		p.Line, _ = strconv.Atoi(at[i+1:]) // 0 is the file as a whole
	}
	switch {
	case c.image != nil:
		p.File = c.name + c.image.Configs + "/" + p.File
	case c.name != "-" && path.Base(filepath.ToSlash(c.name)) != p.File:
		p.File = filepath.Join(c.name, filepath.FromSlash(p.File))
	default:
		p.File = c.name
	}
	return p
}

// warn tells what is not right about the catalog.
func (c *catalogInput) warn(env Env) {
	if _, problems := c.mentions(); len(problems) > 0 {
		for _, p := range problems {
			fmt.Fprintf(env.Stderr, "entrepot: warning: %s: %s\n", c.name, p)
		}
	}
}

// ofCatalogs returns the mentions of the catalogs among the inputs, where each image
// is now.
func (s *inputSet) ofCatalogs() []relocate.Mention {
	var all []relocate.Mention
	for _, c := range s.catalogs {
		mentions, _ := c.mentions()
		for _, m := range mentions {
			if from := document.Through(m.Written, s.maps...); from != m.Written {
				m.From = from
			}
			all = append(all, m.Mention)
		}
	}
	return all
}

// catalogJSON returns what inspect prints of the catalogs among the inputs.
func (s *inputSet) catalogJSON() []mentionJSON {
	var all []mentionJSON
	for _, c := range s.catalogs {
		mentions, _ := c.mentions()
		for _, m := range mentions {
			line := mention(document.Image{Ref: m.Written, Digest: m.Digest, At: m.at, Field: m.field, Kind: kindCatalog}, document.Through(m.Written, s.maps...))
			line.Role = string(m.Role)
			all = append(all, line)
		}
	}
	return all
}
