package store

import (
	"errors"
	"testing"

	"github.com/entrepot/entrepot/oci"
)

// TestAttach looks into a store that somebody else has open, and takes nothing in.
func TestAttach(t *testing.T) {
	dir := t.TempDir()
	if _, err := Attach(dir, Config{}); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("an empty directory: got %v, want ErrNotFound", err)
	}
	s := open(t, dir, Config{})
	d := fill(t, s.Cache(), "a blob")
	beside, err := Attach(dir, Config{})
	if err != nil {
		t.Fatal(err)
	}
	f, size, err := beside.Cache().Open(d)
	if err != nil || size != 6 {
		t.Fatalf("Open = %d, %v", size, err)
	}
	f.Close()
	if _, err := beside.Cache().Spool(some, 1); !errors.Is(err, oci.ErrUnsupported) {
		t.Errorf("Spool: got %v, want ErrUnsupported", err)
	}
	if _, err := beside.Vault().NewUpload(t.Context(), app, ""); !errors.Is(err, oci.ErrUnsupported) {
		t.Errorf("NewUpload: got %v, want ErrUnsupported", err)
	}
	got, err := beside.Measure(t.Context())
	if err != nil || got.Cache.Blobs != 1 || got.Cache.Bytes != 6 || got.Cache.Oldest != got.Cache.Newest {
		t.Errorf("Measure = %+v, %v", got, err)
	}
	if err := beside.Close(); err != nil {
		t.Fatal(err)
	}
	if !exists(dir + "/RUN") {
		t.Error("closing what was attached took the owner's dirty flag away")
	}
}
