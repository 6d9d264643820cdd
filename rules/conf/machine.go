package conf

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/rules"
)

// A location says where a client looks for its configuration on a machine.
type location struct {
	client string
	format string
	// paths are what shows that the client is there, below the root: files and
	// directories. A leading "~/" is the user's home, "$NAME/" the directory
	// that a variable names.
	paths []string
	// vars are variables of the environment that configure the client.
	vars []string
	// system says that the format's reader finds all of its places itself;
	// otherwise the first of paths that is there is the file.
	system bool
	// like names a client that reads the same files in the same way and that
	// stands for this one where all clients of a machine are listed.
	like string
}

// locations is the table of places, in the order of the documentation.
func locations() []location {
	containers := []string{
		"$XDG_CONFIG_HOME/containers/registries.conf", "~/.config/containers/registries.conf",
		"$XDG_CONFIG_HOME/containers/registries.conf.d", "~/.config/containers/registries.conf.d",
		"etc/containers/registries.conf", "etc/containers/registries.conf.d",
		"usr/share/containers/registries.conf", "usr/share/containers/registries.conf.d",
	}
	certs := []string{"etc/containerd/certs.d", "etc/docker/certs.d"}
	toml := []string{"etc/containerd/config.toml"}
	daemon := []string{"etc/docker/daemon.json"}
	return []location{
		{client: "podman", format: "registries.conf", paths: containers, system: true},
		{client: "skopeo", format: "registries.conf", paths: containers, system: true, like: "podman"},
		{client: "buildah", format: "registries.conf", paths: containers, system: true, like: "podman"},
		{client: "cri-o", format: "registries.conf", paths: containers, system: true, like: "podman"},
		{client: "openshift", format: "registries.conf", paths: containers, system: true, like: "podman"},
		{client: "containerd", format: "hosts.toml", paths: certs, system: true},
		{client: "containerd-cri", format: "containerd-cri", paths: toml},
		{client: "containerd-transfer", format: "containerd-cri", paths: toml},
		{client: "docker", format: "daemon.json", paths: daemon},
		{client: "docker-containerd", format: "daemon.json", paths: daemon},
		{client: "buildkit", format: "buildkitd.toml", paths: []string{"$XDG_CONFIG_HOME/buildkit/buildkitd.toml", "~/.config/buildkit/buildkitd.toml", "etc/buildkit/buildkitd.toml"}},
		{client: "k3s", format: "k3s", paths: []string{"etc/rancher/k3s/registries.yaml", "etc/rancher/rke2/registries.yaml"}},
		{client: "lifecycle", format: "cnb", vars: []string{cnbVariable}, system: true},
		{client: "pack", format: "pack", paths: []string{"$PACK_HOME/config.toml", "~/.pack/config.toml"}},
		{client: "kaniko", format: "kaniko", vars: []string{"KANIKO_REGISTRY_MAP", "KANIKO_REGISTRY_MIRROR"}, system: true},
		{client: "regclient", format: "regclient", paths: []string{"$REGCTL_CONFIG", "~/.regctl/config.json"}},
		{client: "talos", format: "talos", paths: []string{"system/state/config.yaml"}},
	}
}

// System returns the configuration that a client reads on a machine. Where
// there is none, the source reads as a configuration that says nothing. It fails for a client that is not known, or whose format cannot be
// read.
func System(client string, m Machine) (Source, error) {
	all := locations()
	i := slices.IndexFunc(all, func(l location) bool { return l.client == client })
	if i < 0 {
		return Source{}, fmt.Errorf("client %q is not known: it may be one of %s", client, strings.Join(rules.Clients(), ", "))
	}
	l := all[i]
	if _, err := formatOf(l.format); err != nil {
		return Source{}, err
	}
	src := Source{Format: l.format, FS: m.fs(), Getenv: m.Getenv}
	if l.system {
		src.Path, src.System = ".", true
		return src, nil
	}
	if src.Path = l.first(src.FS, m); src.Path == "" {
		src.Path = fsPath(l.paths[len(l.paths)-1]) // not there
	}
	src.Name = "/" + src.Path
	return src, nil
}

// Found returns the clients that have configuration on a machine. Of those that
// read the same files in the same way it names one.
func Found(m Machine) []string {
	fsys := m.fs()
	var clients []string
	for _, l := range locations() {
		if _, err := formatOf(l.format); err != nil || l.like != "" {
			continue
		}
		if l.first(fsys, m) != "" || slices.ContainsFunc(l.vars, func(name string) bool { return m.getenv(name) != "" }) {
			clients = append(clients, l.client)
		}
	}
	return clients
}

// first returns the first of the paths that is there, "" for none.
func (l *location) first(fsys fs.FS, m Machine) string {
	for _, p := range l.paths {
		if p = m.expand(p); p == "" {
			continue
		}
		if _, err := fs.Stat(fsys, p); err == nil {
			return p
		}
	}
	return ""
}

// expand returns a path of a location as one of the machine's file system, ""
// where it starts with a variable that is not set.
func (m Machine) expand(p string) string {
	first, rest, _ := strings.Cut(p, "/")
	if first == "~" {
		first = "$HOME"
	}
	name, ok := strings.CutPrefix(first, "$")
	if !ok {
		return p
	}
	dir := m.getenv(name)
	if dir == "" {
		return ""
	}
	return fsPath(path.Join(dir, rest))
}

// fs returns the machine's file system, from its root.
func (m Machine) fs() fs.FS {
	if m.Root == "" {
		return os.DirFS("/")
	}
	return os.DirFS(m.Root)
}

func (m Machine) getenv(name string) string {
	if m.Getenv == nil {
		return ""
	}
	return m.Getenv(name)
}
