package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	digest "github.com/opencontainers/go-digest"
)

// recordEach is after how many bytes an upload's progress is made durable
// while they arrive. A power cut loses that much of a session at most; a kill
// loses the chunk that was arriving, back to the last record.
const recordEach = 64 << 20

// An Upload is a session of the vault: a directory with the bytes and a list
// of how far they came, one line for each record. It is an [oci.Upload].
type Upload struct {
	v    *Vault
	id   string
	repo ref.Name
	dir  string
	size atomic.Int64
	used atomic.Int64 // when a call began last, in nanoseconds of the vault's life: no jump of the clock makes it old

	// busy is held by the one Append, Commit or Cancel that is running. It is
	// only ever tried, never waited for. It guards what follows.
	busy  sync.Mutex
	alg   digest.Algorithm
	last  progress
	ended bool
}

var _ oci.Upload = (*Upload)(nil)

// A session is one line of an upload's state.
type session struct {
	Repo string `json:"repo"`
	Alg  string `json:"alg"`
	progress
}

func errUploadUnknown(id string) error {
	return oci.Errorf(oci.ErrNotFound, oci.CodeBlobUploadUnknown, "there is no upload %s", id)
}

// NewUpload starts a session. It survives a restart; a power cut at once may
// take it.
func (v *Vault) NewUpload(_ context.Context, n ref.Name, algorithm string) (oci.Upload, error) {
	n.Host = ""
	if _, err := repository(n); err != nil {
		return nil, err
	}
	if v.store.attached() {
		return nil, errAttached
	}
	alg := digest.SHA256
	if algorithm != "" {
		alg = digest.Algorithm(algorithm)
	}
	if alg != digest.SHA256 && alg != digest.SHA512 {
		return nil, oci.Errorf(oci.ErrInvalid, oci.CodeDigestInvalid, "the digest algorithm %q is neither sha256 nor sha512", algorithm)
	}
	id := random() + random()
	u := &Upload{v: v, id: id, repo: n, alg: alg, dir: filepath.Join(v.store.path("up"), id)}
	if err := u.create(); err != nil {
		return nil, diskError(fmt.Errorf("start upload: %w", err))
	}
	u.used.Store(int64(time.Since(v.born)))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.uploads[id] = u
	return u, nil
}

func (u *Upload) create() error {
	fs := u.v.store.files
	if err := fs.mkdir(u.dir); err != nil {
		return err
	}
	f, err := fs.create(u.data(), filePerm)
	if err != nil {
		return err
	}
	g := &growing{files: fs, f: f, hash: u.alg.Hash(), alg: u.alg}
	if err := f.Close(); err != nil {
		return err
	}
	state, err := fs.create(u.state(), filePerm)
	if err != nil {
		return err
	}
	if err := state.Close(); err != nil {
		return err
	}
	return u.record(g, false)
}

func (u *Upload) data() string  { return filepath.Join(u.dir, "data") }
func (u *Upload) state() string { return filepath.Join(u.dir, "state") }

