package registry

import (
	"errors"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// ownerOf returns the owner of a host and all spellings of its name.
func ownerOf(configured, name, port string) (o owner, names []string) {
	o, names = owner{name: configured, key: name}, []string{name}
	if port != "" && port != "443" {
		o.key += ":" + port
	}
	if slices.Contains(hubHosts, name) {
		o.hub, o.key, names = true, ref.DockerHub, hubHosts
	}
	return o, names
}

// addArchived adds a repository of an archive, and its registry where that is no
// upstream.
func (t *table) addArchived(n ref.Name) error {
	name, port, ok := splitHost(n.Host)
	if !ok || !ref.ValidPath(n.Path) {
		return errors.New("the name is none of a repository")
	}
	o, names := ownerOf(n.Host, name, port)
	o.only = true
	key := ref.Name{Host: o.key, Path: n.Path}
	if t.external[o.key] {
		key.Host = "" // one of our own, which is asked for by its path alone
	}
	if _, taken := t.archived[key]; taken {
		return errors.New("it is named twice")
	}
	t.archived[key] = n
	if _, known := t.hosts[o.key]; known || key.Host == "" {
		return nil
	}
	if _, known := t.wildcard(name, port); known {
		return nil
	}
	for _, name := range names {
		keys := hostKeys(name, port, "443")
		for _, key := range keys {
			t.hosts[key] = o
		}
		if _, alias := t.prefixes[name]; !alias && keys[0] == name && ref.ValidPath(name) {
			t.prefixes[name], t.depth = o, max(t.depth, 1)
		}
	}
	return nil
}

// archivedAt returns the archived repository that a path names by itself: with
// its registry before it, or one of ours.
func (t *table) archivedAt(path string) (ref.Name, bool) {
	if len(t.archived) == 0 {
		return ref.Name{}, false
	}
	host, rest, _ := strings.Cut(path, "/")
	if n, ok := t.archived[ref.Name{Host: host, Path: rest}]; ok {
		return n, true
	}
	n, ok := t.archived[ref.Name{Path: path}]
	return n, ok
}

// allowArchived refuses what nobody may do to an archive.
func (c *call) allowArchived() error {
	switch c.verb {
	case push:
		return oci.Errorf(oci.ErrDenied, oci.CodeDenied, "read-only namespace: %s belongs to an archive", c.at.name)
	case remove:
		return &methodError{"GET, HEAD"}
	}
	return nil
}
