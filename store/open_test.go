package store

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/oci"
)

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		make func(dir string) error
		want string
	}{
		"a newer format":  {func(dir string) error { return os.WriteFile(dir+"/FORMAT", []byte("entrepot store 2\nx\n"), 0o600) }, "entrepot store 2"},
		"an empty format": {func(dir string) error { return os.WriteFile(dir+"/FORMAT", nil, 0o600) }, "FORMAT"},
		"foreign files":   {func(dir string) error { return os.WriteFile(dir+"/thesis.tex", nil, 0o600) }, "thesis.tex"},
	} {
		dir := t.TempDir()
		if err := c.make(dir); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, Config{})
		if err == nil {
			s.Close()
			t.Errorf("%s: was opened", name)
		} else if !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error %q does not name %s and %s", name, err, dir, c.want)
		}
	}
}

func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	if _, err := Open(dir, Config{}); err == nil || !strings.Contains(err.Error(), dir+" is in use by another process") ||
		!strings.Contains(err.Error(), "choose another directory") {
		t.Errorf("the second open: got %v, want an error that names the directory and what to do", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if exists(filepath.Join(dir, "RUN")) {
		t.Error("the dirty flag is there after Close")
	}
	open(t, dir, Config{})
}

// An endlessBucket never comes to the end of a list.
type endlessBucket struct{ *Disk }

func (b endlessBucket) List(ctx context.Context, _, _ string, _ bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		<-ctx.Done()
		yield(Entry{}, ctx.Err())
	}
}

// TestOpenDoesNotWalk: a store is ready, after a kill too, before anybody has
// looked at what it holds, and Close does not wait for that either:
// bazel-remote#386.
func TestOpenDoesNotWalk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	d := fill(t, s.Cache(), "a blob")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "RUN"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Config{wrap: func(d *Disk) Bucket { return endlessBucket{d} }})
	if got, err := cached(s.Cache(), d); err != nil || got != "a blob" {
		t.Errorf("got %q, %v", got, err)
	}
	if s.Usage().Counted {
		t.Error("an endless list was counted")
	}
}

func TestUsageCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := Usage{Cache: PoolUsage{1, 3}, Vault: PoolUsage{1, 5}, Counted: true}
		check := func(s *Store) {
			t.Helper()
			synctest.Wait() // until the background has counted
			if got := s.Usage(); got != want {
				t.Errorf("Usage() = %+v, want %+v", got, want)
			}
		}
		dir := t.TempDir()
		s := open(t, dir, Config{})
		pushBlob(t, s.Vault(), app, "12345")
		fill(t, s.Cache(), "123")
		check(s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, Config{})
		check(s)
		if err := s.Cache().Quarantine(digestOf("123")); err != nil {
			t.Fatal(err)
		}
		want.Cache = PoolUsage{}
		check(s)
	})
}

// TestSweep lets a day pass for what nobody went on with: an upload that nobody
// ends does not stay for ever, zot#2598, harbor#17651, quay#6885.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir, Config{})
		u, err := s.Vault().NewUpload(t.Context(), app, "")
		if err != nil {
			t.Fatal(err)
		}
		sp, err := s.Cache().Spool(digestOf("abc"), 3)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sp.Write([]byte("ab")); err != nil {
			t.Fatal(err)
		}
		if err := sp.Keep(); err != nil {
			t.Fatal(err)
		}
		sp.Release()
		// The bubble's clock starts in 2000, the files are of today.
		now := time.Now()
		for _, path := range []string{sp.path + ".st", filepath.Join(dir, "up", u.ID(), "data")} {
			if err := os.Chtimes(path, now, now); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		if _, err := s.Vault().Upload(t.Context(), app, u.ID()); err != nil || !exists(sp.path) {
			t.Fatalf("swept before its time: %v", err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if _, err := s.Vault().Upload(t.Context(), app, u.ID()); !errors.Is(err, oci.ErrNotFound) {
			t.Errorf("the upload after a day: got %v, want ErrNotFound", err)
		}
		for _, name := range []string{"tmp", "up"} {
			if list, err := os.ReadDir(filepath.Join(dir, name)); err != nil || len(list) != 0 {
				t.Errorf("%s after a day: %v, %v", name, list, err)
			}
		}
	})
}

// logged returns a logger and what it wrote.
func logged() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}
