// Package golden runs the golden cases of the mirror rules by the command line,
// as a user would: the files of a case in a directory, the answer of
// entrepot explain as JSON. It is for tests only.
//
// The cases were computed by running the clients' own code. They are the files
// of rules/conf/testdata/golden.
package golden

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A File is a file of cases, with the format and the client that they are for.
type File struct{ Name, Format, Client string }

// Files are all files of cases that one reference and one configuration decide.
func Files() []File {
	return []File{
		{"registries.conf", "registries.conf", "podman"},
		{"registries.conf-shortnames", "registries.conf", "podman"},
		{"hosts.toml", "hosts.toml", "containerd"},
		{"cnb-registry-mirrors", "cnb", "lifecycle"},
		{"pack", "pack", "pack"},
		{"daemon.json", "daemon.json", "docker"},
		{"buildkitd.toml", "buildkitd.toml", "buildkit"},
		{"containerd-cri", "containerd-cri", "containerd-cri"},
		{"k3s-registries.yaml", "k3s", "k3s"},
		{"openshift-mirrorsets", "openshift", "openshift"},
		{"talos", "talos", "talos"},
		{"kaniko", "kaniko", "kaniko"},
		{"regclient", "regclient", "regclient"},
	}
}

// Differs are the cases that explain answers differently, on purpose.
//
//	:: name → why
func Differs() map[string]string {
	return map[string]string{
		"no-search-registries": "an empty registries.conf and a short name are Docker Hub's in empty-config-passes-through: one of the two can hold",
	}
}

// Dir returns the directory of the files, from the root of the module.
func Dir(root string) string {
	return filepath.Join(root, "rules", "conf", "testdata", "golden")
}

// A Case is one configuration, one reference, and what the client does.
type Case struct {
	Name, Why string
	Tags      []string
	Config    Config
	Reference string
	// Normalized and Matched are compared where the case has them.
	Normalized string
	Matched    *string
	Want       []map[string]any // the places, in order
	Skipped    []map[string]any
	WantError  string // the client's own words; ours differ
	Warning    string // what the client writes into its log alone
}

// A Config is the configuration of a case.
type Config struct {
	Files map[string]string // :: path → text
	Env   map[string]string
	Args  []string
	// Layout says what the paths are below, ImageStore and PullMode pick the
	// client.
	Layout, ImageStore, PullMode string
}

// Read reads the cases of a file below the root of the module.
func Read(root, name string) ([]Case, error) {
	var all struct {
		Count int
		Cases []Case
	}
	data, err := os.ReadFile(filepath.Join(Dir(root), name+".json"))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(all.Cases) == 0 || len(all.Cases) != all.Count {
		return nil, fmt.Errorf("%s: %d cases, its count says %d", name, len(all.Cases), all.Count)
	}
	return all.Cases, nil
}

// Silent reports whether the client passes over what is wrong in the case.
func (c *Case) Silent() bool {
	return slices.Contains(c.Tags, "silent") || slices.Contains(c.Tags, "error-swallowed")
}

// Write writes the files, or the flags, of the case below dir, and returns what
// --rules names.
func (c *Case) Write(dir string) (path string, err error) {
	if c.Config.Args != nil {
		path = filepath.Join(dir, "flags")
		return path, os.WriteFile(path, []byte(strings.Join(c.Config.Args, "\n")), 0o600)
	}
	return dir, WriteFiles(dir, c.Config.Files)
}

// WriteFiles writes files below dir; "{root}" in them is dir.
func WriteFiles(dir string, files map[string]string) error {
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p, []byte(strings.ReplaceAll(text, "{root}", dir)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Args returns the arguments of the command for the case, whose configuration
// has been written to path.
func (c *Case) Args(f File, path string) []string {
	client := f.Client
	switch {
	case c.Config.ImageStore == "containerd":
		client = "docker-containerd"
	case c.Config.PullMode == "transfer":
		client = "containerd-transfer"
	}
	args := []string{"explain", "--json", "--as", client}
	switch {
	case c.Config.Env != nil:
	case strings.HasPrefix(c.Config.Layout, "system root"):
		args = append(args, "--root", path)
	default:
		args = append(args, "--rules", f.Format+"="+path)
	}
	return append(args, c.Reference)
}
