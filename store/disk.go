package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// A Disk is a [Bucket] in a directory: each key is a file below it. It is an
// [Adopter], [Loose], a [Toucher], a [Mover], a [Copier] and a [Dropper] too. It takes no lock; several
// processes may read one directory, and write other keys of it.
type Disk struct {
	root  string
	temp  string // directory of files that are being written; "" for beside their place
	files files
	dirs  *dirSyncer

	shared bool // another process writes too, and relies on directories that it knows: none is pruned

	// tree keeps directories from being pruned while somebody writes into
	// them: writers share it, prune tries to have it alone.
	tree sync.RWMutex

	mu      sync.Mutex
	durable map[string]struct{} // :: directory → its name, and those above it, are known to be synced
}

var (
	_ Bucket  = (*Disk)(nil)
	_ Adopter = (*Disk)(nil)
	_ Loose   = (*Disk)(nil)
	_ Toucher = (*Disk)(nil)
	_ Mover   = (*Disk)(nil)
	_ Copier  = (*Disk)(nil)
	_ Dropper = (*Disk)(nil)
)

// NewDisk returns the bucket in the directory root, which must exist.
func NewDisk(root string) *Disk { return newDisk(root, files{}) }

func newDisk(root string, files files) *Disk {
	return &Disk{root: root, files: files, dirs: newDirSyncer(files.syncDir),
		durable: map[string]struct{}{root: {}}}
}

// path returns the file of a key.
func (d *Disk) path(k Key) (string, error) {
	if err := k.Check(); err != nil {
		return "", err
	}
	return d.root + "/" + string(k), nil
}

// errUnsynced marks a file whose sync was refused. The kernel may have marked
// its pages clean all the same, so a second sync would succeed and lie: such a
// file is thrown away.
var errUnsynced = errors.New("sync refused")

// diskError gives an error of the operating system its kind. Its text names
// files and is not for clients.
func diskError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return &oci.Error{Kind: oci.ErrNotFound, Err: err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &oci.Error{Kind: oci.ErrUnavailable, Message: "the storage is full", Err: err}
	}
	return &oci.Error{Kind: oci.ErrUnavailable, Message: "the storage failed", Err: err}
}

// replace says how the file of k at path is written. A blob's is for reading
// only.
func (d *Disk) replace(path string, k Key, sync bool) replace {
	how := replace{temp: cmp.Or(d.temp, filepath.Dir(path)), perm: filePerm, sync: sync}
	if strings.HasPrefix(string(k), "c/b/") || strings.HasPrefix(string(k), "v/b/") {
		how.perm = blobPerm
	}
	return how
}

// Open opens the file of k. The body is an *os.File.
func (d *Disk) Open(_ context.Context, k Key) (Object, error) {
	path, err := d.path(k)
	if err != nil {
		return Object{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return Object{}, diskError(err)
	}
	fi, err := f.Stat()
	if err == nil && fi.IsDir() {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		f.Close()
		return Object{}, diskError(err)
	}
	return Object{Body: f, Info: Info{Size: fi.Size(), ModTime: fi.ModTime()}}, nil
}

// Stat looks at the file of k.
func (d *Disk) Stat(_ context.Context, k Key) (Info, error) {
	path, err := d.path(k)
	if err != nil {
		return Info{}, err
	}
	fi, err := os.Lstat(path)
	if err == nil && fi.IsDir() {
		err = &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return Info{}, diskError(err)
	}
	return Info{Size: fi.Size(), ModTime: fi.ModTime()}, nil
}

// Put writes the file of k beside its place, syncs it, renames it and syncs
// the directory.
func (d *Disk) Put(_ context.Context, k Key, data []byte) error {
	path, err := d.path(k)
	if err != nil {
		return err
	}
	d.tree.RLock()
	defer d.tree.RUnlock()
	dir := filepath.Dir(path)
	if err := d.ensureDir(dir); err != nil {
		return diskError(err)
	}
	if err := d.files.replaceFile(path, data, d.replace(path, k, true)); err != nil {
		return diskError(err)
	}
	return diskError(d.dirs.Sync(dir))
}

// PutLoose is Put without syncs. Where it replaces a file the new one is
// synced before the rename: some file systems would else leave an empty file
// where the old one was.
func (d *Disk) PutLoose(_ context.Context, k Key, data []byte) error {
	path, err := d.path(k)
	if err != nil {
		return err
	}
	d.tree.RLock()
	defer d.tree.RUnlock()
	_, err = os.Lstat(path)
	replaces := err == nil
	err = d.files.replaceFile(path, data, d.replace(path, k, replaces))
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.makeDirs(filepath.Dir(path)); err == nil {
			err = d.files.replaceFile(path, data, d.replace(path, k, replaces))
		}
	}
	return diskError(err)
}

