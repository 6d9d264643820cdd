package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// check walks the directory of a store, knowing nothing but the layout, and
// returns what it finds broken of the invariants I1 to I3 of the package
// comment, and of what follows from them.
func check(dir string) error {
	c := checker{dir: dir, pins: map[string]bool{}, blobs: map[string]int64{}, gone: map[string]bool{}}
	for prefix, visit := range map[string]func(rel string){"c/b/": c.blob, "v/b/": c.blob} {
		c.walk(prefix, visit)
	}
	c.walk("v/c/", c.marker)
	c.walk("trash/b/", c.trash)
	c.walk("v/m/", c.pin)
	c.walk("v/t/", c.tag)
	c.walk("v/l/", c.link)
	return errors.Join(c.bad...)
}

type checker struct {
	dir   string
	bad   []error
	blobs map[string]int64 // :: name of a blob below v/b → its size
	pins  map[string]bool  // :: repository and manifest → pinned
	gone  map[string]bool  // :: name of a blob that was condemned or collected → true
}

func (c *checker) fail(rel, format string, args ...any) {
	c.bad = append(c.bad, fmt.Errorf("%s: %s", rel, fmt.Sprintf(format, args...)))
}

func (c *checker) walk(prefix string, visit func(rel string)) {
	root := filepath.Join(c.dir, prefix)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == root {
			return nil
		}
		if err == nil && !e.IsDir() {
			rel := strings.TrimPrefix(path, c.dir+"/")
			if err := Key(rel).Check(); err != nil {
				c.fail(rel, "%v", err)
			}
			visit(rel)
		}
		return err
	})
	if err != nil {
		c.bad = append(c.bad, err)
	}
}

// blob holds I1: the bytes are those of the name.
func (c *checker) blob(rel string) {
	parts := strings.Split(rel, "/") // c b sha256 ab hex[.inc]
	if len(parts) != 5 {
		c.fail(rel, "no place for a blob")
		return
	}
	hex, i, hasInc := strings.Cut(parts[4], ".")
	d := oci.Digest(parts[2] + ":" + hex)
	b, err := os.ReadFile(filepath.Join(c.dir, rel))
	switch {
	case err != nil:
		c.fail(rel, "%v", err)
	case !strings.HasPrefix(hex, parts[3]):
		c.fail(rel, "in another shard")
	case hasInc != (parts[0] == "v") || hasInc && !validInc(i):
		c.fail(rel, "its incarnation is not as it should be")
	case oci.FromBytes(b, d) != d:
		c.fail(rel, "holds other bytes (%d of them)", len(b))
	}
	c.blobs[parts[4]] = int64(len(b))
}

// pin holds I3: everything that is pinned exists.
func (c *checker) pin(rel string) {
	repo, rest, _ := strings.Cut(strings.TrimPrefix(rel, "v/m/"), "/_m/")
	name, _, _ := strings.Cut(rest, "/")
	d, err := unflat(name)
	if err != nil {
		c.fail(rel, "%v", err)
		return
	}
	var p pin
	b, err := os.ReadFile(filepath.Join(c.dir, rel))
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		c.fail(rel, "%v", err)
		return
	}
	if p.inc(d) == "" {
		c.fail(rel, "does not pin the manifest itself")
	}
	for _, x := range p.Pins {
		size, ok := c.blobs[x.Digest.Encoded()+"."+string(x.Inc)]
		if !ok || size != x.Size {
			c.fail(rel, "pins %s.%s of %d bytes; there: %v, of %d", x.Digest, x.Inc, x.Size, ok, size)
		}
	}
	if p.Subject != "" {
		k, _ := vaultReferrerKey(ref.Name{Path: repo}, p.Subject, d)
		if _, err := os.Lstat(filepath.Join(c.dir, string(k))); err != nil {
			c.fail(rel, "its subject does not know it: %v", err)
		}
	}
	c.pins[repo+"@"+string(d)] = true
}

// tag holds that no tag points at nothing.
func (c *checker) tag(rel string) {
	repo, name, _ := strings.Cut(strings.TrimPrefix(rel, "v/t/"), "/_t/")
	if _, ok := unescapeTag(name); !ok {
		c.fail(rel, "not a tag's name")
	}
	var r register
	b, err := os.ReadFile(filepath.Join(c.dir, rel))
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		c.fail(rel, "%v", err)
	} else if !c.pins[repo+"@"+string(r.Digest)] {
		c.fail(rel, "points at %s, which is not there", r.Digest)
	}
}

func (c *checker) marker(rel string) {
	i, ok := parseIncarnation(rel)
	if !ok {
		c.fail(rel, "not a mark's name")
	}
	c.gone[i.digest.Encoded()+"."+string(i.inc)] = true
}

func (c *checker) trash(rel string) {
	_, i, ok := parseTrash(rel)
	if !ok {
		c.fail(rel, "not a name of the trash")
	}
	c.gone[i.digest.Encoded()+"."+string(i.inc)] = true
}

func (c *checker) link(rel string) {
	_, rest, _ := strings.Cut(strings.TrimPrefix(rel, "v/l/"), "/_l/")
	name, i, _ := strings.Cut(rest, "/")
	d, err := unflat(name)
	i, _, _ = strings.Cut(i, ".")
	if err != nil || !validInc(i) {
		c.fail(rel, "not a link's name")
	} else if _, ok := c.blobs[d.Encoded()+"."+i]; !ok && !c.gone[d.Encoded()+"."+i] {
		c.fail(rel, "links to nothing")
	}
}
