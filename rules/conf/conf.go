// Package conf reads and writes the mirror configuration of clients: one file
// per format, all of them into the one model of package rules.
//
// A [Source] names a format and where its text is; [Read] reads it for a
// client:
//
//	src, err := conf.Open("registries.conf=/etc/containers", machine)
//	config, err := conf.Read(src, dialect)
//	plan := rules.New(config).Plan(r, rules.Pull, dialect)
//
// The dialect matters in reading as well: what a client logs and then forgets
// is a warning for that client and an error in the native reading. Whatever is
// wrong in a file is a [rules.Problem] with its line and column in the
// configuration's Problems, never an error of Read and never a panic; a key
// that nobody knows is kept as a warning.
//
// [Write] is the way back: it takes a configuration, read or made by a program,
// and returns the files of a format with what that loses:
//
//	files, losses, err := conf.Write(config, "hosts.toml", conf.WriteOptions{Source: dialect})
//	if conf.Refused(losses) == 0 { … }
package conf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/rules"
)

// A format is one entry of the table of formats.
type format struct {
	name string
	// clients read this format, the one that it belongs to first.
	clients []string
	// read fills in r.cfg. It fails only where r.src cannot be read at all.
	read func(r *reading) error
	// fold compares keys without case where there is none that is equal.
	fold bool
}

// formats is the table of formats, in the order of the documentation.
func formats() []format {
	return []format{
		{name: "registries.conf", clients: []string{"podman", "skopeo", "buildah", "cri-o"}, read: readRegistriesConf, fold: true},
		{name: "hosts.toml", clients: []string{"containerd", "containerd-transfer", "containerd-cri"}, read: readHostsToml, fold: true},
		{name: "daemon.json", clients: []string{"docker", "docker-containerd"}, read: readDaemonJSON},
		{name: "buildkitd.toml", clients: []string{"buildkit"}, read: readBuildkitdToml, fold: true},
		{name: "containerd-cri", clients: []string{"containerd-cri", "containerd-transfer"}, read: readContainerdCRI, fold: true},
		{name: "cnb", clients: []string{"lifecycle"}, read: readCNB},
		{name: "k3s", clients: []string{"k3s"}, read: readK3s},
		{name: "openshift", clients: []string{"openshift"}, read: readOpenShift},
		{name: "talos", clients: []string{"talos"}, read: readTalos},
		{name: "pack", clients: []string{"pack"}, read: readPack, fold: true},
		{name: "kaniko", clients: []string{"kaniko"}, read: readKaniko},
		{name: "regclient", clients: []string{"regclient"}, read: readRegclient, fold: true},
	}
}

// Formats returns the names of the formats that can be read.
func Formats() []string {
	var names []string
	for _, f := range formats() {
		names = append(names, f.name)
	}
	return names
}

// Clients returns the clients that read a format, the one it belongs to first;
// none where the format is not known.
func Clients(name string) []string {
	f, err := formatOf(name)
	if err != nil {
		return nil
	}
	return f.clients
}

// FormatOf returns the format that a client reads; where it reads several, the
// one of its own.
func FormatOf(client string) (string, bool) {
	all := formats()
	i := slices.IndexFunc(all, func(f format) bool { return f.clients[0] == client })
	if i < 0 {
		i = slices.IndexFunc(all, func(f format) bool { return slices.Contains(f.clients, client) })
	}
	if i < 0 {
		return "", false
	}
	return all[i].name, true
}

func formatOf(name string) (format, error) {
	for _, f := range formats() {
		if f.name == name {
			return f, nil
		}
	}
	return format{}, fmt.Errorf("format %q is not known: it may be one of %s", name, strings.Join(Formats(), ", "))
}

// Read reads a source as a client does, by its dialect. It returns an error
// where there is no such format, or where the source is not there or cannot be
// read; everything that is wrong inside is in the configuration's Problems.
func Read(src Source, d rules.Dialect) (rules.Config, error) {
	f, err := formatOf(src.Format)
	if err != nil {
		return rules.Config{}, err
	}
	r := &reading{src: src, d: d, fold: f.fold}
	if err := f.read(r); err != nil {
		return rules.Config{}, err
	}
	return r.cfg, nil
}
