package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/entrepot/entrepot/oci"
)

// fill stores content in the cache and returns its digest.
func fill(t testing.TB, c *Cache, content string) oci.Digest {
	t.Helper()
	d := digestOf(content)
	sp := spool(t, c, d, int64(len(content)))
	write(t, sp, content)
	if err := sp.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// spool returns a spool that is released with the test.
func spool(t testing.TB, c *Cache, d oci.Digest, size int64) *Spool {
	t.Helper()
	sp, err := c.Spool(d, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sp.Release)
	return sp
}

func write(t testing.TB, sp *Spool, content string) {
	t.Helper()
	if n, err := io.WriteString(sp, content); err != nil || n != len(content) {
		t.Fatalf("Write = %d, %v", n, err)
	}
}

// cached returns what the cache has under d.
func cached(c *Cache, d oci.Digest) (string, error) {
	f, size, err := c.Open(d)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err == nil && int64(len(b)) != size {
		err = fmt.Errorf("size is %d, there are %d bytes", size, len(b))
	}
	return string(b), err
}

func TestSpoolCommits(t *testing.T) {
	content := strings.Repeat("entrepot", 1000)
	for _, d := range []oci.Digest{digestOf(content), oci.FromBytes([]byte(content), "sha512:x")} {
		for _, size := range []int64{int64(len(content)), -1} {
			dir := t.TempDir()
			c := open(t, dir, Config{}).Cache()
			sp := spool(t, c, d, size)
			write(t, sp, content[:10])
			if _, err := cached(c, d); !errors.Is(err, oci.ErrNotFound) {
				t.Errorf("visible before it was complete: %v", err)
			}
			write(t, sp, content[10:])
			if err := sp.Verify(); err != nil {
				t.Fatal(err)
			}
			if err := sp.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, err := cached(c, d); err != nil || got != content {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			k, _ := cacheBlobKey(d)
			if fi, err := os.Stat(filepath.Join(dir, string(k))); err != nil || fi.Mode() != 0o444 {
				t.Errorf("mode %v, %v, want 0444", fi.Mode(), err)
			}
			if err := tidy(dir); err != nil {
				t.Error(err)
			}
			if err := sp.Commit(t.Context()); err == nil {
				t.Error("a second Commit succeeded")
			}
		}
	}
}

func TestSpoolRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		size    int64
	}{
		"other bytes":              {"layeR", 5},
		"too short":                {"laye", 5},
		"other bytes, no size":     {"layeR", -1},
		"a prefix, no size":        {"lay", -1},
		"the digest of other size": {"layer", 6},
	} {
		dir := t.TempDir()
		cache := open(t, dir, Config{}).Cache()
		d := digestOf("layer")
		sp := spool(t, cache, d, c.size)
		write(t, sp, c.content)
		if err := sp.Verify(); !errors.Is(err, oci.ErrMismatch) {
			t.Errorf("%s: Verify: got %v, want ErrMismatch", name, err)
		}
		if err := sp.Commit(t.Context()); !errors.Is(err, oci.ErrMismatch) {
			t.Errorf("%s: Commit: got %v, want ErrMismatch", name, err)
		}
		if _, err := cached(cache, d); !errors.Is(err, oci.ErrNotFound) {
			t.Errorf("%s: it is visible: %v", name, err)
		}
		if list, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(list) > 0 {
			t.Errorf("%s: left in tmp: %v, %v", name, list, err)
		}
	}
}

func TestSpoolStopsBehindItsSize(t *testing.T) {
	c := open(t, t.TempDir(), Config{}).Cache()
	sp := spool(t, c, digestOf("layer"), 5)
	write(t, sp, "lay")
	if n, err := sp.Write([]byte("er!")); n != 0 || !errors.Is(err, oci.ErrMismatch) {
		t.Errorf("one byte too many: got %d, %v, want ErrMismatch", n, err)
	}
	write(t, sp, "er")
	if err := sp.Commit(t.Context()); err != nil {
		t.Errorf("the right bytes after that: %v", err)
	}
}

