package document

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUnpackImages unpacks the layout and nothing else.
func TestUnpackImages(t *testing.T) {
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	w := tar.NewWriter(zw)
	add := func(h tar.Header, data string) {
		h.Mode, h.Size = 0o644, int64(len(data))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: "bundle.json"}, `{"schemaVersion":"v1.2.0","name":"b","version":"1.0.0","invocationImages":[{"image":"x"}]}`)
	add(tar.Header{Name: "./artifacts/layout/oci-layout"}, "{}")
	add(tar.Header{Name: "artifacts/layout/index.json"}, "{}")
	add(tar.Header{Name: "artifacts/layout/blobs/sha256/" + hexA}, "a")
	add(tar.Header{Name: "artifacts/layout/blobs/sha256/" + hexB, Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, "")
	add(tar.Header{Name: "artifacts/layout/../../../out"}, "b")
	add(tar.Header{Name: "artifacts/layout/blobs/md5/" + hexA}, "c")
	add(tar.Header{Name: "artifacts/layout/more"}, "d")
	add(tar.Header{Name: "/artifacts/layout/blobs/sha256/" + hexB}, "e")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := Read(Input{Name: "b.tgz", Data: out.Bytes()}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "in", "side")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.UnpackImages(dir); err != nil {
		t.Fatal(err)
	}
	var got []string
	err = fs.WalkDir(os.DirFS(filepath.Join(dir, "../..")), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			got = append(got, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"in/side/blobs/sha256/" + hexA, "in/side/index.json", "in/side/oci-layout"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unpacked (-want +got):\n%s", diff)
	}
}
