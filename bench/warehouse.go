package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// A warehouse is Entrepot's store with very many blobs in it, half of them cached
// and half pushed. It is laid out file by file, as package store does it (see its
// documentation), since taking so many in by their content would take an hour. The
// blobs are holes: nothing here reads them, and a scrub would throw them out.
type warehouse struct {
	dir    string
	blobs  int // in each of the two pools
	cached atomic.Int64
}

const (
	// hole is the size of a blob, in bytes: more than what an eviction takes
	// for an index of images and reads.
	hole = 2 << 20
	// perImage is how many blobs a pushed image has, its manifest among them.
	perImage = 20
	// laidAtOnce is how many directories are filled at a time.
	laidAtOnce = 4
)

// warehouse returns the one of this run, which is made on first use.
func (b *bench) warehouse(ctx context.Context) (*warehouse, error) {
	if b.house != nil {
		return b.house, nil
	}
	w := &warehouse{dir: b.newName("warehouse"), blobs: 500_000}
	if b.options.quick {
		w.blobs = 20_000
	}
	fmt.Fprintf(os.Stderr, "bench: laying out a store of %d blobs\n", 2*w.blobs)
	// A first start writes what tells that this is a store.
	p, err := b.startEntrepot(ctx, entrepot, w.dir, b.origin.addr)
	if err != nil {
		return nil, err
	}
	if err := p.stop(); err != nil {
		return nil, err
	}
	if err := w.fill(ctx); err != nil {
		return nil, err
	}
	b.house = w
	return w, nil
}

// fill lays all blobs out, and the records of the images that need those that
// were pushed.
func (w *warehouse) fill(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(laidAtOnce)
	for shard := range 256 {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			names := w.names(shard)
			if err := w.layOut("c/b/sha256", shard, names, ""); err != nil {
				return err
			}
			w.cached.Add(int64(len(names)))
			if err := w.layOut("v/b/sha256", shard, names, "."+incarnation); err != nil {
				return err
			}
			return w.pin(shard, names)
		})
	}
	return g.Wait()
}

// incarnation is the name of the one copy that each pushed blob has.
const incarnation = "aaaaaaaaaaaaa"

// names are the hashes of a directory: there is one for each value of their first
// byte.
func (w *warehouse) names(shard int) []string {
	n := w.blobs / 256
	if shard < w.blobs%256 {
		n++
	}
	names := make([]string, n)
	for i := range names {
		sum := sha256.Sum256(fmt.Append(nil, shard, i))
		sum[0] = byte(shard)
		names[i] = hex.EncodeToString(sum[:])
	}
	return names
}

// layOut makes the files of one directory.
func (w *warehouse) layOut(pool string, shard int, names []string, suffix string) (err error) {
	dir := filepath.Join(w.dir, pool, fmt.Sprintf("%02x", shard))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	at, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(at)) }()
	for _, name := range names {
		f, err := unix.Openat(at, name+suffix, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o444)
		if err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
		if err := errors.Join(unix.Ftruncate(f, hole), unix.Close(f)); err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
	}
	return nil
}

// pin writes the records of the images whose manifests are in a directory.
func (w *warehouse) pin(shard int, names []string) error {
	for i := 0; i < len(names); i += perImage {
		record := struct {
			MediaType string   `json:"mediaType"`
			Size      int64    `json:"size"`
			Pins      [][3]any `json:"pins"`
		}{typeManifest, hole, nil}
		for _, name := range names[i:min(i+perImage, len(names))] {
			record.Pins = append(record.Pins, [3]any{"sha256:" + name, incarnation, hole})
		}
		raw, err := json.Marshal(record)
		if err != nil {
			return err
		}
		dir := filepath.Join(w.dir, "v/m", fmt.Sprintf("warehouse/r%02x", shard), "_m", "sha256-"+names[i])
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, incarnation), raw, 0o600); err != nil {
			return err
		}
	}
	return nil
}
