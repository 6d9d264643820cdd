package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/web"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/store"
)

// gc runs `store gc --json` and returns what it says.
func (k *kept) gc(code int, args ...string) collectedJSON {
	k.t.Helper()
	k.store(append([]string{"gc", "--json"}, args...)...)
	k.exits(code)
	var got collectedJSON
	if err := json.Unmarshal([]byte(k.out), &got); err != nil {
		k.t.Fatalf("%v in %s", err, k.out)
	}
	return got
}

// age makes all blobs of the vault two days old.
func (k *kept) age() {
	k.t.Helper()
	then := time.Now().Add(-48 * time.Hour)
	err := filepath.WalkDir(filepath.Join(k.dir, "v/b"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			err = os.Chtimes(path, then, then)
		}
		return err
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

// TestStoreGC collects beside a server that has the store open.
func TestStoreGC(t *testing.T) {
	k := newKept(t)
	for i := range 12 {
		pushed(t, k.open, "apps/one", fmt.Sprintf("layer %02d %s", i, strings.Repeat("x", 100)))
	}
	gone, blob := pushed(t, k.open, "apps/two", "layer of what goes")
	if err := k.open.Vault().DeleteManifest(t.Context(), ref.Name{Path: "apps/two"}, gone.Digest); err != nil {
		t.Fatal(err)
	}
	if got := k.gc(exitDone); got.Garbage.Blobs != 0 || got.Manifests != 12 || got.Blobs.Blobs != 26 {
		t.Errorf("what is young: %+v", got)
	}
	k.age()
	if got := k.gc(exitDone, "--dry-run"); got.Garbage.Blobs != 2 || got.Removed.Blobs != 0 || !got.DryRun {
		t.Errorf("dry run: %+v", got)
	}
	k.store("gc", "--dry-run")
	k.exits(exitDone)
	if !strings.Contains(k.out, "12 manifests need 24 blobs") || !strings.Contains(k.out, "2 blobs (") || !strings.Contains(k.out, "would go") {
		t.Errorf("dry run:\n%s", k.out)
	}
	if got := k.gc(exitDone); got.Removed.Blobs != 2 {
		t.Errorf("collect: %+v", got)
	}
	if _, err := k.open.Vault().Stat(t.Context(), ref.Name{Path: "apps/two"}, blob.Digest); err == nil {
		t.Error("the server still has what was collected")
	}
	k.store("gc", "--undo")
	k.exits(exitDone)
	if !strings.Contains(k.out, "brought back 2 blobs") {
		t.Errorf("undo:\n%s", k.out)
	}
	if _, err := k.open.Vault().Stat(t.Context(), ref.Name{Path: "apps/two"}, blob.Digest); err != nil {
		t.Errorf("after undo: %v", err)
	}
	k.store("gc", "--undo", "--force")
	k.exits(exitUsage)
}

func TestStoreGCRefused(t *testing.T) {
	k := newKept(t)
	image, _ := pushed(t, k.open, "apps/one", "the only layer")
	if err := k.open.Vault().DeleteManifest(t.Context(), ref.Name{Path: "apps/one"}, image.Digest); err != nil {
		t.Fatal(err)
	}
	k.age()
	if got := k.gc(exitFailed); got.Removed.Blobs != 0 || got.Refused == "" || got.Error == "" {
		t.Errorf("got %+v", got)
	}
	if !strings.Contains(k.errors, "there is no manifest at all, but 2 blobs") || !strings.Contains(k.errors, "--force") {
		t.Errorf("errors:\n%s", k.errors)
	}
	if got := k.gc(exitDone, "--dry-run"); got.Refused == "" || !strings.Contains(k.errors, "it would be refused") {
		t.Errorf("dry run: %+v\n%s", got, k.errors)
	}
	if got := k.gc(exitDone, "--force"); got.Removed.Blobs != 2 {
		t.Errorf("forced: %+v", got)
	}
}

// TestServeCollects: a server collects on its own, and goes by when that was
// done last, by whomever.
func TestServeCollects(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { // its clock is years behind that of the files: all of them are old
		st, err := store.Open(dir, store.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		pushed(t, st, "apps/one", "a layer "+strings.Repeat("x", 5000))
		gone, _ := pushed(t, st, "apps/two", "what goes")
		for i := range 20 {
			pushed(t, st, "apps/one", fmt.Sprint("a layer ", i))
		}
		if err := st.Vault().DeleteManifest(t.Context(), ref.Name{Path: "apps/two"}, gone.Digest); err != nil {
			t.Fatal(err)
		}
		s := &server{cfg: config{gcInterval: 24 * time.Hour}, log: slog.New(slog.DiscardHandler), store: st, metrics: web.NewMetrics(web.MetricsConfig{})}
		ctx, stop := context.WithCancel(t.Context())
		s.background.Go(func() { s.collectAlways(ctx) })
		blobs := func(after time.Duration) int64 {
			time.Sleep(after)
			synctest.Wait()
			return st.Usage().Vault.Blobs
		}
		if n := blobs(9 * time.Minute); n != 44 {
			t.Errorf("%d blobs before the first collection, want 44", n)
		}
		if n := blobs(2 * time.Minute); n != 42 {
			t.Errorf("%d blobs after it, want 42", n)
		}
		stop()
		s.background.Wait()
		if wait := s.nextCollection(t.Context()); wait < 23*time.Hour || wait > 24*time.Hour {
			t.Errorf("after a restart the next is in %v, want a day after the last", wait)
		}
		s.cfg.gcInterval = 0
		s.collectAlways(t.Context()) // returns, since never means never
	})
}

// TestStoreGCAlone collects where no server runs: what the undo window has comes
// back, what has left it does not, and nothing is said where nothing is to be.
func TestStoreGCAlone(t *testing.T) {
	k := newKept(t)
	pushed(t, k.open, "apps/one", "a layer "+strings.Repeat("x", 5000))
	for i := range 20 {
		pushed(t, k.open, "apps/one", fmt.Sprint("a layer ", i))
	}
	gone, _ := pushed(t, k.open, "apps/two", "what goes")
	if err := k.open.Vault().DeleteManifest(t.Context(), ref.Name{Path: "apps/two"}, gone.Digest); err != nil {
		t.Fatal(err)
	}
	if err := k.open.Close(); err != nil {
		t.Fatal(err)
	}
	k.age()
	k.store("gc", "--quiet")
	k.exits(exitDone)
	if k.out != "" || k.errors != "" {
		t.Errorf("quiet: %q, %q", k.out, k.errors)
	}
	k.store("gc", "--undo", "--json")
	k.exits(exitDone)
	var back restoredJSON
	if err := json.Unmarshal([]byte(k.out), &back); err != nil || back.Restored.Blobs != 2 || back.Storage != k.dir {
		t.Errorf("undo: %+v, %v", back, err)
	}
	k.age()
	if got := k.gc(exitDone); got.Removed.Blobs != 2 || got.Freed.Blobs != 0 {
		t.Errorf("again: %+v", got)
	}
	hours, err := filepath.Glob(filepath.Join(k.dir, "trash/b/_*"))
	if err != nil || len(hours) != 1 {
		t.Fatalf("the trash has %v, %v", hours, err)
	}
	long := filepath.Join(filepath.Dir(hours[0]), time.Now().Add(-26*time.Hour).UTC().Format("_2006010215"))
	if err := os.Rename(hours[0], long); err != nil {
		t.Fatal(err)
	}
	if got := k.gc(exitDone, "--dry-run"); got.Freed.Blobs != 0 {
		t.Errorf("a dry run has freed %+v", got.Freed)
	}
	if got := k.gc(exitDone); got.Freed.Blobs != 2 {
		t.Errorf("a day later: %+v", got)
	}
	k.store("gc", "--undo")
	k.exits(exitDone)
	if !strings.Contains(k.out, "brought back 0 blobs") {
		t.Errorf("undo of nothing:\n%s", k.out)
	}
	k.dir = t.TempDir()
	k.store("gc")
	k.exits(exitFailed)
	if !strings.Contains(k.errors, "there is no store in ") || !strings.Contains(k.errors, "entrepot: hint: ") {
		t.Errorf("without a store:\n%s", k.errors)
	}
}
