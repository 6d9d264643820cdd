package store

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/entrepot/entrepot/oci"
)

// checkpointEach is after how many bytes a spool notes how far it has come. A
// kill loses that much at most; a power cut may take all since the last Keep.
const checkpointEach = 8 << 20

// A Spool is a blob on its way into a pool: a file that grows, hashed while it
// is written, that readers may follow before it is complete. One goroutine
// writes and ends it, with one of Commit, Keep and Discard. Size and File may
// be called by anybody at any time.
//
// Its file is shared and counted: a Spool starts with one hold, which belongs
// to whoever made it. Every reader takes its own with Hold, and gives it back
// with Release; the last one closes the file. So it stays readable after the
// spool has ended, even after Discard, for as long as somebody holds it.
type Spool struct {
	store *Store
	d     oci.Digest
	want  int64 // declared size, -1 where unknown
	key   Key   // what it becomes
	path  string
	grow  *growing
	holds atomic.Int32
	ended atomic.Bool
	ahead ahead // beyond Size

	// The writer's alone.
	verified bool
	noted    int64 // bytes at the last checkpoint; -1: nothing may be noted, this spool is never resumed
}

// spool makes a new file for d, or goes on with the one that an earlier fill
// kept. Vault spools are never kept.
func (s *Store) spool(d oci.Digest, size int64, key Key, resumable bool) (*Spool, error) {
	if s.attached() {
		return nil, errAttached
	}
	name, err := flat(d)
	if err != nil {
		return nil, err
	}
	sp := &Spool{store: s, d: d, want: size, key: key}
	sp.holds.Store(1)
	if !resumable || !sp.resume() {
		sp.path = filepath.Join(s.path("tmp"), name+"."+random())
		f, err := s.files.create(sp.path, filePerm)
		if err != nil {
			return nil, diskError(err)
		}
		sp.grow = &growing{files: s.files, f: f, hash: d.Algorithm().Hash(), alg: d.Algorithm()}
	}
	sp.grow.patient = resumable // a fill's readers have all of it before it is synced
	if !resumable {
		sp.noted = -1
	}
	if err := sp.reserve(); err != nil {
		sp.Release() // the only hold: discards and closes
		return nil, err
	}
	return sp, nil
}

// resume looks for a spool that was kept, and reports whether it can go on
// with it.
func (sp *Spool) resume() bool {
	path, ok := sp.store.takePartial(sp.d)
	if !ok {
		return false
	}
	if b, err := os.ReadFile(path + ".st"); err == nil {
		p, ok := readProgress(b)
		fits := sp.want < 0 || p.Offset <= sp.want && (p.Size < 0 || p.Size == sp.want)
		if p.Size < 0 {
			p.Ahead = nil // nothing was declared that could bound them
		}
		if ok && fits && p.certain(sp.store.boot) {
			if g, ok := sp.store.files.resume(path, sp.d.Algorithm(), p); ok {
				sp.path, sp.grow = path, g
				sp.ahead.restore(p.Ahead)
				sp.noted = p.Offset + sp.ahead.sum
				if sp.want < 0 {
					sp.want = p.Size
				}
				return true
			}
		}
	}
	sp.store.removeSpool(path)
	return false
}

// reserve asks for the room of the rest.
func (sp *Spool) reserve() error {
	rest := sp.want - sp.Size()
	if sp.want < 0 || rest <= 0 {
		return nil
	}
	if err := reserve(sp.grow.f, sp.Size(), rest); err != nil {
		return diskError(fmt.Errorf("reserve %d bytes: %w", rest, err))
	}
	return nil
}

// Size returns how many bytes the spool has. All of them can be read from
// File.
func (sp *Spool) Size() int64 { return sp.grow.n.Load() }

// Want returns the size that the blob is said to have, -1 where nobody said.
func (sp *Spool) Want() int64 { return sp.want }

// File returns the spool's file, to be read with ReadAt, up to Size, by those
// who hold it. Nobody else closes it or moves its offset, which the writer
// uses.
func (sp *Spool) File() *os.File { return sp.grow.f }