// Adopt renames the file at path to the place of k: synced and read-only
// before, its directory synced after.
func (d *Disk) Adopt(_ context.Context, k Key, f *os.File, path string) error {
	to, err := d.path(k)
	if err != nil {
		return err
	}
	if err := d.files.sync(f); err != nil {
		return diskError(fmt.Errorf("%w: %w", errUnsynced, err))
	}
	if err := d.files.chmod(f, blobPerm); err != nil {
		return diskError(err)
	}
	d.tree.RLock()
	defer d.tree.RUnlock()
	dir := filepath.Dir(to)
	if err := d.ensureDir(dir); err != nil {
		return diskError(err)
	}
	if err := d.files.rename(path, to); err != nil {
		return diskError(err)
	}
	return diskError(d.dirs.Sync(dir))
}

// Touch sets the time of the file of k.
func (d *Disk) Touch(_ context.Context, k Key, now time.Time) error {
	path, err := d.path(k)
	if err != nil {
		return err
	}
	return diskError(os.Chtimes(path, now, now))
}

// Move renames the file of one key to that of another.
func (d *Disk) Move(_ context.Context, from, to Key) error {
	src, err := d.path(from)
	if err != nil {
		return err
	}
	dst, err := d.path(to)
	if err != nil {
		return err
	}
	d.tree.RLock()
	defer d.tree.RUnlock()
	if err := d.ensureDir(filepath.Dir(dst)); err != nil {
		return diskError(err)
	}
	if err := d.files.rename(src, dst); err != nil {
		return diskError(err)
	}
	if err := d.dirs.Sync(filepath.Dir(dst)); err != nil {
		return diskError(err)
	}
	return diskError(d.dirs.Sync(filepath.Dir(src)))
}

// Copy gives the file of one key that of another as a second name. Nothing is
// ever written into a file that has its name.
func (d *Disk) Copy(_ context.Context, from, to Key) error {
	src, err := d.path(from)
	if err != nil {
		return err
	}
	dst, err := d.path(to)
	if err != nil {
		return err
	}
	d.tree.RLock()
	defer d.tree.RUnlock()
	if err := d.ensureDir(filepath.Dir(dst)); err != nil {
		return diskError(err)
	}
	if err := d.files.link(src, dst); err != nil {
		return diskError(err)
	}
	return diskError(d.dirs.Sync(filepath.Dir(dst)))
}

// Delete removes the file of k, and the directories that it leaves empty.
func (d *Disk) Delete(_ context.Context, k Key) error {
	path, err := d.path(k)
	if err != nil {
		return err
	}
	if err := d.files.remove(path); err != nil {
		return diskError(err)
	}
	dir := filepath.Dir(path)
	err = d.dirs.Sync(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // somebody pruned it, after the name had gone
	}
	d.prune(dir)
	return diskError(err)
}

// Drop removes the file of k. A power cut may bring it back, whole.
func (d *Disk) Drop(_ context.Context, k Key) error {
	path, err := d.path(k)
	if err != nil {
		return err
	}
	if err := d.files.remove(path); err != nil {
		return diskError(err)
	}
	d.prune(filepath.Dir(path))
	return nil
}

