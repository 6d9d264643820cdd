package imageset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

var errNoWeb = errors.New("nothing can be fetched from here")

// charts adds the images of charts.
func (x *expansion) charts(ctx context.Context) {
	for _, r := range x.cfg.Helm.Repositories {
		x.repository(ctx, r)
	}
	for _, c := range x.cfg.Helm.Local {
		in, err := x.local(c.Path)
		if err != nil {
			x.fail(c.below("path"), err, "", "%s", c.Path)
			continue
		}
		x.chart(c, in)
	}
}

// repository adds the charts of a repository.
func (x *expansion) repository(ctx context.Context, r Repository) {
	if x.env.Fetch == nil {
		x.fail(r.below("url"), errNoWeb, "", "the chart repository %s", r.Name)
		return
	}
	index, err := fetchIndex(ctx, x.env.Fetch, r.URL)
	if err != nil {
		x.fail(r.below("url"), err, "", "the chart repository %s", r.Name)
		return
	}
	charts := r.Charts
	if r.All {
		charts = index.all(r)
	}
	for _, c := range charts {
		in, err := index.fetch(ctx, x.env.Fetch, c)
		if err != nil {
			x.fail(c.Place, err, "", "the chart %s", c.Name)
			continue
		}
		x.chart(c, in)
	}
}

// local reads a chart on disk: relative to where we are, as oc-mirror takes it,
// or to the configuration.
func (x *expansion) local(path string) (document.Input, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(path) && x.cfg.Name != "-" {
		if other := filepath.Join(filepath.Dir(x.cfg.Name), path); exists(other) {
			path = other
		}
	}
	ins, err := document.Load([]string{path}, nil, document.Chart)
	if err != nil {
		return document.Input{}, err
	}
	if len(ins) != 1 {
		return document.Input{}, errors.New("it is no chart: there is no Chart.yaml")
	}
	return ins[0], nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// chart adds the images of one chart: those that it names by itself, those that
// it has when it is rendered, and those at the JSONPaths.
func (x *expansion) chart(c Chart, in document.Input) {
	in.Kind = document.Chart
	opts := x.env.Charts
	var text []byte
	render := opts.Render
	if render == nil {
		if len(c.ImagePaths) > 0 {
			x.fail(c.ImagePathsAt, nil, "install helm, or name it with --helm", "imagePaths are of the rendered chart, and without helm it cannot be rendered")
			return
		}
		x.note(c.Place, "install helm, or name it with --helm", "the chart %s is not rendered: what its templates alone name is not found", in.Name)
	} else {
		opts.Render = func(chart document.Input) ([]byte, error) {
			var err error
			text, err = render(chart)
			return text, err
		}
	}
	d, err := document.Read(in, opts)
	if err != nil {
		x.fail(c.Place, err, "", "the chart %s", in.Name)
		return
	}
	var names []string
	for _, i := range d.Images() {
		names = append(names, i.Ref)
	}
	more, err := x.atPaths(c, text)
	if err != nil {
		x.fail(c.ImagePathsAt, err, "", "the chart %s", in.Name)
		return
	}
	names = append(names, more...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		x.add(c.Place, relocate.Mention{Written: name, Role: relocate.HelmImage, Platforms: c.Platforms})
	}
}

// atPaths returns the images at the JSONPaths in a rendered chart.
func (x *expansion) atPaths(c Chart, text []byte) ([]string, error) {
	var found []string
	hits := make([]int, len(c.ImagePaths))
	for dec := yaml.NewDecoder(bytes.NewReader(text)); len(c.ImagePaths) > 0; {
		var object any
		if err := dec.Decode(&object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("rendered: %w", err)
		}
		if object == nil {
			continue
		}
		for i, path := range c.ImagePaths {
			texts, err := findJSONPath(path, object)
			if err != nil {
				continue // of another object
			}
			for _, t := range texts {
				hits[i]++
				if _, err := ref.Parse(t); err != nil {
					x.note(c.ImagePathsAt, "", "%s: %q is no image: %v", path, t, err)
					continue
				}
				found = append(found, t)
			}
		}
	}
	for i, n := range hits {
		if n == 0 {
			x.note(c.ImagePathsAt, "", "%s finds nothing in the chart %s", c.ImagePaths[i], c.Name)
		}
	}
	return found, nil
}
