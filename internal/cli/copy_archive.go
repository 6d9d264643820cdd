package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// What the locations in archives begin with.
const (
	archivePrefix = "oci-archive:"
	dockerPrefix  = "docker-archive:"
)

// parseArchive reads what follows one of the prefixes. The first colon ends the
// name of the file, as for skopeo: what comes behind it has colons of its own.
func parseArchive(text, prefix, rest string) (location, error) {
	l := location{text: text, docker: prefix == dockerPrefix}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 && strings.HasPrefix(rest[i+1:], "sha") {
		d, err := ref.ParseDigest(rest[i+1:])
		if err != nil {
			return l, usageError(fmt.Errorf("%q: %w", text, err), "")
		}
		rest, l.ref.Digest = rest[:i], d
	}
	file, name, ok := strings.Cut(rest, ":")
	if file == "" {
		return l, usageError(fmt.Errorf("%q names no file", text), "write "+prefix+"FILE or "+prefix+"FILE:TAG")
	}
	l.archive = file
	switch {
	case !ok:
	case strings.ContainsAny(name, ":/"):
		r, err := ref.Parse(name)
		if err != nil {
			return l, usageError(fmt.Errorf("%q: %w", text, err), "the first colon ends the name of the file")
		}
		l.ref.Name, l.ref.Tag = r.Name, r.Tag
	case ref.ValidTag(name):
		l.ref.Tag = name
	default:
		return l, usageError(fmt.Errorf("%q: %q is neither a tag nor a reference", text, name), "the first colon ends the name of the file")
	}
	return l, nil
}

// showArchive writes a reference of the archive as the user would.
func (l location) showArchive(r ref.Ref) string {
	s := archivePrefix + l.archive
	if l.docker {
		s = dockerPrefix + l.archive
	}
	switch {
	case r.Name != (ref.Name{}):
		return s + ":" + r.String()
	case r.Tag != "":
		return s + ":" + r.Tag
	case r.Digest != "":
		return s + "@" + string(r.Digest)
	}
	return s
}

// openArchiveAt opens the archive of a location, with all of its volumes.
func openArchiveAt(l location) (*layout.Archive, error) {
	files, err := layout.Volumes(l.archive)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		files = [][]string{{l.archive}} // what is not there says so when it is opened
	case err != nil:
		return nil, err
	}
	a, err := layout.OpenArchive(files[0]...)
	if errors.Is(err, oci.ErrNotFound) {
		return nil, failure(err, "")
	}
	return a, err
}

// lookup finds out what SRC calls an image in an archive: tags of signatures are
// found only beside its whole name.
func (x *transfer) lookup(src location, all bool) (location, error) {
	a, ok := x.cfg.Source.(*layout.Archive)
	if !ok || src.archive == "" {
		return src, nil
	}
	if all {
		name, err := onlyRepository(a, src)
		src.ref.Name = name
		return src, err
	}
	if src.ref.Name != (ref.Name{}) {
		src.ref = src.ref.WithDefaultTag()
	}
	e, err := a.Lookup(src.ref)
	if errors.Is(err, oci.ErrInvalid) || errors.Is(err, oci.ErrNotFound) {
		return src, failure(fmt.Errorf("%s: %w", src.text, err), "write "+archivePrefix+src.archive+":NAME with one of them")
	}
	if err != nil {
		return src, err
	}
	src.ref = e.Ref // all of it is "" where the archive has one image and no name for it
	return src, nil
}

// onlyRepository returns the repository whose tags are meant: that of SRC, or
// the one that the archive has.
func onlyRepository(a *layout.Archive, src location) (ref.Name, error) {
	if src.ref.Name != (ref.Name{}) {
		return src.ref.Name, nil
	}
	var names []ref.Name
	for _, e := range a.Entries() {
		if !slices.Contains(names, e.Ref.Name) {
			names = append(names, e.Ref.Name)
		}
	}
	switch len(names) {
	case 0:
		return ref.Name{}, failure(fmt.Errorf("%s names no image", src.text), "")
	case 1:
		return names[0], nil
	}
	return ref.Name{}, usageError(fmt.Errorf("%s has %d repositories: %v", src.text, len(names), names), "name one of them, or use 'entrepot load'")
}

// copyToArchive writes an archive of the images of the pairs.
func (x *transfer) copyToArchive(ctx context.Context, dst location, pairs []relocate.Pair) error {
	if dst.docker {
		return usageError(fmt.Errorf("%s: docker-archive is only read", dst.text), "write oci-archive:"+dst.archive+", which docker load, podman load and skopeo read")
	}
	opts := &saveOptions{transferFlags: *x.flags, output: dst.archive}
	to, err := opts.archive(x.env)
	if err != nil {
		return err
	}
	to.Log = x.cfg.Log
	s := &saving{opts: opts, env: x.env, x: x, to: to}
	bars := newProgress(x.env, x.flags.quiet, pairs, x.from.label)
	cfg := x.cfg
	cfg.Observe = bars.observe
	draft, err := relocate.Discover(ctx, cfg, pairs, nil)
	var w layout.Written
	if err == nil {
		s.to.Observe = draft.Wrote
		w, err = layout.WriteArchive(ctx, s.to, copied(draft, pairs))
	}
	rep := draft.Report()
	for i := range rep.Images {
		rep.Images[i].Source, rep.Images[i].Target = x.from.show(pairs[i].Source), x.to.show(pairs[i].Target)
	}
	bars.stop()
	if err == nil {
		rep.Outputs = append(rep.Outputs, w.Paths...)
		s.sum(rep, w)
	}
	return errors.Join(s.explain(ctx, rep, err), s.print(rep, err == nil))
}

// copied returns what a copy puts into an archive: the images by the names that
// they get there, and what leads to their signatures.
func copied(d *relocate.Draft, pairs []relocate.Pair) layout.Contents {
	c := layout.Contents{Manifests: d.Manifests(), Images: []layout.SetImage{}}
	for _, b := range d.Blobs() {
		c.Blobs = append(c.Blobs, layout.SourceBlob{Descriptor: oci.Descriptor{Digest: b.Digest, Size: b.Size}, Open: b.Open})
	}
	rep := d.Report()
	own := map[ref.Ref]bool{} // names that the pairs stand for
	for i, p := range pairs {
		target := p.Target
		if target.Digest = rep.Images[i].Digest; target.Tag != "" {
			target.Digest = ""
		}
		own[p.Name()] = true
		own[p.Target.Name.WithTag(p.Target.Tag)] = true
		c.Images = append(c.Images, layout.SetImage{Name: target.String(), Digest: rep.Images[i].Digest})
		c.Names = append(c.Names, layout.Entry{Ref: target, Descriptor: oci.Descriptor{Digest: rep.Images[i].Digest}})
	}
	for _, n := range d.Named() {
		if !own[n.Name] {
			c.Names = append(c.Names, layout.Entry{Ref: n.Name, Descriptor: oci.Descriptor{Digest: n.Digest}})
		}
	}
	return c
}
