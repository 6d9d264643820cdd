package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/store"
)

// A kept is a store on disk, looked at with `entrepot store`.
type kept struct {
	t           *testing.T
	dir         string
	code        int
	out, errors string
	open        *store.Store // as a server has it
}

// newKept opens a store in a new directory.
func newKept(t *testing.T) *kept {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(dir, store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &kept{t: t, dir: dir, open: s}
}

// store runs a command on it.
func (k *kept) store(args ...string) {
	k.t.Helper()
	var out, errs bytes.Buffer
	k.code = Main(k.t.Context(), Env{
		Args: append([]string{"store", "--storage", k.dir}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(string) string { return "" },
	})
	k.out, k.errors = out.String(), errs.String()
}

// exits checks the exit code of the last command.
func (k *kept) exits(code int) {
	k.t.Helper()
	if k.code != code {
		k.t.Fatalf("exit %d, want %d\n%s%s", k.code, code, k.out, k.errors)
	}
}

// stats returns what `store stats --json` says.
func (k *kept) stats() statsJSON {
	k.t.Helper()
	k.store("stats", "--json")
	k.exits(exitDone)
	var got statsJSON
	if err := json.Unmarshal([]byte(k.out), &got); err != nil {
		k.t.Fatal(err)
	}
	return got
}

// source gives content to a push.
func source(content []byte) oci.Source {
	return func(_ context.Context, off int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content[off:])), nil
	}
}

// pushed stores an image of one layer, which is its config too, in the vault.
func pushed(t *testing.T, s *store.Store, repo, layer string) (image, blob oci.Descriptor) {
	t.Helper()
	n := ref.Name{Path: repo}
	blob = oci.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: oci.FromBytes([]byte(layer), ""), Size: int64(len(layer))}
	if err := s.Vault().PutBlob(t.Context(), n, blob, source([]byte(layer))); err != nil {
		t.Fatal(err)
	}
	m := manifestOf(blob)
	if err := s.Vault().PutManifest(t.Context(), n, m, "1"); err != nil {
		t.Fatal(err)
	}
	return m.Descriptor(), blob
}

// manifestOf returns a manifest whose config and only layer is the blob.
func manifestOf(blob oci.Descriptor) oci.Manifest {
	raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		oci.TypeImageManifest, "application/vnd.oci.image.config.v1+json", blob.Digest, blob.Size, blob.MediaType, blob.Digest, blob.Size)
	return oci.Manifest{MediaType: oci.TypeImageManifest, Digest: oci.FromBytes(raw, ""), Raw: raw}
}

// TestStoreStatsBesideServer counts what is in a store that somebody else has
// open.
func TestStoreStatsBesideServer(t *testing.T) {
	k := newKept(t)
	if got := k.stats(); got.Cache.Blobs != 0 || got.Pushed.Blobs != 0 || got.Disk.Total == 0 {
		t.Errorf("empty: got %+v", got)
	}
	pushed(t, k.open, "apps/one", "a layer")
	got := k.stats()
	if got.Pushed.Manifests != 1 || got.Pushed.Blobs != 2 || got.Pushed.Bytes == 0 || got.Pushed.Newest == "" || got.Cache.Blobs != 0 {
		t.Errorf("after a push of a manifest and a layer: got %+v", got)
	}
	k.store("stats")
	k.exits(exitDone)
	if !strings.Contains(k.out, "pushed  1          2") {
		t.Errorf("the table:\n%s", k.out)
	}
}

func TestStoreRefuses(t *testing.T) {
	k := &kept{t: t, dir: t.TempDir()}
	k.store("stats")
	k.exits(exitFailed)
	if !strings.Contains(k.errors, "there is no store in "+k.dir) || !strings.Contains(k.errors, "--storage") {
		t.Errorf("errors:\n%s", k.errors)
	}
	k.store("stats", "more")
	k.exits(exitUsage)
	k.dir = "s3://bucket"
	k.store("stats")
	k.exits(exitUsage)
}
