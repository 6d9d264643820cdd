package store

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A witness stands before every step of a store and knows what of its
// directory would survive a power cut then: of a file what it held when it was
// last synced, of a directory the names that it had when it was. It is
// stricter than any real file system.
type witness struct {
	t      *testing.T
	root   string
	graves string // links to all files that were removed, so that no inode's number is used again

	mu     sync.Mutex
	synced map[uint64][]byte            // :: inode → content
	names  map[string]map[string]uint64 // :: directory → name → inode, 0 for a directory

	each func(step) error // called before every step, with mu held
}

func newWitness(t *testing.T, root string) *witness {
	return &witness{t: t, root: root, graves: quickDir(t), synced: map[uint64][]byte{},
		names: map[string]map[string]uint64{root: {}}, each: func(step) error { return nil }}
}

// before is a Config's.
func (w *witness) before(s step) (done bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.each(s); err != nil {
		return false, err
	}
	switch s.op {
	case "sync":
		w.synced[w.inode(s.path)] = w.read(s.path)
		return true, nil // no need to wait for a real disk
	case "syncdir":
		w.names[s.path] = w.list(s.path)
		return true, nil
	case "mkdir":
		if _, err := os.Lstat(s.path); errors.Is(err, fs.ErrNotExist) {
			w.names[s.path] = map[string]uint64{}
		}
	case "remove":
		w.bury(s.path)
	case "rename":
		w.bury(s.to)
	}
	return false, nil
}

func (w *witness) inode(path string) uint64 {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return 0
	}
	return st.Ino
}

func (w *witness) read(path string) []byte {
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Errorf("witness: %v", err)
	}
	return b
}

func (w *witness) list(dir string) map[string]uint64 {
	names := map[string]uint64{}
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Errorf("witness: %v", err)
	}
	for _, e := range list {
		names[e.Name()] = 0
		if !e.IsDir() {
			names[e.Name()] = w.inode(filepath.Join(dir, e.Name()))
		}
	}
	return names
}

func (w *witness) bury(path string) {
	fi, err := os.Lstat(path)
	if err == nil && fi.Mode().IsRegular() {
		_ = os.Link(path, filepath.Join(w.graves, strconv.FormatUint(w.inode(path), 10))) // there already after a link
	}
}

// A fate decides what becomes of what was not synced.
type fate struct {
	name string
	boot string // of the next start
	// keep decides about a change that was not synced.
	keep func() bool
	// content decides about a file that was not synced.
	content func(synced, now []byte) []byte
}

// fates are a kill, after which the kernel still knows everything, the
// strictest power cut, and power cuts that keep some of it.
func fates(seed uint64) []fate {
	rng := rand.New(rand.NewPCG(seed, 1))
	coin := func() bool { return rng.IntN(2) == 0 }
	some := func(synced, now []byte) []byte {
		switch rng.IntN(5) {
		case 0:
			return synced
		case 1:
			return now[:rng.IntN(len(now)+1)]
		case 2:
			return make([]byte, len(now)) // the size was written, the blocks were not
		}
		return now
	}
	return []fate{
		{"kill", "boot 1", func() bool { return true }, func(_, now []byte) []byte { return now }},
		{"power cut", "boot 2", func() bool { return false }, func(synced, _ []byte) []byte { return synced }},
		{"untidy power cut", "boot 2", coin, some},
		{"power cut that kept all names", "boot 2", func() bool { return true }, some},
	}
}

// leave makes what f leaves of the directory at dst.
func (w *witness) leave(f fate, dst string) {
	w.leaveDir(f, w.root, dst)
}

func (w *witness) leaveDir(f fate, dir, dst string) {
	if err := os.MkdirAll(dst, 0o700); err != nil {
		w.t.Fatal(err)
	}
	was, is := w.names[dir], w.list(dir)
	all := slices.Sorted(maps.Keys(was))
	for name := range is {
		if _, ok := was[name]; !ok {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	for _, name := range all {
		inode, there := was[name]
		now, thereNow := is[name]
		if (inode != now || there != thereNow) && f.keep() {
			inode, there = now, thereNow
		}
		if !there {
			continue
		}
		from, to := filepath.Join(dir, name), filepath.Join(dst, name)
		if inode == 0 {
			w.leaveDir(f, from, to)
			continue
		}
		if err := os.WriteFile(to, w.leaveFile(f, inode, from), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *witness) leaveFile(f fate, inode uint64, path string) []byte {
	if w.inode(path) != inode {
		path = filepath.Join(w.graves, strconv.FormatUint(inode, 10))
	}
	synced := w.synced[inode]
	now, err := os.ReadFile(path)
	if err != nil {
		now = synced
	}
	if bytes.Equal(synced, now) {
		return now
	}
	if rest, ok := bytes.CutPrefix(now, synced); ok { // appended: what was synced stays
		return slices.Concat(synced, f.content(nil, rest))
	}
	return f.content(synced, now)
}

// quick is a Config's before that waits for no disk.
func quick(s step) (bool, error) { return strings.HasPrefix(s.op, "sync"), nil }

// quickDir returns a directory for files whose syncs nobody waits for, in RAM
// where the system has such a place.
func quickDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "entrepot-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
