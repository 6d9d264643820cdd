package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/ref"
)

// A location is what SRC or DST of a copy says.
type location struct {
	text    string
	dir     string // of an OCI layout; "" for none
	archive string // a file with images; "" for none. Where both are "" it is a registry
	docker  bool   // the archive is one of docker save
	ref     ref.Ref
}

// parseLocation reads a reference, "docker://REF", "oci:DIR[:TAG|@DIGEST]",
// "oci-archive:FILE[:NAME|@DIGEST]" or "docker-archive:FILE[:NAME]".
func parseLocation(s string) (location, error) {
	for _, kind := range []string{archivePrefix, dockerPrefix} {
		if rest, ok := strings.CutPrefix(s, kind); ok {
			return parseArchive(s, kind, rest)
		}
	}
	rest, ok := strings.CutPrefix(s, "oci:")
	if !ok {
		r, err := ref.Parse(strings.TrimPrefix(s, "docker://"))
		if err != nil {
			return location{}, usageError(err, "write a reference, oci:DIRECTORY:TAG or oci-archive:FILE:TAG")
		}
		return location{text: s, ref: r}, nil
	}
	l := location{text: s, dir: rest}
	if dir, digest, ok := strings.Cut(rest, "@"); ok {
		d, err := ref.ParseDigest(digest)
		if err != nil {
			return location{}, usageError(fmt.Errorf("%q: %w", s, err), "")
		}
		l.dir, l.ref.Digest = dir, d
	} else if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		l.dir, l.ref.Tag = rest[:i], rest[i+1:]
		if !ref.ValidTag(l.ref.Tag) {
			return location{}, usageError(fmt.Errorf("%q: %q is no tag", s, l.ref.Tag), "")
		}
	}
	if l.dir == "" {
		return location{}, usageError(fmt.Errorf("%q names no directory", s), "write oci:DIRECTORY or oci:DIRECTORY:TAG")
	}
	return l, nil
}

// show writes a reference of the location as the user would.
func (l location) show(r ref.Ref) string {
	switch {
	case l.archive != "":
		return l.showArchive(r)
	case l.dir == "":
		return r.String()
	case r.Tag != "":
		return "oci:" + l.dir + ":" + r.Tag
	case r.Digest != "":
		return "oci:" + l.dir + "@" + string(r.Digest)
	}
	return "oci:" + l.dir
}

// label names a reference of the location while it is copied: as short as it
// can be.
func (l location) label(r ref.Ref) string {
	if l.registry() || r.Name != (ref.Name{}) {
		return r.Familiar()
	}
	return l.show(r)
}

// registry reports whether the location is one in a registry.
func (l location) registry() bool { return l.dir == "" && l.archive == "" }

// connect makes the transfer go from one location to another. The closer is
// for what was opened. An archive is no target by itself: it is written when all
// of it is known.
func (x *transfer) connect(from, to location) (io.Closer, error) {
	x.from, x.to = from, to
	var opened closers
	if from.archive != "" {
		a, err := openArchiveAt(from)
		if err != nil {
			return nil, err
		}
		opened = append(opened, a)
		x.cfg.Source = a
	}
	if from.dir != "" {
		l, err := layout.Open(from.dir)
		if err != nil {
			return nil, err
		}
		opened = append(opened, l)
		x.cfg.Source = l
	}
	if to.dir != "" {
		l, err := layout.Create(to.dir)
		if err != nil {
			return nil, errors.Join(err, opened.Close())
		}
		opened = append(opened, l)
		x.cfg.Target, x.local = l, true
	}
	return opened, nil
}

// closers are closed together.
type closers []io.Closer

func (c closers) Close() error {
	var errs []error
	for _, one := range c {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}
