package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// TestStoreVerify: a damaged blob of the cache is out of the way afterwards, one
// of a pushed image is told with exit code 4 and stays.
func TestStoreVerify(t *testing.T) {
	k := newKept(t)
	cached(t, k.open, ref.Name{Host: "docker.io", Path: "library/alpine"}, "a layer", "3.20")
	_, ours := pushed(t, k.open, "apps/one", "a layer of our own")
	k.store("verify")
	k.exits(exitDone)
	if !strings.HasPrefix(k.out, "4 blobs") {
		t.Errorf("all well: %s", k.out)
	}
	damage := func(pattern string) string {
		names, err := filepath.Glob(filepath.Join(k.dir, pattern))
		if err != nil || len(names) != 1 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		if err := os.Chmod(names[0], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(names[0], []byte("something else"), 0o600); err != nil {
			t.Fatal(err)
		}
		return names[0]
	}
	hex := func(d oci.Digest) string { return strings.TrimPrefix(string(d), "sha256:") }
	theirs := oci.FromBytes([]byte("a layer"), "")
	damage("c/b/sha256/*/" + hex(theirs))
	k.store("verify", "--dry-run", "--json")
	k.exits(exitLossy)
	if !strings.HasPrefix(k.out, `{"pool":"cache","digest":"`+string(theirs)+`","problem":"damaged","error":"the content is sha256:`) {
		t.Errorf("dry run:\n%s", k.out)
	}
	k.store("verify")
	k.exits(exitDone)
	if !strings.HasPrefix(k.out, "damaged  cache  "+string(theirs)+", dropped\n3 blobs") {
		t.Errorf("verify:\n%s", k.out)
	}
	if got := k.stats().Cache.Blobs; got != 1 {
		t.Errorf("%d blobs in the cache, want the manifest", got)
	}
	file := damage("v/b/sha256/*/" + hex(ours.Digest) + ".*")
	for range 2 {
		k.store("verify", "--rate", "1GiB")
		k.exits(exitLossy)
		if !strings.Contains(k.out, "damaged  pushed  "+string(ours.Digest)+"\n") || !strings.Contains(k.errors, "push these images again") {
			t.Errorf("verify:\n%s%s", k.out, k.errors)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	k.store("verify", "--json")
	k.exits(exitLossy)
	if !strings.Contains(k.out, `"problem":"missing"`) || !strings.Contains(k.out, `"missing":1}`) {
		t.Errorf("verify:\n%s", k.out)
	}
	k.store("verify", "--rate", "fast")
	k.exits(exitUsage)
}