// TestSpoolResumes keeps a spool, in the same process, over a clean restart
// and over a power cut, and goes on where it stopped.
func TestSpoolResumes(t *testing.T) {
	content := strings.Repeat("0123456789", 100)
	for _, alg := range []oci.Digest{"sha256:x", "sha512:x"} {
		for name, boots := range map[string][]string{"same process": {""}, "restart": {"a", "a"}, "power cut": {"a", "b"}} {
			dir := t.TempDir()
			d := oci.FromBytes([]byte(content), alg)
			s := open(t, dir, Config{boot: boots[0]})
			sp := spool(t, s.Cache(), d, 1000)
			write(t, sp, content[:500])
			if err := sp.Keep(); err != nil {
				t.Fatal(err)
			}
			if len(boots) > 1 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, dir, Config{boot: boots[1]})
			}
			sp = spool(t, s.Cache(), d, 1000)
			if sp.Size() != 500 {
				t.Fatalf("%s: goes on at %d, want 500", name, sp.Size())
			}
			write(t, sp, content[500:])
			if err := sp.Commit(t.Context()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got, err := cached(s.Cache(), d); err != nil || got != content {
				t.Errorf("%s: got %d other bytes, %v", name, len(got), err)
			}
			if err := tidy(dir); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestSpoolCheckpoints: a kill costs 8 MiB at most, and the bytes behind the
// checkpoint are not taken for good. A power cut costs all that was not
// synced.
func TestSpoolCheckpoints(t *testing.T) {
	content := make([]byte, 20<<20)
	rand.Read(content)
	d := oci.FromBytes(content, "")
	dir := t.TempDir()
	s := open(t, dir, Config{boot: "a"})
	sp := spool(t, s.Cache(), d, int64(len(content)))
	for part := range slices.Chunk(content[:18<<20], bufferSize) {
		if _, err := sp.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	killed, cut := t.TempDir(), t.TempDir()
	for _, to := range []string{killed, cut} {
		if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	after := spool(t, open(t, cut, Config{boot: "b"}).Cache(), d, -1)
	if after.Size() != 0 {
		t.Errorf("after a power cut it goes on at %d, want 0", after.Size())
	}
	c := open(t, killed, Config{boot: "a"}).Cache()
	after = spool(t, c, d, -1)
	if after.Size() != 16<<20 || after.Want() != int64(len(content)) {
		t.Fatalf("after a kill it goes on at %d of %d, want 16 MiB of 20", after.Size(), after.Want())
	}
	if _, err := after.Write(content[16<<20:]); err != nil {
		t.Fatal(err)
	}
	if err := after.Commit(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSpoolDoesNotResume(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"state cut":   func(path string) error { return os.Truncate(path+".st", 20) },
		"state empty": func(path string) error { return os.Truncate(path+".st", 0) },
		"state gone":  func(path string) error { return os.Remove(path + ".st") },
		"file cut":    func(path string) error { return os.Truncate(path, 2) },
		"file gone":   os.Remove,
	} {
		dir := t.TempDir()
		s := open(t, dir, Config{})
		d := digestOf("layer")
		sp := spool(t, s.Cache(), d, 5)
		write(t, sp, "lay")
		if err := sp.Keep(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := damage(sp.path); err != nil {
			t.Fatal(err)
		}
		c := open(t, dir, Config{}).Cache()
		sp = spool(t, c, d, 5)
		if sp.Size() != 0 {
			t.Errorf("%s: goes on at %d, want 0", name, sp.Size())
		}
		write(t, sp, "layer")
		if err := sp.Commit(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := tidy(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSpoolOfOtherSizeStartsAgain(t *testing.T) {
	c := open(t, t.TempDir(), Config{}).Cache()
	d := digestOf("layer")
	sp := spool(t, c, d, 9)
	write(t, sp, "wrong si")
	if err := sp.Keep(); err != nil {
		t.Fatal(err)
	}
	if sp = spool(t, c, d, 5); sp.Size() != 0 {
		t.Errorf("goes on at %d of a spool of another size", sp.Size())
	}
}

// TestSpoolReaders: the file is open for as long as somebody holds it, and
// closed after, whatever became of the spool.
func TestSpoolReaders(t *testing.T) {
	for name, end := range map[string]func(*Spool) error{
		"commit":  func(sp *Spool) error { return sp.Commit(context.Background()) },
		"discard": (*Spool).Discard,
		"keep":    (*Spool).Keep,
		"nothing": func(*Spool) error { return nil },
	} {
		dir := t.TempDir()
		c := open(t, dir, Config{}).Cache()
		sp, err := c.Spool(digestOf("layer"), 5)
		if err != nil {
			t.Fatal(err)
		}
		sp.Hold()
		write(t, sp, "layer")
		early, err := sp.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer early.Close()
		if err := end(sp); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sp.Release()
		buf := make([]byte, 5)
		if _, err := sp.File().ReadAt(buf, 0); err != nil || string(buf) != "layer" {
			t.Errorf("%s: a reader that holds it: %q, %v", name, buf, err)
		}
		if err := same(early, "layer"); err != nil {
			t.Errorf("%s: its own descriptor: %v", name, err)
		}
		late, err := sp.Open()
		if gone := name == "discard"; gone != errors.Is(err, oci.ErrNotFound) {
			t.Errorf("%s: Open after it: %v", name, err)
		}
		if err == nil {
			late.Close()
		}
		sp.Release()
		if _, err := sp.File().ReadAt(buf, 0); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: after the last Release: got %v, want ErrClosed", name, err)
		}
		if err := tidy(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSpoolFollowers reads a spool while it grows.
func TestSpoolFollowers(t *testing.T) {
	c := open(t, t.TempDir(), Config{}).Cache()
	content := strings.Repeat("0123456789abcdef", 1<<14)
	sp := spool(t, c, digestOf(content), int64(len(content)))
	var wg sync.WaitGroup
	for range 4 {
		sp.Hold()
		wg.Go(func() {
			defer sp.Release()
			var got []byte
			for len(got) < len(content) {
				buf := make([]byte, sp.Size()-int64(len(got)))
				if _, err := sp.File().ReadAt(buf, int64(len(got))); err != nil {
					t.Error(err)
					return
				}
				got = append(got, buf...)
			}
			if string(got) != content {
				t.Error("a follower read other bytes")
			}
		})
	}
	for part := range slices.Chunk([]byte(content), 1000) {
		if _, err := sp.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := sp.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// TestSyncIsNotTriedAgain: after a sync that failed the file is thrown away,
// for the kernel may take its pages for clean.
func TestSyncIsNotTriedAgain(t *testing.T) {
	syncs := 0
	fail := false
	before := func(s step) (bool, error) {
		if fail && s.op == "sync" {
			syncs++
			return false, syscall.EIO
		}
		return false, nil
	}
	dir := t.TempDir()
	s := open(t, dir, Config{before: before})
	sp := spool(t, s.Cache(), digestOf("layer"), 5)
	write(t, sp, "layer")
	u, err := s.Vault().NewUpload(t.Context(), app, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Append(t.Context(), 0, strings.NewReader("layer")); err != nil {
		t.Fatal(err)
	}
	fail = true
	if err := sp.Commit(t.Context()); !errors.Is(err, syscall.EIO) || !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("Commit: got %v, want EIO and ErrUnavailable", err)
	}
	if _, err := u.Commit(t.Context(), digestOf("layer")); !errors.Is(err, syscall.EIO) {
		t.Errorf("Commit of the upload: got %v, want EIO", err)
	}
	fail = false
	if syncs != 2 {
		t.Errorf("%d syncs were tried, want 2", syncs)
	}
	if _, err := s.Vault().Upload(t.Context(), app, u.ID()); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("the upload is still there: %v", err)
	}
	if _, err := cached(s.Cache(), digestOf("layer")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("the blob is there: %v", err)
	}
	fill(t, s.Cache(), "layer")
}

func TestSpoolHasNoRoom(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, Config{}).Cache()
	_, err := c.Spool(digestOf("layer"), 1<<60)
	if !errors.Is(err, oci.ErrUnavailable) || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EFBIG) {
		t.Errorf("an exabyte: got %v, want ErrUnavailable and ENOSPC", err)
	}
	if list, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(list) > 0 {
		t.Errorf("left in tmp: %v, %v", list, err)
	}
}
