package layout_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
)

// TestLinksLeadNowhere holds that a link in a layout's directory does not lead
// out of it, whichever of its files or directories it stands for, and even
// where the bytes behind it are the right ones (CVE-2021-21272, CVE-2025-47290).
func TestLinksLeadNowhere(t *testing.T) {
	const raw = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	d := digestOf(raw)
	for name, file := range map[string]string{
		"blob": "blobs/sha256/" + d.Encoded(), "its directory": "blobs/sha256", "all blobs": "blobs", "index": "index.json", "layout": "oci-layout",
	} {
		t.Run(name, func(t *testing.T) {
			dir, outside := filepath.Join(t.TempDir(), "images"), filepath.Join(t.TempDir(), "outside")
			l, err := layout.Create(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.PutManifest(t.Context(), none, oci.Manifest{MediaType: oci.TypeImageIndex, Digest: d, Raw: []byte(raw)}, "v1"); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Manifest(t.Context(), none.WithTag("v1")); err != nil {
				t.Fatal(err)
			}
			l.Close()
			if err := os.Rename(filepath.Join(dir, file), outside); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, filepath.Join(dir, file)); err != nil {
				t.Skipf("no links here: %v", err)
			}
			if l, err = layout.Open(dir); err != nil {
				return // oci-layout itself is not read
			}
			defer l.Close()
			if m, err := l.Manifest(t.Context(), none.WithTag("v1")); err == nil {
				t.Errorf("%q was read from outside", m.Raw)
			}
		})
	}
}
