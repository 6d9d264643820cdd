package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A saved is an archive of images of a shelf.
type saved struct {
	t        *testing.T
	contents layout.Contents
	shelf    *regtest.Registry
}

func newSaved(t *testing.T) *saved {
	return &saved{t: t, shelf: regtest.New(t, regtest.Config{})}
}

// add puts manifests of a repository of the shelf with their blobs into the
// archive; the first of them gets names.
func (s *saved) add(repo string, built []regtest.Built, names ...string) {
	s.t.Helper()
	for _, b := range built {
		s.contents.Manifests = append(s.contents.Manifests, oci.Manifest{MediaType: b.MediaType, Digest: b.Digest, Raw: b.Raw})
		links, err := oci.Manifest{MediaType: b.MediaType, Digest: b.Digest, Raw: b.Raw}.Links()
		if err != nil {
			s.t.Fatal(err)
		}
		for _, d := range links.Blobs() {
			c, _ := s.shelf.Content(repo, d.Digest)
			s.contents.Blobs = append(s.contents.Blobs, layout.SourceBlob{Descriptor: d, Open: func(_ context.Context, off int64) (io.ReadCloser, error) {
				return io.NopCloser(io.NewSectionReader(c, off, d.Size-off)), nil
			}})
		}
	}
	for _, name := range names {
		r, err := ref.Parse(name)
		if err != nil {
			s.t.Fatal(err)
		}
		s.contents.Names = append(s.contents.Names, layout.Entry{Ref: r, Descriptor: built[0].Descriptor()})
	}
}

// write writes the archive and returns its files.
func (s *saved) write(volume int64) []string {
	s.t.Helper()
	w, err := layout.WriteArchive(s.t.Context(), layout.ArchiveConfig{Path: filepath.Join(s.t.TempDir(), "set.tar"), VolumeSize: volume}, s.contents)
	if err != nil {
		s.t.Fatal(err)
	}
	return w.Paths
}

// tables writes an [[archive]] for each list of files.
func tables(archives ...[]string) string {
	var b strings.Builder
	for _, paths := range archives {
		quoted, _ := json.Marshal(paths)
		fmt.Fprintf(&b, "[[archive]]\npaths = %s\n", quoted)
	}
	return b.String()
}

const unreachable = "[[upstream]]\nname = 'docker.io'\nurl = 'http://127.0.0.1:1'\nallow_private = true\nmax_stale = '0'\n"

// TestServeArchive serves images out of two volumes, one blob of which is in both,
// under all their names.
func TestServeArchive(t *testing.T) {
	s := newSaved(t)
	image := func(repo, arch string, seed uint64, layers ...int64) regtest.Built {
		return s.shelf.AddImage(repo, regtest.Image{Layers: layers, Seed: seed, Platform: arch})
	}
	amd, arm := image("a", "amd64", 1, 150_000, 300), image("a", "arm64", 2, 400)
	index := s.shelf.AddIndex("a", []regtest.Built{amd, arm})
	sbom := s.shelf.AddReferrer("a", index.Descriptor(), "application/sbom", 3)
	other := image("b", "amd64", 4, 500)
	s.add("a", []regtest.Built{index, amd, arm, sbom}, "alpine:3.20", "alpine:latest", "docker.io/library/alpine@"+string(index.Digest))
	s.add("b", []regtest.Built{other}, "quay.io/team/app:v1")
	volumes := s.write(100_000)
	if len(volumes) < 2 {
		t.Fatalf("the archive has %d volumes", len(volumes))
	}
	r := start(t, unreachable+tables(volumes))
	r.out.wait(t, `read-only from .*: (docker.io/library/alpine, quay.io/team/app)\n`)

	for _, at := range []string{"docker.io/library/alpine/%s", "docker.io/alpine/%s", "library/alpine/%s?ns=docker.io", "alpine/%s?ns=index.docker.io"} {
		url := func(what string) string { return r.url + "/v2/" + fmt.Sprintf(at, what) }
		code, header, raw := r.get(url("manifests/3.20"))
		if code != http.StatusOK || !bytes.Equal(raw, index.Raw) || header.Get("Etag") != `"`+string(index.Digest)+`"` || header.Get("X-Cache") != "HIT" {
			t.Errorf("%s by tag: %d, %v, %s", at, code, header, raw)
		}
		for _, b := range []regtest.Built{index, amd, arm, sbom} {
			if code, _, raw := r.get(url("manifests/" + string(b.Digest))); code != http.StatusOK || !bytes.Equal(raw, b.Raw) {
				t.Errorf("%s: %s: %d", at, b.Digest, code)
			}
		}
		for _, d := range append(amd.Layers, amd.Config, arm.Layers[0]) {
			code, _, raw := r.get(url("blobs/" + string(d.Digest)))
			if code != http.StatusOK || oci.FromBytes(raw, d.Digest) != d.Digest {
				t.Errorf("%s: blob %s: %d, %d bytes", at, d.Digest, code, len(raw))
			}
		}
		if code, _, raw := r.get(url("tags/list")); code != http.StatusOK || !strings.Contains(string(raw), `["3.20","latest"]`) {
			t.Errorf("%s: tags: %d, %s", at, code, raw)
		}
		if code, _, raw := r.get(url("referrers/" + string(index.Digest))); code != http.StatusOK || !strings.Contains(string(raw), string(sbom.Digest)) {
			t.Errorf("%s: referrers: %d, %s", at, code, raw)
		}
	}
	for what, want := range map[string]int{
		"docker.io/library/alpine/manifests/3.19":                          http.StatusNotFound, // the archive's as a whole: no upstream is asked
		"docker.io/library/alpine/manifests/" + string(other.Digest):       http.StatusNotFound, // another repository's
		"docker.io/library/alpine/blobs/" + string(other.Layers[0].Digest): http.StatusNotFound,
		"quay.io/team/app/blobs/" + string(other.Layers[0].Digest):         http.StatusOK,
		"team/app/manifests/v1?ns=quay.io":                                 http.StatusOK,
		"quay.io/team/none/manifests/v1":                                   http.StatusNotFound,
		"docker.io/library/busybox/manifests/1":                            http.StatusServiceUnavailable, // the upstream's
		"docker.io/library/alpine/referrers/" + string(other.Digest):       http.StatusOK,
	} {
		if code, _, raw := r.get(r.url + "/v2/" + what); code != want {
			t.Errorf("%s: %d, want %d: %s", what, code, want, raw)
		}
	}
	r.archiveRanges(r.url+"/v2/docker.io/library/alpine/blobs/"+string(amd.Layers[0].Digest), amd.Layers[0])
	r.archiveIsReadOnly(index)
}

