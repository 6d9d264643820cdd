package layout

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/entrepot/entrepot/oci"
	"golang.org/x/sync/errgroup"
)

// An output is an archive that is being written to files.
type output struct {
	cfg     ArchiveConfig
	plan    *plan
	paths   []string // of the volumes when they are whole
	files   []*os.File
	journal *archiveJournal
	buffers sync.Pool // of *[]byte
	read    atomic.Int64
	kept    atomic.Int64
}

// partial is what the files are called until they are whole.
const partial = ".partial"

// volumePaths returns what the volumes are called: the archive's own name if
// there is but one.
func volumePaths(path string, n int) []string {
	if n == 1 {
		return []string{path}
	}
	var paths []string
	for i := range n {
		paths = append(paths, volumeName(path, i+1))
	}
	return paths
}

// volumeName returns what a volume is called; 1 is the first.
func volumeName(path string, n int) string {
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s-%04d%s", strings.TrimSuffix(path, ext), n, ext)
}

// writeFiles writes the volumes of an archive.
func writeFiles(ctx context.Context, cfg ArchiveConfig, p *plan) (w Written, err error) {
	if real, err := filepath.EvalSymlinks(cfg.Path); err == nil && cfg.Replace {
		cfg.Path = real // what a link leads to is replaced, not the link
	}
	o := &output{cfg: cfg, plan: p, paths: volumePaths(cfg.Path, len(p.bins))}
	o.buffers.New = func() any { b := make([]byte, 1<<20); return &b }
	if err := o.run(ctx); err != nil {
		return w, errors.Join(err, o.close())
	}
	w = Written{Paths: o.paths, Read: o.read.Load(), Kept: o.kept.Load(), Set: p.set}
	for _, b := range p.bins {
		w.Bytes += b.total
	}
	return w, o.close()
}

// run writes the files and gives them their names. The journal is locked until
// the end.
func (o *output) run(ctx context.Context) error {
	if err := o.reclaim(); err != nil {
		return err
	}
	if err := o.vacant(); err != nil {
		return err
	}
	err := o.open(ctx)
	if err == nil {
		err = o.write(ctx)
	}
	if err == nil {
		err = o.closeFiles()
	}
	if err != nil {
		return o.explain(err)
	}
	return o.appear()
}

// reclaim takes back the names of volumes that an earlier run of the same set
// had given when it was killed, before it came to the others.
func (o *output) reclaim() error {
	if !journalOf(o.journalPath(), o.plan.set.ID) {
		return nil
	}
	for i, path := range o.paths {
		if _, err := os.Lstat(path + partial); err == nil {
			continue
		}
		first, err := o.plan.bins[i].first()
		if err != nil {
			return err
		}
		if !beginsWith(path, first) {
			continue
		}
		if err := os.Rename(path, path+partial); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
	}
	return nil
}

// beginsWith reports whether a file begins with these bytes.
func beginsWith(path string, want []byte) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	got := make([]byte, len(want))
	_, err = io.ReadFull(f, got)
	return err == nil && bytes.Equal(got, want)
}

func (o *output) journalPath() string { return o.cfg.Path + partial + ".journal" }

// vacant refuses to write over what is there, unless that is wanted.
func (o *output) vacant() error {
	for _, path := range o.paths {
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("write archive: %w", err)
		case !o.cfg.Replace:
			return oci.Errorf(oci.ErrInvalid, "", "%s is there already", path)
		case !info.Mode().IsRegular():
			return oci.Errorf(oci.ErrInvalid, "", "%s is there already, and is no file", path)
		}
	}
	return nil
}

// open opens the files of an earlier run of the same set, or begins new ones with
// what one of another set has left.
func (o *output) open(ctx context.Context) (err error) {
	o.journal, err = openArchiveJournal(o.journalPath(), o.plan.set.ID)
	if err != nil {
		return err
	}
	if len(o.journal.other) > 0 {
		if done, err := o.carry(ctx); done || err != nil {
			return err
		}
	}
	flags := os.O_RDWR | os.O_CREATE
	if len(o.journal.whole) == 0 {
		flags |= os.O_TRUNC
	}
	for i, path := range o.paths {
		f, err := os.OpenFile(path+partial, flags, 0o666)
		if err != nil {
			return err
		}
		o.files = append(o.files, f)
		if err := f.Truncate(o.plan.bins[i].total); err != nil {
			return err
		}
	}
	return nil
}

