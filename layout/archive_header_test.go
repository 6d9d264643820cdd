package layout

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"
)

// TestTarHeader holds that headers are the same at any time, say what they
// should, and are one block wherever a name has room in it: readers of offsets
// look for the header in the block before the content.
func TestTarHeader(t *testing.T) {
	for name, c := range map[string]struct {
		name string
		size int64
		want int
	}{
		"small":     {"blobs/sha256/" + strings.Repeat("0", 64), 7, block},
		"8 GiB":     {"blobs/sha256/" + strings.Repeat("0", 64), 8 << 30, block},
		"exabyte":   {"blobs/sha256/" + strings.Repeat("0", 64), 1 << 60, block},
		"a part":    {partName(noDigest, 9998), 1 << 40, block},
		"sha512":    {"blobs/sha512/" + strings.Repeat("0", 128), 7, 3 * block},
		"long part": {partsDir + "sha512/" + strings.Repeat("0", 128) + "/0001", 8 << 30, 3 * block},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := tarHeader(c.name, c.size)
			if err != nil {
				t.Fatal(err)
			}
			h, err := tar.NewReader(bytes.NewReader(raw)).Next()
			if err != nil || h.Name != c.name || h.Size != c.size || h.ModTime.Unix() != 0 || len(raw) != c.want {
				t.Errorf("a header of %d bytes says %+v, %v", len(raw), h, err)
			}
			again, err := tarHeader(c.name, c.size)
			if err != nil || !bytes.Equal(raw, again) {
				t.Errorf("it is another the second time, %v", err)
			}
		})
	}
}
