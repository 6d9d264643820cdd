package catalog

import (
	"bytes"
	"cmp"
	"path"
	"slices"
	"strings"
)

// Files returns the catalog as files, sorted by their paths: a directory for each
// package with a catalog.json or a catalog.yaml, or both, as its objects came;
// objects of no package are in such files at the top. Objects keep their order.
func (c *Catalog) Files() []File {
	byPath := map[string]*bytes.Buffer{}
	for _, o := range c.objects {
		name := path.Join(o.owner(), "catalog.json")
		if o.yaml {
			name = path.Join(o.owner(), "catalog.yaml")
		}
		b := byPath[name]
		if b == nil {
			b = new(bytes.Buffer)
			byPath[name] = b
		}
		if o.yaml && b.Len() > 0 && !bytes.HasPrefix(o.raw, []byte("---")) {
			b.WriteString("---\n")
		}
		b.Write(o.raw)
		if !bytes.HasSuffix(o.raw, []byte("\n")) {
			b.WriteByte('\n')
		}
	}
	files := make([]File, 0, len(byPath))
	for name, b := range byPath {
		files = append(files, File{Path: name, Data: b.Bytes()})
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// owner returns the name of the package that an object belongs to, or is; "" where
// there is none.
func (o *object) owner() string {
	if o.Schema == schemaPackage {
		return o.Name
	}
	return o.Package
}

// A Summary is what a package has.
type Summary struct {
	Name           string
	DefaultChannel string
	Channels       []ChannelSummary // sorted by name
}

// A ChannelSummary is what a channel has.
type ChannelSummary struct {
	Name    string
	Entries []string // the names of its bundles, as the catalog has them in order
}

// Summary returns what the catalog has, sorted by package.
func (c *Catalog) Summary() []Summary {
	var all []Summary
	for _, p := range c.sorted() {
		s := Summary{Name: p.Name, DefaultChannel: p.defaultChannel}
		for _, ch := range p.channels {
			names := make([]string, len(ch.entries))
			for i, e := range ch.entries {
				names[i] = e.Name
			}
			s.Channels = append(s.Channels, ChannelSummary{Name: ch.Name, Entries: names})
		}
		slices.SortFunc(s.Channels, func(a, b ChannelSummary) int { return cmp.Compare(a.Name, b.Name) })
		all = append(all, s)
	}
	return all
}