// Open returns another descriptor of the spool's file, with an offset of its
// own, so that it can be given to sendfile. The caller closes it. After
// Discard the error is ErrNotFound.
func (sp *Spool) Open() (*os.File, error) {
	f, err := os.Open(sp.path)
	if errors.Is(err, fs.ErrNotExist) { // committed, or gone
		f, _, err = sp.store.openBlob(context.Background(), sp.key) // a local open cannot be cancelled
		return f, err
	}
	return f, diskError(err)
}

// Hold keeps the file open until a Release. It is called by somebody who has
// a hold, or under a lock that keeps its owner from giving up the last one.
func (sp *Spool) Hold() {
	if sp.holds.Add(1) <= 1 {
		panic("store: Hold of a spool that was released")
	}
}

// Release gives one hold back. The last one closes the file, and discards a
// spool that was not ended. Nothing of the spool may be used after that.
func (sp *Spool) Release() {
	switch n := sp.holds.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("store: Release of a spool that was released")
	}
	sp.Discard()
	sp.grow.f.Close() // what counts was synced and checked by Commit or Keep
}

// Write appends p to the file and hashes it; nothing is synced. A byte more
// than the declared size is ErrMismatch, and nothing of p is then written.
// ErrUnavailable is the storage's; a full disk is syscall.ENOSPC too.
func (sp *Spool) Write(p []byte) (int, error) {
	if x, ok := sp.next(sp.Size()); ok && x.From < sp.Size()+int64(len(p)) {
		return 0, fmt.Errorf("%s: bytes at %d were written twice", sp.d, x.From)
	}
	if sp.want >= 0 && sp.Size()+int64(len(p)) > sp.want {
		return 0, oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "%s has more than the %d bytes that were declared", sp.d, sp.want)
	}
	n, err := sp.grow.write(p)
	if err != nil {
		return n, diskError(err)
	}
	sp.checkpoint()
	return n, nil
}

// checkpoint notes the progress now and then. One that cannot be written costs a
// longer resume, nothing else.
func (sp *Spool) checkpoint() {
	if sp.noted < 0 {
		return
	}
	has := sp.Size()
	if sp.ahead.any.Load() {
		has += sp.Ahead()
	}
	if has-sp.noted < checkpointEach {
		return
	}
	sp.noted = has
	if err := sp.note(false); err != nil {
		sp.store.log.Debug("cannot note a fill's progress", "digest", sp.d, "err", err)
	}
}

// note writes the progress beside the file.
func (sp *Spool) note(synced bool) error {
	p, err := sp.grow.progress(sp.want, synced, sp.store.boot)
	if err != nil {
		return err
	}
	p.Ahead = sp.ahead.list()
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return sp.store.files.replaceFile(sp.path+".st", b, replace{temp: filepath.Dir(sp.path), perm: filePerm, sync: synced})
}

// Verify returns nil where the spool has the declared size and its digest is
// right, and ErrMismatch otherwise. It does no I/O, so that readers who wait
// for the last bytes need not wait for the disk.
func (sp *Spool) Verify() error {
	if sp.verified {
		return nil
	}
	if sp.want >= 0 && sp.Size() != sp.want {
		return oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "%s has %d bytes, %d were declared", sp.d, sp.Size(), sp.want)
	}
	if got := sp.grow.digest(); got != sp.d {
		return oci.Errorf(oci.ErrMismatch, oci.CodeDigestInvalid, "the content is %s, %s was expected", got, sp.d)
	}
	sp.verified = true
	return nil
}

// Hash returns the hash of the first Size bytes, to be gone on with elsewhere:
// each call of the function makes another one. Hash itself is the writer's alone.
func (sp *Spool) Hash() (func() (hash.Hash, error), error) {
	state, err := sp.grow.hash.(encoding.BinaryMarshaler).MarshalBinary()
	alg := sp.d.Algorithm()
	return func() (hash.Hash, error) {
		h := alg.Hash()
		return h, h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
	}, err
}

// Commit verifies the spool and makes it the blob: synced, read-only, under
// its name, durable. On any error nothing is visible, and the spool is gone as
// after Discard.
func (sp *Spool) Commit(ctx context.Context) error {
	if !sp.end() {
		return errEnded
	}
	err := sp.Verify()
	if err == nil {
		err = sp.store.publish(ctx, sp.key, sp.grow.f, sp.path)
	}
	if err != nil {
		sp.store.removeSpool(sp.path)
		return fmt.Errorf("commit %s: %w", sp.d, err)
	}
	if sp.noted > 0 {
		sp.store.removeQuietly(sp.path + ".st")
	}
	sp.store.usage.add(sp.key, sp.Size())
	sp.store.grown(sp.Size())
	return nil
}

