package imageset

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// The image of the update graph is what OpenShift's documentation has people
// build for the update service of a disconnected cluster, and what oc-mirror
// builds: a base with a shell, the graph's data, and a command that copies it.
const (
	graphBase  = "registry.access.redhat.com/ubi9/ubi:latest"
	graphRepo  = "openshift/graph-image"
	graphDir   = "var/lib/cincinnati-graph-data"
	graphMount = "/var/lib/cincinnati/graph-data"
)

// graphHelp says where the data is.
const graphHelp = "give it with --graph: the archive, or https://api.openshift.com/api/upgrades_info/graph-data"

// graphImage adds the image of the update graph.
func (x *expansion) graphImage(ctx context.Context) {
	at := x.cfg.Platform.GraphAt
	r := ref.Ref{Name: ref.Name{Host: localHost, Path: graphRepo}, Tag: "latest"}
	m := relocate.Mention{Written: r.String(), Target: target(r.Path, r.Tag), Role: relocate.UpdateGraph}
	if x.cfg.Delete {
		x.add(at, m)
		return
	}
	if x.env.GraphData == nil {
		x.fail(at, ErrNoGraphData, graphHelp, "the update graph")
		return
	}
	data, err := x.env.GraphData(ctx)
	if err == nil {
		data, err = graphLayer(data)
	}
	if err != nil {
		hint := ""
		if errors.Is(err, ErrNoGraphData) {
			hint = graphHelp
		}
		x.fail(at, err, hint, "the update graph")
		return
	}
	if err := x.buildGraph(ctx, r, data); err != nil {
		x.fail(at, err, "a mirror rule may lead there", "the update graph is made upon %s, which cannot be read", graphBase)
		return
	}
	x.add(at, m)
}

// graphLayer returns the layer with a graph's data: deterministic, whoever packed
// the data, and owned by root.
func graphLayer(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("its data: %w", err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	channels := false
	for r := tar.NewReader(io.LimitReader(z, maxGraph)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("its data: %w", err)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		channels = channels || strings.HasPrefix(name, "channels/")
		if err := graphEntry(w, r, h, path.Join(graphDir, name)); err != nil {
			return nil, err
		}
	}
	if !channels {
		return nil, errors.New("its data has no channels: it is something else")
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return layer.Bytes(), nil
}

// maxGraph is how large the unpacked data may be, in bytes. It is 10 MB now.
const maxGraph = 512 << 20

// graphEntry copies a file or a directory; there is nothing else in the data.
func graphEntry(w *tar.Writer, r io.Reader, h *tar.Header, name string) error {
	out := tar.Header{Name: name, Typeflag: h.Typeflag, Mode: 0o644, Format: tar.FormatPAX}
	switch h.Typeflag {
	case tar.TypeDir:
		out.Name, out.Mode = name+"/", 0o755
	case tar.TypeReg:
		out.Size = h.Size
	default:
		return nil
	}
	if err := w.WriteHeader(&out); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := io.Copy(w, r)
	return err
}

// buildGraph builds the image by a name.
func (x *expansion) buildGraph(ctx context.Context, r ref.Ref, layer []byte) error {
	base, err := ref.Parse(graphBase)
	if err != nil {
		return err
	}
	if x.env.Source == nil {
		return errors.New("no registry can be read from here")
	}
	m, err := x.env.Source.Manifest(ctx, base)
	if err != nil {
		return err
	}
	b := &builder{
		from: x.env.Source, name: base.Name,
		out: x.made(r.Name, within{x.env.Source, base.Name}), layer: layer,
		comment: "data of the update graph",
		command: []string{"/bin/bash", "-c", "exec cp -rp /" + graphDir + "/* " + graphMount},
	}
	m, err = b.build(ctx, m)
	if err != nil {
		return err
	}
	return b.out.put(m, r.Tag)
}

// within is a reader of the content of one repository, by whatever name.
type within struct {
	oci.Reader
	name ref.Name
}

// Resolve answers for digests alone: the tags are another repository's.
func (w within) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	if r.Digest == "" {
		return oci.Descriptor{}, errAbsent(r.String())
	}
	return w.Reader.Resolve(ctx, w.name.WithDigest(r.Digest))
}

// Manifest answers for digests alone.
func (w within) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	if r.Digest == "" {
		return oci.Manifest{}, errAbsent(r.String())
	}
	return w.Reader.Manifest(ctx, w.name.WithDigest(r.Digest))
}

func (w within) Stat(ctx context.Context, _ ref.Name, d oci.Digest) (oci.Descriptor, error) {
	return w.Reader.Stat(ctx, w.name, d)
}

func (w within) Blob(ctx context.Context, _ ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	return w.Reader.Blob(ctx, w.name, d, off)
}

// platformsOf leaves out what is no image of a platform, as attestations.
func platformsOf(all []oci.Descriptor) []oci.Descriptor {
	return slices.DeleteFunc(slices.Clone(all), func(d oci.Descriptor) bool {
		return d.Platform == nil || d.Platform.OS == "unknown"
	})
}
