package catalog

import (
	"archive/tar"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
)

// A change is what one layer does to a tree. Its whiteouts are about the layers below
// it alone, wherever in the archive they stand.
type change struct {
	*tree
	nodes map[string]node
	dirs  map[string]dir
	// Of the lower layers:
	gone     []string // paths that are no longer there, with all below
	hidden   []string // directories that are empty
	replaced []string // paths that are directories now
}

// entry notes one entry of the layer.
func (c *change) entry(h *tar.Header, content io.Reader) error {
	name := cleanPath(h.Name)
	above, base := path.Split(name)
	above = strings.TrimSuffix(above, "/")
	if base == opaque {
		c.hidden = append(c.hidden, above)
		return nil
	}
	if hidden, ok := strings.CutPrefix(base, whiteout); ok {
		c.gone = append(c.gone, path.Join(above, hidden))
		return nil
	}
	if !c.concerns(name) {
		return nil
	}
	if h.Typeflag == tar.TypeDir {
		c.dirs[name] = dir{mode: h.Mode, uid: h.Uid, gid: h.Gid}
		c.replaced = append(c.replaced, name)
		delete(c.nodes, name)
		return nil
	}
	c.imply(above)
	c.gone = append(c.gone, name)
	drop(c.nodes, name)
	drop(c.dirs, name)
	if !below(name, c.configs) && !below(c.configs, name) {
		return nil
	}
	n, err := c.node(h, content)
	c.nodes[name] = n
	return err
}

// concerns reports whether a path is at, above or below a directory that is looked
// at.
func (t *tree) concerns(name string) bool {
	return slices.ContainsFunc(append([]string{t.configs}, t.caches...), func(d string) bool { return below(name, d) || below(d, name) })
}

// imply notes directories that have no entry of their own, because something is in
// them.
func (c *change) imply(name string) {
	for ; name != "" && name != "."; name = path.Dir(name) {
		_, here := c.dirs[name]
		if _, lower := c.tree.dirs[name]; !here && !lower {
			c.dirs[name] = dir{mode: 0o755}
		}
	}
}

// node returns what an entry that is no directory is. A hard link is what it leads
// to, which has to be in the catalog too.
func (c *change) node(h *tar.Header, content io.Reader) (node, error) {
	switch h.Typeflag {
	case tar.TypeReg:
		data, err := io.ReadAll(io.LimitReader(content, c.left+1))
		if c.left -= int64(len(data)); err == nil && c.left < 0 {
			err = oci.Errorf(oci.ErrTooLarge, "", "the catalog is larger than %d bytes", int64(MaxSize))
		}
		return node{data: data}, err
	case tar.TypeSymlink:
		to := h.Linkname
		if !path.IsAbs(to) {
			to = path.Join("/", path.Dir(cleanPath(h.Name)), to)
		}
		return node{link: cleanPath(to)}, nil
	case tar.TypeLink:
		to := cleanPath(h.Linkname)
		if n, ok := c.nodes[to]; ok {
			return n, nil
		}
		if n, ok := c.tree.nodes[to]; ok {
			return n, nil
		}
		return node{}, fmt.Errorf("it is a link to %s, which is no file of the catalog", h.Linkname)
	}
	return node{}, fmt.Errorf("it is neither a file nor a directory nor a link (type %q)", h.Typeflag)
}

// apply makes the change.
func (c *change) apply() {
	for _, name := range c.gone {
		drop(c.tree.nodes, name)
		drop(c.tree.dirs, name)
	}
	for _, name := range c.hidden {
		inside := func(p string) bool { return p != name && below(p, name) }
		maps.DeleteFunc(c.tree.nodes, func(p string, _ node) bool { return inside(p) })
		maps.DeleteFunc(c.tree.dirs, func(p string, _ dir) bool { return inside(p) })
	}
	for _, name := range c.replaced {
		delete(c.tree.nodes, name)
	}
	maps.Copy(c.tree.nodes, c.nodes)
	maps.Copy(c.tree.dirs, c.dirs)
}

// drop forgets a path and all below.
func drop[V any](m map[string]V, name string) {
	if len(m) > 0 {
		maps.DeleteFunc(m, func(p string, _ V) bool { return below(p, name) })
	}
}

// files returns the files of the catalog, by paths relative to its directory. A link
// to one of them is one more; one to anything else is an error.
func (t *tree) files() ([]File, error) {
	var all []File
	for name, n := range t.nodes {
		if below(t.configs, name) {
			return nil, fmt.Errorf("its directory /%s is none: /%s is a file or a link", t.configs, name)
		}
		for hops := 0; n.link != ""; hops++ {
			to, ok := t.nodes[n.link]
			if !ok || hops > 40 {
				return nil, fmt.Errorf("/%s is a link to /%s, which is no file of the catalog", name, n.link)
			}
			n = to
		}
		all = append(all, File{Path: strings.TrimPrefix(name, t.configs+"/"), Data: n.data})
	}
	return all, nil
}