// prune removes empty directories of repositories, dir and those above. The
// shards of blobs stay. It is housekeeping: where somebody is writing it does
// nothing, and an empty directory that stays is never listed.
func (d *Disk) prune(dir string) {
	const kept = 2 // components: v/m
	if d.shared || !strings.Contains(dir, "/_") || !d.tree.TryLock() {
		return
	}
	defer d.tree.Unlock()
	for ; ; dir = filepath.Dir(dir) {
		rel, ok := strings.CutPrefix(dir, d.root+"/")
		if !ok || strings.Count(rel, "/") < kept {
			return
		}
		if d.files.remove(dir) != nil { // not empty
			return
		}
		d.mu.Lock()
		delete(d.durable, dir)
		d.mu.Unlock()
	}
}

// ensureDir makes dir and those above it, and makes their names durable. A
// directory that is there already may have been made a moment ago by somebody
// who has not synced it yet, so each is synced once by this process.
func (d *Disk) ensureDir(dir string) error {
	if d.isDurable(dir) {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := d.ensureDir(parent); err != nil {
		return err
	}
	if err := d.files.mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := d.dirs.Sync(parent); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.durable) >= maxDurable {
		d.durable = map[string]struct{}{d.root: {}}
	}
	d.durable[dir] = struct{}{}
	return nil
}

// maxDurable bounds what a Disk remembers; forgetting costs a few syncs.
const maxDurable = 16 << 10

func (d *Disk) isDurable(dir string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.durable[dir]
	return ok
}

// makeDirs makes dir and those above it, without any sync.
func (d *Disk) makeDirs(dir string) error {
	err := d.files.mkdir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.makeDirs(filepath.Dir(dir)); err != nil {
			return err
		}
		err = d.files.mkdir(dir)
	}
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return err
}

// List walks the directories in the order of the keys.
func (d *Disk) List(ctx context.Context, prefix, after string, deep bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		dir, start := "", prefix
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			dir, start = prefix[:i+1], prefix[i+1:]
			if err := Key(prefix[:i]).Check(); err != nil {
				yield(Entry{}, err)
				return
			}
		}
		w := walk{d: d, ctx: ctx, after: after, deep: deep, yield: yield}
		w.dir(dir, start)
	}
}

// A walk is one run of List.
type walk struct {
	d     *Disk
	ctx   context.Context // of the one call of the sequence that the walk is
	after string
	deep  bool
	yield func(Entry, error) bool
}

// dir walks the directory of prefix ("" or ending in '/'), names starting with
// start only. It reports whether to go on.
func (w *walk) dir(prefix, start string) bool {
	if err := w.ctx.Err(); err != nil {
		w.yield(Entry{}, err)
		return false
	}
	list, err := os.ReadDir(w.d.root + "/" + prefix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.yield(Entry{}, diskError(err))
		return false
	}
	// Keys are ordered by their bytes: below "a/" comes after "a-b".
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	for _, e := range list {
		name := e.Name()
		if !strings.HasPrefix(name, start) || strings.HasPrefix(name, tempPrefix) {
			continue
		}
		if !w.entry(prefix, e) {
			return false
		}
	}
	return true
}

func (w *walk) entry(prefix string, e fs.DirEntry) bool {
	key := prefix + sortName(e)
	switch {
	case !e.IsDir():
		return key <= w.after || w.yield(Entry{Key: key, Info: infoOf(e)}, nil)
	case w.deep:
		if key <= w.after && !strings.HasPrefix(w.after, key) {
			return true // all below comes before
		}
		return w.dir(key, "")
	case key <= w.after || !w.d.holds(key):
		return true
	}
	return w.yield(Entry{Key: key, Info: func() (Info, error) { return Info{}, nil }}, nil)
}

// holds reports whether there is any object below prefix.
func (d *Disk) holds(prefix string) bool {
	list, err := os.ReadDir(d.root + "/" + prefix)
	if err != nil {
		return false
	}
	for _, e := range list {
		if e.IsDir() && d.holds(prefix+e.Name()+"/") || !e.IsDir() && !strings.HasPrefix(e.Name(), tempPrefix) {
			return true
		}
	}
	return false
}

func sortName(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

func infoOf(e fs.DirEntry) func() (Info, error) {
	return func() (Info, error) {
		fi, err := e.Info()
		if err != nil {
			return Info{}, diskError(err)
		}
		return Info{Size: fi.Size(), ModTime: fi.ModTime()}, nil
	}
}
