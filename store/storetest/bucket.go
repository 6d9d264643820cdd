// Package storetest holds the suite that every implementation of
// [store.Bucket] passes.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/store"
)

// TestBucket runs the suite. Open returns an empty bucket for each case; the
// powers that it finds by assertion are tested where the bucket has them.
func TestBucket(t *testing.T, open func(t *testing.T) store.Bucket) {
	for name, test := range map[string]func(*testing.T, store.Bucket){
		"put and open":       putAndOpen,
		"replace":            replace,
		"absent":             absent,
		"delete":             remove,
		"invalid keys":       invalidKeys,
		"list deep":          listDeep,
		"list shallow":       listShallow,
		"list after":         listAfter,
		"list cancelled":     listCancelled,
		"concurrent puts":    concurrentPuts,
		"concurrent deletes": concurrentDeletes,
		"adopt":              adopt,
		"loose":              loose,
		"touch":              touch,
		"move":               move,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func put(t *testing.T, b store.Bucket, keys ...store.Key) {
	t.Helper()
	for _, k := range keys {
		if err := b.Put(t.Context(), k, []byte(k)); err != nil {
			t.Fatalf("Put(%s): %v", k, err)
		}
	}
}

// get returns what is stored under k.
func get(t *testing.T, b store.Bucket, k store.Key) string {
	t.Helper()
	o, err := b.Open(t.Context(), k)
	if err != nil {
		t.Fatalf("Open(%s): %v", k, err)
	}
	defer o.Body.Close()
	got, err := io.ReadAll(o.Body)
	if err != nil {
		t.Fatalf("read %s: %v", k, err)
	}
	if int64(len(got)) != o.Size {
		t.Errorf("%s: Size is %d, read %d bytes", k, o.Size, len(got))
	}
	return string(got)
}

func keysOf(t *testing.T, b store.Bucket, prefix, after string, deep bool) []string {
	t.Helper()
	var keys []string
	for e, err := range b.List(t.Context(), prefix, after, deep) {
		if err != nil {
			t.Fatalf("List(%q): %v", prefix, err)
		}
		keys = append(keys, e.Key)
	}
	return keys
}

func wantAbsent(t *testing.T, b store.Bucket, k store.Key) {
	t.Helper()
	if o, err := b.Open(t.Context(), k); !errors.Is(err, oci.ErrNotFound) {
		if err == nil {
			o.Body.Close()
		}
		t.Errorf("Open(%s): got %v, want ErrNotFound", k, err)
	}
	if _, err := b.Stat(t.Context(), k); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Stat(%s): got %v, want ErrNotFound", k, err)
	}
}

func putAndOpen(t *testing.T, b store.Bucket) {
	for _, content := range []string{"", "x", string(bytes.Repeat([]byte("entrepot"), 1<<17))} {
		if err := b.Put(t.Context(), "a/b/c", []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got := get(t, b, "a/b/c"); got != content {
			t.Errorf("got %d bytes, want %d", len(got), len(content))
		}
		info, err := b.Stat(t.Context(), "a/b/c")
		if err != nil || info.Size != int64(len(content)) || time.Since(info.ModTime).Abs() > time.Hour {
			t.Errorf("Stat = %+v, %v, want %d bytes and about now", info, err, len(content))
		}
	}
	o, err := b.Open(t.Context(), "a/b/c")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	if _, err := o.Body.Seek(-8, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(o.Body); string(got) != "entrepot" {
		t.Errorf("after Seek: got %q, %v", got, err)
	}
}

func replace(t *testing.T, b store.Bucket) {
	put(t, b, "a/b")
	o, err := b.Open(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	if err := b.Put(t.Context(), "a/b", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if got := get(t, b, "a/b"); got != "new" {
		t.Errorf("got %q, want the new content", got)
	}
	if got, err := io.ReadAll(o.Body); string(got) != "a/b" {
		t.Errorf("the open object: got %q, %v, want the old content", got, err)
	}
}

func absent(t *testing.T, b store.Bucket) {
	put(t, b, "a/b/c")
	for _, k := range []store.Key{"x", "a", "a/b", "a/b/d", "a/b/c.d"} {
		wantAbsent(t, b, k)
	}
	if err := b.Delete(t.Context(), "a/b/d"); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Delete: got %v, want ErrNotFound", err)
	}
}

func remove(t *testing.T, b store.Bucket) {
	put(t, b, "v/m/a/_m/d/1", "v/m/a/_m/d/2", "v/m/a/b/_m/d/1")
	for _, k := range []store.Key{"v/m/a/_m/d/1", "v/m/a/_m/d/2"} {
		if err := b.Delete(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		wantAbsent(t, b, k)
	}
	if got, want := keysOf(t, b, "v/m/a/", "", false), []string{"v/m/a/b/"}; !slices.Equal(got, want) {
		t.Errorf("what is left: got %q, want %q", got, want)
	}
	put(t, b, "v/m/a/_m/d/3") // where everything was removed
	get(t, b, "v/m/a/_m/d/3")
}

func invalidKeys(t *testing.T, b store.Bucket) {
	for _, k := range []store.Key{"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/..", "a b", "a\x00", "ä", "a:b", "a\\b", "~a"} {
		if err := b.Put(t.Context(), k, nil); !errors.Is(err, oci.ErrInvalid) {
			t.Errorf("Put(%q): got %v, want ErrInvalid", k, err)
		}
		if _, err := b.Open(t.Context(), k); !errors.Is(err, oci.ErrInvalid) {
			t.Errorf("Open(%q): got %v, want ErrInvalid", k, err)
		}
		if _, err := b.Stat(t.Context(), k); !errors.Is(err, oci.ErrInvalid) {
			t.Errorf("Stat(%q): got %v, want ErrInvalid", k, err)
		}
		if err := b.Delete(t.Context(), k); !errors.Is(err, oci.ErrInvalid) {
			t.Errorf("Delete(%q): got %v, want ErrInvalid", k, err)
		}
	}
	for _, err := range b.List(t.Context(), "a/../", "", true) {
		if !errors.Is(err, oci.ErrInvalid) {
			t.Errorf("List: got %v, want ErrInvalid", err)
		}
	}
}

// all is in the order of its bytes, which is not that of a walk of
// directories.
var all = []store.Key{"p/a", "p/a-b", "p/b!x/1", "p/b-", "p/b/1", "p/b/2/3", "p/b0", "p/c/1", "q/1"}

func listDeep(t *testing.T, b store.Bucket) {
	put(t, b, all...)
	for prefix, want := range map[string][]store.Key{
		"":     all,
		"p/":   all[:8],
		"p":    all[:8],
		"p/b":  all[2:7],
		"p/b/": all[4:6],
		"p/z":  nil,
		"z/":   nil,
	} {
		if got := keysOf(t, b, prefix, "", true); !slices.Equal(got, texts(want)) {
			t.Errorf("List(%q) = %q, want %q", prefix, got, want)
		}
	}
	for e, err := range b.List(t.Context(), "p/b/2/", "", true) {
		if err != nil {
			t.Fatal(err)
		}
		if info, err := e.Info(); err != nil || info.Size != int64(len(e.Key)) {
			t.Errorf("Info of %s = %+v, %v", e.Key, info, err)
		}
	}
}

func texts(keys []store.Key) []string {
	var out []string
	for _, k := range keys {
		out = append(out, string(k))
	}
	return out
}

func listShallow(t *testing.T, b store.Bucket) {
	put(t, b, all...)
	for prefix, want := range map[string][]string{
		"":     {"p/", "q/"},
		"p/":   {"p/a", "p/a-b", "p/b!x/", "p/b-", "p/b/", "p/b0", "p/c/"},
		"p/b":  {"p/b!x/", "p/b-", "p/b/", "p/b0"},
		"p/b/": {"p/b/1", "p/b/2/"},
	} {
		if got := keysOf(t, b, prefix, "", false); !slices.Equal(got, want) {
			t.Errorf("List(%q) = %q, want %q", prefix, got, want)
		}
	}
}

func listAfter(t *testing.T, b store.Bucket) {
	put(t, b, all...)
	for i := range all[:8] {
		if got, want := keysOf(t, b, "p/", string(all[i]), true), texts(all[i+1:8]); !slices.Equal(got, want) {
			t.Errorf("after %s: got %q, want %q", all[i], got, want)
		}
	}
	if got, want := keysOf(t, b, "p/", "p/b/1zz", true), texts(all[5:8]); !slices.Equal(got, want) {
		t.Errorf("after a key that is not there: got %q, want %q", got, want)
	}
	if got, want := keysOf(t, b, "p/", "p/b/", false), []string{"p/b0", "p/c/"}; !slices.Equal(got, want) {
		t.Errorf("shallow: got %q, want %q", got, want)
	}
}

func listCancelled(t *testing.T, b store.Bucket) {
	put(t, b, all...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var last error
	for _, err := range b.List(ctx, "p/", "", true) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", last)
	}
}

func concurrentPuts(t *testing.T, b store.Bucket) {
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			content := bytes.Repeat([]byte{byte('a' + i)}, 1000)
			for _, k := range []store.Key{"same", store.Key(fmt.Sprintf("d/%d", i))} {
				if err := b.Put(t.Context(), k, content); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := get(t, b, "same"); len(got) != 1000 || got != string(bytes.Repeat([]byte(got[:1]), 1000)) {
		t.Errorf("got %d bytes of several writers, want 1000 of one", len(got))
	}
	if got := keysOf(t, b, "d/", "", true); len(got) != 16 {
		t.Errorf("got %q, want 16 objects", got)
	}
}

// concurrentDeletes lets writers and deleters meet in one directory, which
// the deleters empty again and again.
func concurrentDeletes(t *testing.T, b store.Bucket) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			k := store.Key(fmt.Sprintf("v/m/r/_m/d/%d", i))
			for range 20 {
				if err := b.Put(t.Context(), k, []byte("x")); err != nil {
					t.Errorf("Put: %v", err)
				}
				if _, err := b.Stat(t.Context(), k); err != nil {
					t.Errorf("Stat: %v", err)
				}
				if err := b.Delete(t.Context(), k); err != nil {
					t.Errorf("Delete: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if got := keysOf(t, b, "v/", "", true); len(got) != 0 {
		t.Errorf("got %q, want nothing left", got)
	}
}

func adopt(t *testing.T, b store.Bucket) {
	a, ok := b.(store.Adopter)
	if !ok {
		t.Skip("the bucket is no Adopter")
	}
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("content"); err != nil {
		t.Fatal(err)
	}
	if err := a.Adopt(t.Context(), "v/b/x", f, path); err != nil {
		t.Fatal(err)
	}
	if got := get(t, b, "v/b/x"); got != "content" {
		t.Errorf("got %q", got)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	if got, err := io.ReadAll(io.NewSectionReader(f, 0, 7)); string(got) != "content" {
		t.Errorf("the open file: got %q, %v", got, err)
	}
}

func loose(t *testing.T, b store.Bucket) {
	l, ok := b.(store.Loose)
	if !ok {
		t.Skip("the bucket is not Loose")
	}
	for _, content := range []string{"old", "new", ""} {
		if err := l.PutLoose(t.Context(), "c/t/x", []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got := get(t, b, "c/t/x"); got != content {
			t.Errorf("got %q, want %q", got, content)
		}
	}
}

func touch(t *testing.T, b store.Bucket) {
	l, ok := b.(store.Toucher)
	if !ok {
		t.Skip("the bucket is no Toucher")
	}
	put(t, b, "c/b/x")
	want := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := l.Touch(t.Context(), "c/b/x", want); err != nil {
		t.Fatal(err)
	}
	if info, err := b.Stat(t.Context(), "c/b/x"); err != nil || !info.ModTime.Equal(want) {
		t.Errorf("Stat = %v, %v, want %v", info.ModTime, err, want)
	}
	if err := l.Touch(t.Context(), "c/b/y", want); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("absent: got %v, want ErrNotFound", err)
	}
}

func move(t *testing.T, b store.Bucket) {
	m, ok := b.(store.Mover)
	if !ok {
		t.Skip("the bucket is no Mover")
	}
	put(t, b, "c/b/x")
	if err := m.Move(t.Context(), "c/b/x", "q/new/x"); err != nil {
		t.Fatal(err)
	}
	wantAbsent(t, b, "c/b/x")
	if got := get(t, b, "q/new/x"); got != "c/b/x" {
		t.Errorf("got %q", got)
	}
	if err := m.Move(t.Context(), "c/b/x", "q/y"); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("absent: got %v, want ErrNotFound", err)
	}
}
