package document

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// entries returns the entries of an archive as text, the content after the name.
func entries(t *testing.T, data []byte) []string {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %o %d %s", h.Name, h.Mode, h.ModTime.Unix(), body))
	}
}

// subchart packs a chart with an image, as helm package does, and a directory
// entry, which helm has not.
func subchart(t *testing.T, name, image string, more ...File) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	files := append([]File{
		{"", nil},
		{"Chart.yaml", fmt.Appendf(nil, "apiVersion: v2\nname: %s\nversion: 0.1.0\n", name)},
		{"values.yaml", fmt.Appendf(nil, "image: {repository: %s, pullPolicy: Always, tag: \"7\"} # ours\n", image)},
	}, more...)
	for i, f := range files {
		h := &tar.Header{Name: name + "/" + f.Path, Mode: 0o604, Size: int64(len(f.Data)), ModTime: time.Unix(int64(1000+i), 0)}
		if f.Path == "" {
			h.Typeflag = tar.TypeDir
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(f.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withSubcharts is a chart with three packed ones, one of them in another.
func withSubcharts(t *testing.T) []File {
	t.Helper()
	return []File{
		{"Chart.yaml", []byte("apiVersion: v2\nname: web\nversion: 1.0.0\n")},
		{"charts/db-0.1.0.tgz", subchart(t, "db", "acme/db", File{"charts/log-0.1.0.tgz", subchart(t, "log", "acme/log")})},
		{"charts/other-0.1.0.tgz", subchart(t, "other", "acme/other")},
		{"charts/_hidden.tgz", []byte("no archive")},
		{"files/data.tgz", []byte("no archive")},
	}
}

var subchartsFound = []string{
	"web/charts/db-0.1.0.tgz/values.yaml:1 image: acme/db:7",
	"web/charts/db-0.1.0.tgz/charts/log-0.1.0.tgz/values.yaml:1 image: acme/log:7",
	"web/charts/other-0.1.0.tgz/values.yaml:1 image: acme/other:7",
}

// TestPackedSubcharts rewrites charts that are in archives: those that change
// are packed again, and nothing else in them is another.
func TestPackedSubcharts(t *testing.T) {
	in := withSubcharts(t)
	d, err := Read(Input{Name: "web", Files: in}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(subchartsFound, found(d)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	rewrite := to(map[string]string{"acme/db:7": "r.example/u/db:7", "acme/log:7": "r.example/u/log:7"})
	files, err := d.Rewrite(rewrite)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(in)
	want[1].Data = subchart(t, "db", "r.example/u/db", File{"charts/log-0.1.0.tgz", subchart(t, "log", "r.example/u/log")})
	for i := range want {
		if files[i].Path != want[i].Path {
			t.Fatalf("file %d is %s, want %s", i, files[i].Path, want[i].Path)
		}
		if i != 1 && !bytes.Equal(files[i].Data, want[i].Data) {
			t.Errorf("%s is another, and nothing in it has changed", want[i].Path)
		}
	}
	// The last entry is an archive: see below.
	got, wanted := entries(t, files[1].Data), entries(t, want[1].Data)
	if diff := cmp.Diff(wanted[:3], got[:3]); diff != "" {
		t.Errorf("%s (-want +got):\n%s", want[1].Path, diff)
	}
	d, err = Read(Input{Name: "web", Files: files}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	wantFound := strings.NewReplacer("acme/db", "r.example/u/db", "acme/log", "r.example/u/log").Replace(strings.Join(subchartsFound, "\n"))
	if diff := cmp.Diff(wantFound, strings.Join(found(d), "\n")); diff != "" {
		t.Errorf("images of the rewritten chart (-want +got):\n%s", diff)
	}
	again, err := d.Rewrite(rewrite)
	if err != nil || !bytes.Equal(again[1].Data, files[1].Data) {
		t.Errorf("a chart without a change has other bytes, %v", err)
	}
}

// TestPackedSubchartsInArchive is the same for a chart that is packed itself.
func TestPackedSubchartsInArchive(t *testing.T) {
	d, err := Read(Input{Name: "web", Path: "web.tgz", Data: tgz(t, "web", withSubcharts(t))}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	files, err := d.Rewrite(to(map[string]string{"acme/log:7": "r.example/u/log:7"}))
	if err != nil || len(files) != 1 {
		t.Fatalf("got %d files, %v", len(files), err)
	}
	d, err = Read(Input{Name: "web", Path: "web.tgz", Data: files[0].Data}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := found(d); len(got) != 3 || !strings.HasSuffix(got[1], ": r.example/u/log:7") || got[0] != subchartsFound[0] {
		t.Errorf("got %s", got)
	}
}

// TestPackedSubchartRefused: what is in an archive has limits, and none of it is
// passed over.
func TestPackedSubchartRefused(t *testing.T) {
	deep := subchart(t, "c0", "acme/c0")
	for i := range maxPacked {
		name := fmt.Sprintf("c%d", i+1)
		deep = subchart(t, name, "acme/"+name, File{"charts/x.tgz", deep})
	}
	for name, c := range map[string]struct {
		packed []byte
		want   string
	}{
		"no archive": {[]byte("no archive"), "web/charts/x.tgz: the chart in the chart cannot be read"},
		"cut":        {subchart(t, "c", "acme/c")[:200], "unexpected EOF"},
		"no chart":   {tgz(t, "c", []File{{"values.yaml", []byte("a: 1\n")}}), "the chart cannot be read"},
		"too deep":   {deep, "it is in 9 archives"},
	} {
		_, err := Read(Input{Name: "web", Files: []File{{"Chart.yaml", []byte("apiVersion: v2\nname: web\nversion: 1.0.0\n")}, {"charts/x.tgz", c.packed}}}, Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want …%s…", name, err, c.want)
		}
	}
}

// TestPackedSubchartsTooLarge: the limit is one for all archives.
func TestPackedSubchartsTooLarge(t *testing.T) {
	files := withSubcharts(t)
	for left, want := range map[int64]bool{10_000: true, 300: false, 1: false} {
		r := &reading{in: Input{Name: "web"}, doc: &Document{}}
		err := r.chart("web", files, nil, &left)
		if ok := err == nil; ok != want || !ok && !strings.Contains(err.Error(), "larger than 100 MiB together") {
			t.Errorf("%d bytes too many: %v", -left, err)
		}
	}
}
