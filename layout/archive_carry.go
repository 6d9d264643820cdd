package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/entrepot/entrepot/oci"
)

// places returns where a blob goes, as the journal has it: the number of volumes,
// and volume, offset and size of each piece.
func (o *output) places(i int) string {
	s := strconv.Itoa(len(o.paths))
	for _, it := range o.plan.pieces(i) {
		s += fmt.Sprintf(" %d:%d:%d", it.volume, it.at.Offset, it.at.Size)
	}
	return s
}

// carry takes over what an earlier run has written of another set: a tag has
// moved since, or an image could be read at last. It is copied to its places in
// new files, which then take the names of the old ones. When it is killed before
// that, nothing has changed; when in the middle of it, the journal leads to bytes
// that are not those of their digests, and they are read again. Where there is no
// room for two it reports false, and everything begins anew.
func (o *output) carry(ctx context.Context) (bool, error) {
	c := &carrier{output: o, old: map[int][]*os.File{}}
	defer c.close()
	carried, err := c.copy(ctx)
	if err == nil {
		err = c.rename()
	}
	if err != nil {
		for _, path := range o.paths {
			_ = os.Remove(path + partial + fresh) // it is of no use
		}
		o.cfg.log().Warn("what an earlier run has written cannot be taken over", "err", err)
		return false, errors.Join(o.closeFiles(), ctx.Err(), o.journal.begin(o.plan.set.ID))
	}
	if err := o.journal.begin(o.plan.set.ID); err != nil {
		return true, err
	}
	for _, i := range carried {
		d := o.plan.blobs[i].Descriptor.Digest
		o.journal.whole[d] = true
		if err := o.journal.add(d, o.places(i)); err != nil {
			return true, err
		}
	}
	return true, nil
}

// fresh is what new partial files end with until they take the place of the old
// ones.
const fresh = ".new"

// A carrier carries blobs from old files to new ones.
type carrier struct {
	*output
	old map[int][]*os.File // :: number of volumes → their files, nil for those that are not there
}

// copy writes new files, and returns which of the plan's blobs are in them.
func (c *carrier) copy(ctx context.Context) (carried []int, err error) {
	for i, path := range c.paths {
		f, err := os.OpenFile(path+partial+fresh, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
		if err != nil {
			return nil, err
		}
		c.files = append(c.files, f)
		if err := f.Truncate(c.plan.bins[i].total); err != nil {
			return nil, err
		}
	}
	for i, b := range c.plan.blobs {
		d := b.Descriptor
		from := c.at(c.journal.other[d.Digest])
		if from == nil || from.size() != d.Size {
			continue
		}
		s := c.spread(i, c.files, func(int64) {})
		err := c.pour(ctx, s, oci.VerifyReader(io.NewSectionReader(from, 0, d.Size), d.Digest, d.Size))
		switch {
		case err == nil:
			carried = append(carried, i)
		case s.err != nil || ctx.Err() != nil:
			return nil, err
		}
	}
	return carried, nil
}

// at returns what the journal says of a blob, nil where that is nothing.
func (c *carrier) at(places string) extents {
	fields := strings.Fields(places)
	if len(fields) < 2 {
		return nil
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil || n < 1 || n > maxCarried {
		return nil
	}
	files := c.open(n)
	var x extents
	for _, f := range fields[1:] {
		var volume int
		var off, size int64
		if _, err := fmt.Sscanf(f, "%d:%d:%d", &volume, &off, &size); err != nil || volume < 1 || volume > n || off < 0 || size < 0 || files[volume-1] == nil {
			return nil
		}
		x = append(x, extent{files[volume-1], off, size})
	}
	return x
}

// maxCarried bounds the volumes of an earlier run, as damaged journals may say
// anything.
const maxCarried = 10_000

// open opens the volumes of the earlier run once.
func (c *carrier) open(n int) []*os.File {
	if c.old[n] == nil {
		c.old[n] = make([]*os.File, n)
		for i, path := range volumePaths(c.cfg.Path, n) {
			if f, err := os.Open(path + partial); err == nil {
				c.old[n][i] = f
			}
		}
	}
	return c.old[n]
}

// rename gives the new files the names of the old ones, and removes those that
// have no successor.
func (c *carrier) rename() error {
	for _, path := range c.paths {
		if err := os.Rename(path+partial+fresh, path+partial); err != nil {
			return err
		}
	}
	for n := range c.old {
		if n == len(c.paths) {
			continue
		}
		for i, path := range volumePaths(c.cfg.Path, n) {
			if i >= len(c.paths) || n == 1 || len(c.paths) == 1 {
				_ = os.Remove(path + partial) // a file that nobody needs is no failure
			}
		}
	}
	return nil
}

// close closes the old files, which were only read.
func (c *carrier) close() {
	for _, files := range c.old {
		for _, f := range files {
			if f != nil {
				f.Close()
			}
		}
	}
}
