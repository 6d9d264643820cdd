package store

import (
	"encoding"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/entrepot/entrepot/oci"
	digest "github.com/opencontainers/go-digest"
)

const (
	// bufferSize is what is read at once from a connection. Larger ones gain
	// nothing measurable, smaller ones cost system calls.
	bufferSize = 256 << 10
	// writebackEach is how many bytes are written before the kernel is asked
	// to begin with the disk, so that the sync at the end is short.
	writebackEach = 8 << 20
	// patientEach is the same for files whose sync nobody waits for. Until then
	// the disk takes nothing from those who read along (measured in bench/: a
	// sixth of the time of a cold pull).
	patientEach = 256 << 20
	// hashBeside is from how many bytes on they are hashed while they are being
	// written: there the start of a goroutine (a microsecond) is nothing beside
	// the hashing (50 µs).
	hashBeside = 64 << 10
)

// A growing file is one that is hashed while it is written, and whose hash
// can be taken up again later. One goroutine writes; size may be asked by any.
type growing struct {
	files   files
	f       *os.File
	hash    hash.Hash
	alg     digest.Algorithm
	n       atomic.Int64 // bytes written and hashed
	started int64        // bytes whose writeback was begun
	patient bool         // nobody waits for its sync
}

// write appends p. What a short write left is hashed and counted.
func (g *growing) write(p []byte) (int, error) {
	n, err := g.writeAndHash(p)
	size := g.n.Add(int64(n))
	each := int64(writebackEach)
	if g.patient {
		each = patientEach
	}
	if size-g.started >= each {
		startWriteback(g.f, g.started, size-g.started)
		g.started = size
	}
	return n, err
}

// writeAndHash writes p, and hashes what of it was written. Done at once, both
// take the time of the hashing alone; one after the other, half as much again.
func (g *growing) writeAndHash(p []byte) (n int, err error) {
	if len(p) < hashBeside {
		n, err = g.files.write(g.f, p)
		g.hash.Write(p[:n])
		return n, err
	}
	before, err := g.hash.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return 0, err
	}
	var hashing sync.WaitGroup
	hashing.Go(func() { g.hash.Write(p) })
	n, err = g.files.write(g.f, p)
	hashing.Wait()
	if n < len(p) { // then too much was hashed
		if bad := g.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(before); bad != nil {
			return 0, errors.Join(err, bad)
		}
		g.hash.Write(p[:n])
	}
	return n, err
}

// takeIn hashes the next bytes, which are in the file already, into p.
func (g *growing) takeIn(p []byte) error {
	at := g.n.Load()
	if _, err := g.f.ReadAt(p, at); err != nil {
		return err
	}
	if _, err := g.f.Seek(at+int64(len(p)), io.SeekStart); err != nil { // where the next write goes
		return err
	}
	g.hash.Write(p)
	g.n.Store(at + int64(len(p)))
	return nil
}

// digest returns the digest of what was written.
func (g *growing) digest() oci.Digest { return digest.NewDigest(g.alg, g.hash) }

// A progress is how far a growing file had come. It holds where the bytes
// before Offset are certain to be in the file: synced, or written by this
// same kernel, whose page cache outlives our process.
type progress struct {
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`            // declared; -1 where unknown
	Hash   []byte `json:"hash"`            // the hash function's state
	Ahead  spans  `json:"ahead,omitempty"` // bytes after Offset that are there as well, and not hashed
	Synced bool   `json:"synced,omitempty"`
	Boot   string `json:"boot,omitempty"`
}

// progress describes where g stands. Synced is the caller's word.
func (g *growing) progress(size int64, synced bool, boot string) (progress, error) {
	state, err := g.hash.(encoding.BinaryMarshaler).MarshalBinary()
	return progress{Offset: g.n.Load(), Size: size, Hash: state, Synced: synced, Boot: boot}, err
}

// certain reports whether p may be believed in this boot.
func (p progress) certain(boot string) bool { return p.Synced || p.Boot != "" && p.Boot == boot }

// resume opens the file at path to go on where p stands. It reports false
// where file and progress do not fit.
func (s files) resume(path string, alg digest.Algorithm, p progress) (*growing, bool) {
	h := alg.Hash()
	if p.Offset < 0 || h.(encoding.BinaryUnmarshaler).UnmarshalBinary(p.Hash) != nil {
		return nil, false
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, false
	}
	g := &growing{files: s, f: f, hash: h, alg: alg, started: p.Offset}
	g.n.Store(p.Offset)
	fi, err := f.Stat()
	ok := err == nil && fi.Mode().IsRegular() && fi.Size() >= p.Offset
	if ok && !p.Ahead.valid(p.Offset, min(fi.Size(), p.Size)) && len(p.Ahead) > 0 {
		ok = false
	}
	if ok && len(p.Ahead) == 0 && fi.Size() > p.Offset {
		ok = s.truncate(f, p.Offset) == nil
	}
	if ok {
		_, err = f.Seek(p.Offset, io.SeekStart)
		ok = err == nil
	}
	if !ok {
		f.Close()
		return nil, false
	}
	return g, true
}

// readProgress decodes a progress.
func readProgress(b []byte) (progress, bool) {
	var p progress
	return p, json.Unmarshal(b, &p) == nil && len(p.Hash) > 0
}
