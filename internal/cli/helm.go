package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/entrepot/entrepot/document"
)

// A renderer renders charts with the user's own helm.
type renderer struct {
	helm   string   // the program
	values []string // files
}

// renderer returns what renders charts: the helm that --helm names, or that is
// found. Nil means that there is none; then charts are not rendered.
func (f *inputFlags) renderer() (*renderer, error) {
	name := f.helm
	if name == "none" {
		name = ""
	} else if name == "" {
		name = "helm"
	}
	path := ""
	var err error
	if name != "" {
		path, err = exec.LookPath(name)
	}
	switch {
	case err != nil && f.helm != "":
		return nil, usageError(fmt.Errorf("--helm: %w", err), "")
	case path == "" && len(f.values) > 0:
		return nil, usageError(errors.New("--values needs helm, and it is not found"), "install helm, or name it with --helm")
	case path == "":
		return nil, nil
	}
	for _, v := range f.values {
		if _, err := os.Stat(v); err != nil {
			return nil, usageError(fmt.Errorf("--values: %w", err), "")
		}
	}
	return &renderer{path, f.values}, nil
}

// render writes a chart to a directory of its own and renders it there.
func (r *renderer) render(chart document.Input) (text []byte, err error) {
	dir, err := os.MkdirTemp("", "entrepot-chart-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for _, f := range chart.Files {
		if err := root.MkdirAll(filepath.Dir(filepath.FromSlash(f.Path)), 0o700); err != nil {
			return nil, err
		}
		if err := root.WriteFile(filepath.FromSlash(f.Path), f.Data, 0o600); err != nil {
			return nil, err
		}
	}
	args := []string{"template", "release", dir, "--include-crds"}
	for _, v := range r.values {
		args = append(args, "--values", v)
	}
	var out, said bytes.Buffer
	cmd := exec.Command(r.helm, args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s template: %w: %s", r.helm, err, strings.ReplaceAll(strings.TrimSpace(said.String()), dir, chart.Name))
	}
	return out.Bytes(), nil
}