// archiveRanges asks for parts of a blob.
func (r *running) archiveRanges(url string, d oci.Descriptor) {
	r.t.Helper()
	_, _, whole := r.get(url)
	for ask, want := range map[string]string{
		"bytes=0-9": string(whole[:10]), "bytes=149990-": string(whole[149990:]), "bytes=-7": string(whole[len(whole)-7:]),
		"bytes=99000-101000": string(whole[99000:101001]), "bytes=200000-": "416", "if-none-match": "304", "head": "",
	} {
		req, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		switch ask {
		case "if-none-match":
			req.Header.Set("If-None-Match", `"`+string(d.Digest)+`"`)
		case "head":
			req.Method = http.MethodHead
		default:
			req.Header.Set("Range", ask)
		}
		resp, err := r.client.Do(req)
		if err != nil {
			r.t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			r.t.Fatal(err)
		}
		switch {
		case want == "416" || want == "304":
			if fmt.Sprint(resp.StatusCode) != want {
				r.t.Errorf("%s: %d, want %s", ask, resp.StatusCode, want)
			}
		case string(got) != want || ask == "head" && resp.ContentLength != d.Size:
			r.t.Errorf("%s: %d with %d bytes, want %d", ask, resp.StatusCode, len(got), len(want))
		}
	}
}

// archiveIsReadOnly tries to change what an archive has.
func (r *running) archiveIsReadOnly(index regtest.Built) {
	r.t.Helper()
	for _, c := range []struct {
		method, what string
		want         int
		code         string
	}{
		{http.MethodPost, "docker.io/library/alpine/blobs/uploads/", http.StatusForbidden, "DENIED"},
		{http.MethodPost, "library/alpine/blobs/uploads/?ns=docker.io", http.StatusForbidden, "DENIED"},
		{http.MethodPut, "docker.io/library/alpine/manifests/new", http.StatusForbidden, "DENIED"},
		{http.MethodDelete, "docker.io/library/alpine/manifests/3.20", http.StatusMethodNotAllowed, "UNSUPPORTED"},
		{http.MethodPost, "apps/mine/blobs/uploads/?mount=" + string(index.Digest) + "&from=docker.io/library/alpine", http.StatusAccepted, ""},
	} {
		req, err := http.NewRequest(c.method, r.url+"/v2/"+c.what, bytes.NewReader(index.Raw))
		if err != nil {
			r.t.Fatal(err)
		}
		resp, err := r.client.Do(req)
		if err != nil {
			r.t.Fatal(err)
		}
		said, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.want || !strings.Contains(string(said), c.code) {
			r.t.Errorf("%s %s: %d, %s, %v; want %d %s", c.method, c.what, resp.StatusCode, said, err, c.want, c.code)
		}
	}
}