// end reports whether the caller is the one who ends the spool.
func (sp *Spool) end() bool { return sp.ended.CompareAndSwap(false, true) }

// Keep ends the spool so that the next one of its digest goes on where this
// one stopped, after a restart too. It is for a transport that broke. A vault's
// spool, and an empty one, is discarded.
func (sp *Spool) Keep() error {
	if sp.noted < 0 || sp.Size()+sp.Ahead() == 0 {
		return sp.Discard()
	}
	if !sp.end() {
		return errEnded
	}
	err := sp.store.files.sync(sp.grow.f)
	if err == nil {
		err = sp.note(true)
	}
	if err == nil {
		err = sp.store.disk.dirs.Sync(filepath.Dir(sp.path))
	}
	if err != nil {
		sp.store.removeSpool(sp.path)
		return fmt.Errorf("keep %s: %w", sp.d, diskError(err))
	}
	sp.store.keepPartial(sp.d, sp.path)
	return nil
}

// Discard ends the spool and removes it. It is for content that was wrong.
// Discarding what has ended already does nothing.
func (sp *Spool) Discard() error {
	if sp.end() {
		sp.store.removeSpool(sp.path)
	}
	return nil
}

var errEnded = errors.New("the spool has ended already")

// publish makes a finished local file an object of the bucket.
func (s *Store) publish(ctx context.Context, k Key, f *os.File, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if a, ok := s.bucket.(Adopter); ok {
		return a.Adopt(ctx, k, f, path)
	}
	return oci.Errorf(oci.ErrUnsupported, "", "this bucket takes no files")
}

// removeSpool removes a spool's file and its state: the state first, for a
// file without one is never resumed.
func (s *Store) removeSpool(path string) {
	if _, err := os.Lstat(path + ".st"); err == nil {
		s.removeQuietly(path + ".st")
	}
	s.removeQuietly(path)
}

// takePartial hands the spool that was kept for d to one caller.
func (s *Store) takePartial(d oci.Digest) (string, bool) {
	s.partialMu.Lock()
	defer s.partialMu.Unlock()
	path, ok := s.partials[d]
	delete(s.partials, d)
	return path, ok
}

func (s *Store) keepPartial(d oci.Digest, path string) {
	s.partialMu.Lock()
	old, had := s.partials[d]
	s.partials[d] = path
	s.partialMu.Unlock()
	if had && old != path {
		s.removeSpool(old)
	}
}

// recoverSpools remembers the spools that a fill can go on with, and removes
// all other files of tmp.
func (s *Store) recoverSpools() error {
	list, err := os.ReadDir(s.path("tmp"))
	if err != nil {
		return err
	}
	for _, e := range list {
		path := filepath.Join(s.path("tmp"), e.Name())
		file, isState := strings.CutSuffix(path, ".st")
		if isState {
			if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
				s.removeQuietly(path)
			}
			continue
		}
		if d, ok := s.resumable(path); ok {
			s.keepPartial(d, path)
		} else {
			s.removeSpool(path)
		}
	}
	return nil
}

// resumable returns the digest of the spool at path where its state can be
// believed and is not too old.
func (s *Store) resumable(path string) (oci.Digest, bool) {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	d, err := unflat(name)
	if err != nil {
		return "", false
	}
	fi, err := os.Lstat(path + ".st")
	if err != nil || s.cfg.now().Sub(fi.ModTime()) > maxAge {
		return "", false
	}
	b, err := os.ReadFile(path + ".st")
	if err != nil {
		return "", false
	}
	p, ok := readProgress(b)
	return d, ok && p.certain(s.boot)
}

// sweepSpools removes what was kept and not gone on with for a day.
func (s *Store) sweepSpools() {
	s.partialMu.Lock()
	var old []string
	for d, path := range s.partials {
		if _, ok := s.resumable(path); !ok {
			delete(s.partials, d)
			old = append(old, path)
		}
	}
	s.partialMu.Unlock()
	for _, path := range old {
		s.removeSpool(path)
	}
}