// record appends a line to the state. With sync the bytes, and then the line,
// are durable; otherwise the line is believed by this boot alone.
func (u *Upload) record(g *growing, sync bool) error {
	fs := u.v.store.files
	if sync {
		if err := fs.sync(g.f); err != nil {
			return fmt.Errorf("%w: %w", errUnsynced, err)
		}
	}
	p, err := g.progress(-1, sync, u.v.store.boot)
	if err != nil {
		return err
	}
	b, err := json.Marshal(session{Repo: u.repo.Path, Alg: string(u.alg), progress: p})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(u.state(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = fs.write(f, append(b, '\n'))
	if err == nil && sync {
		err = fs.sync(f)
	}
	if bad := f.Close(); err == nil {
		err = bad
	}
	if err == nil {
		u.last = p
	}
	return err
}

// Upload finds a session again.
func (v *Vault) Upload(_ context.Context, n ref.Name, id string) (oci.Upload, error) {
	n.Host = ""
	if Key(id).Check() != nil || len(id) != 26 {
		return nil, errUploadUnknown("of that name")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	u, ok := v.uploads[id]
	if !ok {
		var err error
		if u, err = v.loadUpload(id); err != nil {
			return nil, err
		}
		u.used.Store(int64(time.Since(v.born)))
		v.uploads[id] = u
	}
	if u.repo != n {
		return nil, errUploadUnknown(id)
	}
	return u, nil
}

// loadUpload reads a session that an earlier process began: the last of its
// records that can be believed and that the bytes bear out.
func (v *Vault) loadUpload(id string) (*Upload, error) {
	u := &Upload{v: v, id: id, dir: filepath.Join(v.store.path("up"), id)}
	b, err := os.ReadFile(u.state())
	if err != nil {
		return nil, unknown(diskError(err), errUploadUnknown(id))
	}
	fi, err := os.Stat(u.data())
	if err != nil || v.store.cfg.now().Sub(fi.ModTime()) > maxAge {
		return nil, errUploadUnknown(id)
	}
	found := false
	for line := range bytes.Lines(b) {
		var s session
		// A torn last line is what a crash may leave.
		if json.Unmarshal(line, &s) != nil || s.Offset > fi.Size() || s.Offset > 0 && !s.certain(v.store.boot) {
			continue
		}
		alg := digest.Algorithm(s.Alg)
		if !ref.ValidPath(s.Repo) || !alg.Available() {
			continue
		}
		u.repo, u.alg, u.last, found = ref.Name{Path: s.Repo}, alg, s.progress, true
	}
	if !found {
		return nil, errUploadUnknown(id)
	}
	u.size.Store(u.last.Offset)
	return u, nil
}

// ID names the session.
func (u *Upload) ID() string { return u.id }

// Size returns how many bytes the session has.
func (u *Upload) Size() int64 { return u.size.Load() }

// begin takes the session for one call.
func (u *Upload) begin() error {
	if !u.busy.TryLock() {
		return &oci.RangeError{Size: u.Size()}
	}
	if u.ended {
		u.busy.Unlock()
		return errUploadUnknown(u.id)
	}
	u.used.Store(int64(time.Since(u.v.born)))
	return nil
}

// Append adds what r has, at off. See [oci.Upload].
func (u *Upload) Append(ctx context.Context, off int64, r io.Reader) (int64, error) {
	if err := u.begin(); err != nil {
		return u.Size(), err
	}
	defer u.busy.Unlock()
	if off >= 0 && off != u.Size() {
		return u.Size(), &oci.RangeError{Size: u.Size()}
	}
	g, ok := u.v.store.files.resume(u.data(), u.alg, u.last)
	if !ok {
		return u.Size(), u.lost()
	}
	err := u.receive(ctx, g, r)
	bad := u.record(g, false)
	u.size.Store(u.last.Offset) // what could not be noted is dropped by the next Append
	bad = errors.Join(bad, g.f.Close())
	if err == nil {
		err = diskError(bad)
	}
	if errors.Is(err, errUnsynced) {
		u.remove()
	}
	return u.Size(), err
}

// lost ends a session whose bytes are no longer what was noted.
func (u *Upload) lost() error {
	u.v.store.log.Error("an upload's bytes are gone", "upload", u.id)
	u.remove()
	return errUploadUnknown(u.id)
}

func (u *Upload) receive(ctx context.Context, g *growing, r io.Reader) error {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	recorded := g.n.Load()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf[:])
		if n > 0 {
			if _, err := g.write(buf[:n]); err != nil {
				return diskError(err)
			}
			u.size.Store(g.n.Load())
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if g.n.Load()-recorded >= recordEach {
			recorded = g.n.Load()
			if err := u.record(g, true); err != nil {
				return diskError(err)
			}
		}
	}
}

// Commit makes the bytes the blob d of the repository. A digest of another
// algorithm than the session's is computed from the file.
func (u *Upload) Commit(ctx context.Context, d oci.Digest) (oci.Descriptor, error) {
	if _, _, err := hashed(d); err != nil {
		return oci.Descriptor{}, err
	}
	if err := u.begin(); err != nil {
		return oci.Descriptor{}, err
	}
	defer u.busy.Unlock()
	g, ok := u.v.store.files.resume(u.data(), u.alg, u.last)
	if !ok {
		return oci.Descriptor{}, u.lost()
	}
	defer g.f.Close() // Adopt has synced it
	got := g.digest()
	if d.Algorithm() != u.alg {
		h := d.Algorithm().Hash()
		if _, err := io.Copy(h, io.NewSectionReader(g.f, 0, u.Size())); err != nil {
			return oci.Descriptor{}, diskError(err)
		}
		got = oci.FromHash(d, h)
	}
	if got != d {
		u.remove()
		return oci.Descriptor{}, oci.Errorf(oci.ErrMismatch, oci.CodeDigestInvalid, "the content is %s, not %s", got, d)
	}
	if err := u.admit(ctx, d, g.f); err != nil {
		if errors.Is(err, errUnsynced) {
			u.remove()
		}
		return oci.Descriptor{}, fmt.Errorf("commit upload: %w", err)
	}
	u.remove()
	return oci.Descriptor{MediaType: blobType, Digest: d, Size: u.Size()}, nil
}

func (u *Upload) admit(ctx context.Context, d oci.Digest, f *os.File) error {
	new := pinned{d, u.v.newInc(), u.Size()}
	k, err := vaultBlobKey(new.Digest, new.Inc)
	if err != nil {
		return err
	}
	return u.v.admit(ctx, u.repo, new, func(ctx context.Context) error {
		if err := u.v.store.publish(ctx, k, f, u.data()); err != nil {
			return err
		}
		u.v.store.usage.add(k, new.Size)
		return nil
	})
}

// Cancel ends the session and drops its bytes.
func (u *Upload) Cancel(context.Context) error {
	if err := u.begin(); err != nil {
		return err
	}
	defer u.busy.Unlock()
	u.remove()
	return nil
}

// remove ends the session. The state goes first: without it there is no
// session, whatever else a crash leaves.
func (u *Upload) remove() {
	u.ended = true
	u.v.mu.Lock()
	delete(u.v.uploads, u.id)
	u.v.mu.Unlock()
	u.v.store.removeUpload(u.dir)
}

func (s *Store) removeUpload(dir string) {
	s.removeQuietly(filepath.Join(dir, "state"))
	s.removeQuietly(filepath.Join(dir, "data"))
	s.removeQuietly(dir)
}

// sweepUploads removes sessions that nobody went on with for a day.
func (v *Vault) sweepUploads() {
	list, err := os.ReadDir(v.store.path("up"))
	if err != nil {
		v.store.log.Warn("cannot list the uploads", "err", err)
		return
	}
	for _, e := range list {
		v.sweepUpload(e.Name())
	}
}

func (v *Vault) sweepUpload(id string) {
	dir := filepath.Join(v.store.path("up"), id)
	fi, err := os.Stat(filepath.Join(dir, "data"))
	if errors.Is(err, os.ErrNotExist) {
		fi, err = os.Stat(dir) // half made, or half removed
	}
	if err != nil || v.store.cfg.now().Sub(fi.ModTime()) <= maxAge {
		return
	}
	left := Event{Kind: EventAbandoned}
	if !fi.IsDir() {
		left.Bytes = fi.Size()
	}
	v.mu.Lock()
	u, ok := v.uploads[id]
	v.mu.Unlock()
	if !ok {
		v.store.removeUpload(dir)
		v.store.observe(left)
		return
	}
	if time.Since(v.born)-time.Duration(u.used.Load()) <= maxAge {
		return // the clock has jumped
	}
	if err := u.begin(); err != nil {
		return // in use
	}
	defer u.busy.Unlock()
	u.remove()
	v.store.observe(left)
}

// syncUploads makes the progress of all sessions durable, at the end.
func (v *Vault) syncUploads() {
	v.mu.Lock()
	all := make([]*Upload, 0, len(v.uploads))
	for _, u := range v.uploads {
		all = append(all, u)
	}
	v.mu.Unlock()
	for _, u := range all {
		if err := u.sync(); err != nil {
			v.store.log.Warn("cannot save an upload's progress", "upload", u.id, "err", err)
		}
	}
}

func (u *Upload) sync() error {
	if u.begin() != nil {
		return nil // ended, or a request outlives the store, against the rules
	}
	defer u.busy.Unlock()
	if u.last.Synced || u.last.Offset == 0 {
		return nil
	}
	g, ok := u.v.store.files.resume(u.data(), u.alg, u.last)
	if !ok {
		return u.lost()
	}
	return errors.Join(u.record(g, true), g.f.Close())
}
