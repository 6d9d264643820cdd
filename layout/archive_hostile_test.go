package layout_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// refused holds that a file is no archive, for a reason.
func refused(t *testing.T, path, says string) {
	t.Helper()
	a, err := layout.OpenArchive(path)
	if err == nil {
		a.Close()
		t.Fatalf("it was opened, want an error with %q", says)
	}
	if !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want %q", err, says)
	}
	for _, kind := range []error{oci.ErrInvalid, oci.ErrTooLarge, oci.ErrUnsupported, oci.ErrMismatch, oci.ErrNotFound} {
		if errors.Is(err, kind) {
			return
		}
	}
	t.Errorf("%v is of no kind", err)
}

var layoutEntry = entry{name: "oci-layout", text: `{"imageLayoutVersion":"1.0.0"}`}

func indexEntry(digests ...oci.Digest) entry {
	var all []string
	for i, d := range digests {
		all = append(all, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1,"annotations":{"org.opencontainers.image.ref.name":"v%d"}}`, oci.TypeImageIndex, d, i))
	}
	return entry{name: "index.json", text: `{"schemaVersion":2,"manifests":[` + strings.Join(all, ",") + `]}`}
}

func TestHostileRefused(t *testing.T) {
	empty := `{"schemaVersion":2,"manifests":[]}`
	for name, c := range map[string]struct {
		entries []entry
		says    string
	}{
		"nothing":               {nil, "it holds no images"},
		"other files":           {[]entry{{name: "etc/passwd", text: "x"}}, "it holds no images"},
		"no oci-layout":         {[]entry{indexEntry()}, "no oci-layout"},
		"later version":         {[]entry{indexEntry(), {name: "oci-layout", text: `{"imageLayoutVersion":"2.0.0"}`}}, "version"},
		"index no JSON":         {[]entry{layoutEntry, {name: "index.json", text: "{"}}, "read index.json"},
		"index with bad digest": {[]entry{layoutEntry, indexEntry("sha256:../../etc/passwd")}, "read index.json"},
		"index twice":           {[]entry{layoutEntry, indexEntry(), indexEntry()}, "index.json is in it twice"},
		"index above":           {[]entry{layoutEntry, {name: "../index.json", text: empty}}, "it holds no images"},
		"index absolute":        {[]entry{layoutEntry, {name: "/index.json", text: empty}}, "it holds no images"},
		"index links out":       {[]entry{layoutEntry, {name: "index.json", kind: tar.TypeSymlink, link: "/etc/passwd"}}, "it holds no images"},
		"layout links out":      {[]entry{indexEntry(), {name: "oci-layout", kind: tar.TypeSymlink, link: "../../etc/passwd"}}, "not in the archive"},
		"blob links out":        {[]entry{layoutEntry, indexEntry(), {name: blobEntry("x").name, kind: tar.TypeSymlink, link: "/etc/passwd"}}, "not in the archive"},
		"blob links in circles": {[]entry{layoutEntry, indexEntry(), {name: blobEntry("x").name, kind: tar.TypeLink, link: blobEntry("x").name}}, "leads nowhere"},
		"blob of two sizes":     {[]entry{layoutEntry, indexEntry(), blobEntry("x"), {name: blobEntry("x").name, text: "xx"}}, "is in it twice"},
		"device as layout":      {[]entry{indexEntry(), {name: "oci-layout", kind: tar.TypeChar}}, "no oci-layout"},
		"volume of a set":       {[]entry{layoutEntry, indexEntry(), {name: "entrepot/volume.json", text: `{"version":1,"volume":1,"volumes":1}`}}, "cut off"},
		"volume 0":              {[]entry{{name: "entrepot/volume.json", text: `{"version":1}`}}, "volume 0 of 0"},
		"volume -1":             {[]entry{{name: "entrepot/volume.json", text: `{"version":1,"volume":-1,"volumes":1}`}}, "volume -1 of 1"},
		"many volumes":          {[]entry{{name: "entrepot/volume.json", text: `{"version":1,"volume":1,"volumes":1000000000}`}}, "volume 1 of 1000000000"},
		"later set":             {[]entry{{name: "entrepot/volume.json", text: `{"version":2,"volume":1,"volumes":1}`}}, "version 2"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, tarOf(t, c.entries...), c.says) })
	}
}

// TestHostileHeaders changes single fields of a good tar.
func TestHostileHeaders(t *testing.T) {
	good, err := os.ReadFile(tarOf(t, layoutEntry, indexEntry(), blobEntry("content")))
	if err != nil {
		t.Fatal(err)
	}
	const blob = 4 * 512 // where the header of the blob starts
	size := func(field string) func([]byte) {
		return func(h []byte) { copy(h[124:136], field) }
	}
	for name, c := range map[string]struct {
		change func(header []byte)
		says   string
	}{
		"huge size": {size("77777777777\x00"), "it is cut off"},
		"huger size": {func(h []byte) {
			copy(h[257:], "ustar  \x00")
			copy(h[124:], "\x80\x00\x00\x00")
			binary.BigEndian.PutUint64(h[128:], 1<<62)
		}, "it is cut off"},
		"largest size": {func(h []byte) {
			copy(h[257:], "ustar  \x00")
			copy(h[124:], "\x80\x00\x00\x00")
			binary.BigEndian.PutUint64(h[128:], 1<<63-1)
		}, "it is"},
		"size overflow": {func(h []byte) {
			for i := 124; i < 136; i++ {
				h[i] = 0x7f
			}
			h[124] = 0xbf
		}, "it is no tar"},
		"negative size": {func(h []byte) {
			for i := 124; i < 136; i++ {
				h[i] = 0xff
			}
		}, "it is no tar"},
		"no number": {size("-0000000001\x00"), "it is no tar"},
		"old sparse": {func(h []byte) {
			h[156] = tar.TypeGNUSparse
			copy(h[257:], "ustar  \x00")
			copy(h[386:], "00000000000\x0000000000007\x00")
			copy(h[483:], "00000000007\x00")
		}, "sparse"},
		"bad checksum": {nil, "it is no tar"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := bytes.Clone(good)
			header := raw[blob : blob+512]
			if c.change != nil {
				c.change(header)
				checksum(header)
			} else {
				header[0] ^= 1
			}
			path := filepath.Join(t.TempDir(), "hostile.tar")
			if err := os.WriteFile(path, raw, 0o666); err != nil {
				t.Fatal(err)
			}
			refused(t, path, c.says)
		})
	}
}

func checksum(header []byte) {
	copy(header[148:156], "        ")
	sum := 0
	for _, b := range header {
		sum += int(b)
	}
	copy(header[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// pax writes a tar with an extended header before index.json.
func pax(t *testing.T, records map[string]string) string {
	t.Helper()
	var all string
	for key, value := range records {
		record := key + "=" + value + "\n"
		n := len(record) + 3
		for len(fmt.Sprint(n))+1+len(record) != n {
			n++
		}
		all += fmt.Sprintf("%d %s", n, record)
	}
	path := tarOf(t, layoutEntry, entry{name: "extended", text: all}, indexEntry())
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[1024+156] = tar.TypeXHeader
	checksum(raw[1024:1536])
	if err := os.WriteFile(path, raw, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHostileExtended(t *testing.T) {
	for name, c := range map[string]struct {
		records map[string]string
		says    string
	}{
		"another name":  {map[string]string{"path": "../index.json"}, "it holds no images"},
		"absolute name": {map[string]string{"path": "/index.json"}, "it holds no images"},
		"larger":        {map[string]string{"size": "99999999999"}, "it is cut off"},
		"negative":      {map[string]string{"size": "-1"}, "it is no tar"},
		"sparse":        {map[string]string{"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,1", "GNU.sparse.size": "1099511627776"}, "sparse"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, pax(t, c.records), c.says) })
	}
}

// TestHostileHuge holds that sizes are not believed: holes in a file make it as
// large as it says.
func TestHostileHuge(t *testing.T) {
	manifest := `{"schemaVersion":2}`
	for name, c := range map[string]struct {
		big  int
		says string
	}{"index.json": {2, "index.json has 1099511627776 bytes"}, "oci-layout": {0, "oci-layout has 1099511627776 bytes"}} {
		t.Run(name, func(t *testing.T) { refused(t, stretched(t, c.big), c.says) })
	}
	t.Run("manifest", func(t *testing.T) {
		a := open(t, stretched(t, 1))
		_, err := a.Manifest(t.Context(), none.WithDigest(digestOf(manifest)))
		if !errors.Is(err, oci.ErrTooLarge) {
			t.Errorf("got %v, want ErrTooLarge", err)
		}
	})
}

// stretched writes an archive, one of whose entries has a terabyte of zeros.
func stretched(t *testing.T, big int) string {
	t.Helper()
	manifest := `{"schemaVersion":2}`
	entries := []entry{layoutEntry, blobEntry(manifest), indexEntry(digestOf(manifest))}
	path := filepath.Join(t.TempDir(), "huge.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := int64(0)
	for i, e := range entries {
		size := int64(len(e.text))
		if i == big {
			size = 1 << 40
		}
		var b bytes.Buffer
		if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: e.name, Typeflag: tar.TypeReg, Size: size, Format: tar.FormatGNU}); err != nil {
			t.Fatal(err)
		}
		b.WriteString(e.text)
		if _, err := f.WriteAt(b.Bytes(), at); err != nil {
			t.Fatal(err)
		}
		at += 512 + (size+511)/512*512
	}
	if err := f.Truncate(at + 1024); err != nil {
		t.Skipf("the file system has no large files: %v", err)
	}
	return path
}

// TestHostileEntries holds that what is remembered of a tar is bounded.
func TestHostileEntries(t *testing.T) {
	var header bytes.Buffer
	if err := tar.NewWriter(&header).WriteHeader(&tar.Header{Name: "file-0000000", Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}); err != nil {
		t.Fatal(err)
	}
	sums := make([]string, 7*9+1) // :: what the digits of a name add up to → checksum
	for i := range sums {
		copy(header.Bytes()[5:], "0000000")
		for k, rest := 5, i; rest > 0; k++ {
			header.Bytes()[k] += byte(min(rest, 9))
			rest -= min(rest, 9)
		}
		checksum(header.Bytes())
		sums[i] = string(header.Bytes()[148:156])
	}
	path := filepath.Join(t.TempDir(), "many.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := bufio.NewWriterSize(f, 1<<20)
	for i := range 1<<18 + 10 { // a million would not be read either
		h := header.Bytes()
		sum := 0
		for k, rest := 11, i; k > 4; k, rest = k-1, rest/10 {
			h[k] = byte('0' + rest%10)
			sum += rest % 10
		}
		copy(h[148:156], sums[sum])
		b.Write(h)
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	refused(t, path, "more than 262144 entries")
}

// TestHostileSkipped holds that what is not ours is left out, and harms nobody.
func TestHostileSkipped(t *testing.T) {
	raw := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	a := open(t, tarOf(t, entry{name: "./oci-layout", text: layoutEntry.text}, indexEntry(digestOf(raw)),
		entry{name: "../../etc/passwd", text: "x"}, entry{name: "/etc/shadow", text: "x"}, entry{name: "etc", kind: tar.TypeSymlink, link: "/etc"},
		entry{name: "etc/hosts", text: "x"}, entry{name: "blobs/sha256/../../index.json.bak", text: "x"}, entry{name: "blobs/sha256/short", text: "x"},
		entry{name: "dev", kind: tar.TypeBlock}, entry{name: "pipe", kind: tar.TypeFifo}, entry{name: "blobs/sha256", kind: tar.TypeDir},
		entry{name: blobEntry(raw).name, kind: tar.TypeSymlink, link: "../other/manifest"}, entry{name: "blobs/other/manifest", text: raw}))
	if m, err := a.Manifest(t.Context(), none.WithTag("v0")); err != nil || string(m.Raw) != raw {
		t.Errorf("v0 is %q, %v", m.Raw, err)
	}
	if _, err := a.Blob(t.Context(), none, "sha256:../../index.json", 0); !errors.Is(err, oci.ErrInvalid) {
		t.Errorf("a bad digest: %v, want ErrInvalid", err)
	}
	if _, err := a.Manifest(t.Context(), ref.Ref{Digest: "sha256:x"}); !errors.Is(err, oci.ErrInvalid) {
		t.Errorf("a bad digest: %v, want ErrInvalid", err)
	}
}

func TestNoFile(t *testing.T) {
	refused(t, filepath.Join(t.TempDir(), "none.tar"), "there is no archive")
	refused(t, t.TempDir(), "is no file")
	path := filepath.Join(t.TempDir(), "x.tgz")
	if err := os.WriteFile(path, []byte(gzipped(t, "x")), 0o666); err != nil {
		t.Fatal(err)
	}
	refused(t, path, "run gunzip on it first")
	if _, err := layout.OpenArchive(); !errors.Is(err, oci.ErrInvalid) {
		t.Errorf("no path: %v, want ErrInvalid", err)
	}
}