// TestServeArchiveRefuses holds that what cannot be served is said at the start,
// with the line that names it.
func TestServeArchiveRefuses(t *testing.T) {
	one := func(name string, base ...layout.BaseBlob) *saved {
		s := newSaved(t)
		s.add("a", []regtest.Built{s.shelf.AddImage("a", regtest.Image{Layers: []int64{150_000}})}, name)
		s.contents.Base = base
		return s
	}
	whole := one("quay.io/team/app:v1")
	volumes, again := whole.write(100_000), whole.write(0)
	other := newSaved(t)
	other.add("a", []regtest.Built{other.shelf.AddImage("a", regtest.Image{Layers: []int64{7}})}, "quay.io/team/app:v1")
	nameless := one("quay.io/team/app:v1")
	nameless.contents.Names[0].Ref = ref.Ref{Tag: "v1"}
	partial := one("quay.io/team/app:v1", layout.BaseBlob{Digest: oci.FromBytes([]byte("base"), ""), Size: 4})
	cut := filepath.Join(t.TempDir(), "cut.tar")
	raw, err := os.ReadFile(again[0])
	if err != nil || os.WriteFile(cut, raw[:len(raw)/2], 0o600) != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ toml, want string }{
		"a volume is missing": {tables(volumes[:1]), "entrepot.toml:2: archive.paths: "},
		"a file is missing":   {"[[archive]]\npaths = [\n  '" + volumes[0] + "',\n  '/none/such.tar']\n", "entrepot.toml:4: archive.paths: stat /none/such.tar"},
		"a directory":         {tables([]string{t.TempDir()}), "is no file\nentrepot: hint: an archive is served from its tar"},
		"no path":             {"[[archive]]\npaths = []\n", "entrepot.toml:2: archive.paths: no file is named"},
		"no key":              {"\n[[archive]]\n", "entrepot.toml:2: archive.paths: no file is named"},
		"an unknown key":      {"[[archive]]\npath = 'x.tar'\n", `entrepot.toml:2: unknown key "path" in [[archive]]` + "\nentrepot: hint: did you mean \"paths\"?"},
		"one tag, two images": {tables(volumes, other.write(0)), "entrepot.toml:4: archive.paths: the archives have different images of one name:"},
		"no names":            {tables(nameless.write(0)), "entrepot.toml:2: archive.paths: it names no image with its registry"},
		"made for elsewhere":  {tables(partial.write(0)), "entrepot.toml:2: archive.paths: it was made without 1 blob"},
		"cut off":             {tables([]string{cut}), "entrepot.toml:2: archive.paths: "},
	} {
		file := filepath.Join(t.TempDir(), "entrepot.toml")
		if err := os.WriteFile(file, []byte(c.toml), 0o600); err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		env := testEnv(nil)
		env.Stderr = &errs
		env.Args = []string{"serve", "--config", file, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--storage", filepath.Join(t.TempDir(), "store")}
		if code := Main(t.Context(), env); code != exitUsage || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s", name, code, exitUsage, c.want, errs.String())
		}
	}
}

// TestServeArchives serves an archive and one that was made against it: blobs are
// found in either, and a tag that has moved is what the newer one says.
func TestServeArchives(t *testing.T) {
	s := newSaved(t)
	first := s.shelf.AddImage("a", regtest.Image{Layers: []int64{1000, 50}, Seed: 1})
	second := s.shelf.AddImage("a", regtest.Image{Layers: []int64{1000, 70}, Seed: 1})
	s.add("a", []regtest.Built{first}, "quay.io/team/app:v1", "quay.io/team/app:latest")
	old := s.write(0)
	shared := second.Layers[0]
	if shared.Digest != first.Layers[0].Digest {
		t.Fatal("the images share no layer")
	}
	s.contents = layout.Contents{Base: []layout.BaseBlob{{Digest: shared.Digest, Size: shared.Size}}}
	s.add("a", []regtest.Built{second}, "quay.io/team/app:v2", "quay.io/team/app:latest")
	s.contents.Blobs = slices.DeleteFunc(s.contents.Blobs, func(b layout.SourceBlob) bool { return b.Descriptor.Digest == shared.Digest })
	r := start(t, tables(s.write(0), old))
	r.out.wait(t, `(more of the same repositories)`)
	for tag, want := range map[string]regtest.Built{"v1": first, "v2": second, "latest": second} {
		if _, _, raw := r.get(r.url + "/v2/quay.io/team/app/manifests/" + tag); !bytes.Equal(raw, want.Raw) {
			t.Errorf("%s is %s", tag, raw)
		}
	}
	for _, d := range append(first.Layers, second.Layers...) {
		if code, _, raw := r.get(r.url + "/v2/quay.io/team/app/blobs/" + string(d.Digest)); code != http.StatusOK || oci.FromBytes(raw, d.Digest) != d.Digest {
			t.Errorf("%s: %d", d.Digest, code)
		}
	}
	if _, _, raw := r.get(r.url + "/v2/quay.io/team/app/tags/list"); !strings.Contains(string(raw), `["latest","v1","v2"]`) {
		t.Errorf("tags: %s", raw)
	}
}