func (o *output) closeFiles() error {
	var errs []error
	for _, f := range o.files {
		errs = append(errs, f.Close())
	}
	o.files = nil
	return errors.Join(errs...)
}

func (o *output) close() error {
	err := o.closeFiles()
	if o.journal != nil {
		err = errors.Join(err, o.journal.file.Close())
	}
	return err
}

// explain says what to do where the disk is full.
func (o *output) explain(err error) error {
	var total int64
	for _, b := range o.plan.bins {
		total += b.total
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return oci.Errorf(oci.ErrUnavailable, "", "no room for the archive, which needs %d bytes; what is written stays in %s%s and is gone on with: %w", total, o.cfg.Path, partial, err)
	}
	return fmt.Errorf("write archive: %w", err)
}

// write puts everything in its place: blobs as they come, and what says that
// the archive is whole when all else is on the disk.
func (o *output) write(ctx context.Context) error {
	if err := o.blobs(ctx); err != nil {
		return err
	}
	if o.cfg.Incomplete {
		return ErrIncomplete
	}
	for i, b := range o.plan.bins {
		if err := o.frame(b, o.files[i]); err != nil {
			return err
		}
	}
	if err := o.sync(); err != nil {
		return err
	}
	if err := o.seal(); err != nil {
		return err
	}
	return o.sync()
}

// blobs writes all blobs, several at once. One that cannot be read does not stop
// the others: they need not be read again by the next run.
func (o *output) blobs(ctx context.Context) error {
	lost := make([]error, len(o.plan.blobs))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(o.cfg.jobs())
	for _, i := range o.plan.largestFirst() {
		if inner.Err() != nil {
			break
		}
		group.Go(func() error {
			err := o.blob(inner, i)
			if _, ok := errors.AsType[*sourceError](err); ok && inner.Err() == nil {
				lost[i], err = err, nil
			}
			return err
		})
	}
	return cmp.Or(group.Wait(), ctx.Err(), errors.Join(lost...))
}

func (o *output) sync() error {
	for _, f := range o.files {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// frame writes the headers of a volume, its documents and its sums.
func (o *output) frame(b *bin, f *os.File) error {
	head, err := b.first()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(head, 0); err != nil {
		return err
	}
	for _, it := range b.items {
		if _, err := f.WriteAt(it.header, it.at.Offset-int64(len(it.header))); err != nil {
			return err
		}
		if _, err := f.WriteAt(it.data, it.at.Offset); err != nil {
			return err
		}
	}
	if b.sums, err = b.sum(); err != nil {
		return err
	}
	return writeEntry(f, sumsFile, b.id.Sums, b.sums)
}

// writeEntry writes a document with its header.
func writeEntry(f io.WriterAt, name string, at place, data []byte) error {
	if int64(len(data)) != at.Size {
		return oci.Errorf(oci.ErrInvalid, "", "%s has %d bytes, and room for %d", name, len(data), at.Size)
	}
	header, err := tarHeader(name, at.Size)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(append(header, data...), at.Offset-int64(len(header)))
	return err
}

// first returns the first entry of a volume, with its padding.
func (b *bin) first() ([]byte, error) {
	raw, err := json.Marshal(b.id)
	if err != nil {
		return nil, err
	}
	header, err := tarHeader(volumeFile, int64(len(raw)))
	if err != nil {
		return nil, err
	}
	return append(append(header, raw...), make([]byte, padded(int64(len(raw)))-int64(len(raw)))...), nil
}

// seal writes the manifest of the set.
func (o *output) seal() error {
	raw, at, err := o.plan.seal()
	if err != nil {
		return err
	}
	return writeEntry(o.files[len(o.files)-1], setFile, at, raw)
}

// seal returns set.json with the digests of all volumes, and its place.
func (p *plan) seal() ([]byte, place, error) {
	for i, b := range p.bins {
		p.set.Volumes[i].Digest = oci.FromBytes(b.sums, "")
	}
	raw, err := json.Marshal(p.set)
	return raw, *p.bins[len(p.bins)-1].id.Last, err
}

// appear gives the files their names, the one with the manifest of the set
// last.
func (o *output) appear() error {
	if err := o.vacant(); err != nil {
		return err
	}
	for _, path := range o.paths {
		if err := os.Rename(path+partial, path); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
	}
	if err := syncParent(o.cfg.Path); err != nil {
		return err
	}
	return os.Remove(o.journalPath())
}

// syncParent makes the names in the directory of a file last.
func syncParent(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
