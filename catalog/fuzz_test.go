package catalog

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// FuzzRead holds that what is read is written as something that is read as the same,
// and that every image that is named is one.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		`{"schema":"olm.package","name":"a","defaultChannel":"c"}{"schema":"olm.channel","package":"a","name":"c","entries":[{"name":"a.v1","skips":["x"]}]}`,
		`{"schema":"olm.package","name":"a"}{"schema":"olm.bundle","package":"a","name":"a.v1","image":"r.io/a:1","relatedImages":[{"image":""},{"image":"oci://x"}],"properties":[{"type":"olm.package","value":{"version":"1.0.0"}},{"type":"olm.constraint","value":{"all":{"constraints":[{"gvk":{"kind":"K"}}]}}}]}`,
		"---\nschema: olm.package\nname: a\n--- # two\nschema: x\nname: &n b\nother: *n\n",
		"\xef\xbb\xbf{schema: olm.package, name: a}\n---\n",
		"schema: olm.package\nname: a\n---\nschema: olm.deprecations\npackage: a\nentries: [{reference: {schema: olm.package}}]\n",
		"{} {", "[]", "a: [", "schema: 1", "--- |\n x", `{"schema":"x","Schema":"y"}`,
	} {
		f.Add([]byte(seed), "*.md\n!a/**\n/b/\n")
	}
	f.Fuzz(func(t *testing.T, data []byte, ignored string) {
		newIgnore([]File{{Path: "a/.indexignore", Data: []byte(ignored)}}).match("a/b/c")
		c, err := ReadFile(File{Path: "a/c", Data: data})
		if err != nil {
			return
		}
		files := c.Files()
		again, err := readFiles(slices.Clone(files))
		if err != nil {
			t.Fatalf("what was written is not read: %v\n%q", err, files)
		}
		for i, f := range again.Files() {
			if f.Path != files[i].Path || !bytes.Equal(f.Data, files[i].Data) {
				t.Fatalf("%s: %q and then %q", f.Path, files[i].Data, f.Data)
			}
		}
		for _, i := range first(c.Images()) {
			if len(i.Needs) == 0 || wrongRef(i.Ref) != "" {
				t.Errorf("%+v", i)
			}
		}
		for _, filter := range []Filter{{}, {SkipDependencies: true}} {
			if kept, _, err := c.Filter(filter); err == nil && len(kept.Packages()) != len(c.Packages()) && filter.SkipDependencies {
				t.Errorf("the heads of %v are of %v", c.Packages(), kept.Packages())
			}
		}
	})
}

func first[A, B any](a A, _ B) A { return a }

// FuzzLayer holds that no layer leads out of the catalog's directory, and that none
// breaks what reads it.
func FuzzLayer(f *testing.F) {
	for _, names := range [][]string{{"configs/a"}, {"configs/.wh.a", "configs/b"}, {"../configs/x", "configs/.wh..wh..opq"}, {".wh.configs"}} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, name := range names {
			if err := w.WriteHeader(&tar.Header{Name: name, Size: 1, Typeflag: tar.TypeReg}); err != nil {
				f.Fatal(err)
			}
			if _, err := w.Write([]byte("x")); err != nil {
				f.Fatal(err)
			}
		}
		for _, h := range []tar.Header{{Name: "configs/l", Linkname: "a", Typeflag: tar.TypeSymlink}, {Name: "configs/h", Linkname: "configs/a", Typeflag: tar.TypeLink}, {Name: "tmp/cache/", Typeflag: tar.TypeDir}} {
			if err := w.WriteHeader(&h); err != nil {
				f.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes(), b.Bytes())
	}
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0, 1}, []byte{0x1f, 0x8b, 8})
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		tree := newTree("configs", []string{"tmp/cache"})
		tree.left = 1 << 16 // a sparse file of a few bytes may be as large as is allowed
		for _, layer := range [][]byte{lower, upper} {
			c := tree.change()
			if walk(bytes.NewReader(layer), c.entry) != nil || tree.put(c) != nil {
				return
			}
		}
		files, err := tree.files()
		if err != nil {
			return
		}
		for _, file := range files {
			if file.Path != cleanPath(file.Path) || file.Path == "" || strings.HasPrefix(file.Path, "..") {
				t.Errorf("a file is called %q", file.Path)
			}
		}
	})
}

// FuzzConfig holds that a configuration that is made again is JSON that says what it
// is, and that it has nothing of a cache.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{
		`{"config":{"Cmd":["serve","/configs","--cache-dir=/tmp/cache"],"Labels":{"a":"b"}},"rootfs":{"type":"layers","diff_ids":["sha256:x"]},"history":[{}],"created":"x","os":"linux"}`,
		`{}`, `null`, `{"config":null,"history":[1],"rootfs":null}`, `{"config":{"Entrypoint":["opm","--cache-dir"]}}`, `{"config":{"labels":{}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parseConfig(raw)
		if err != nil {
			return
		}
		out, err := c.filtered("sha256:abc", nil)
		if err != nil {
			t.Fatal(err)
		}
		var again imageConfig
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatal(err)
		}
		if again.Config.Labels[FilteredFrom] != "sha256:abc" || len(cacheDirs(again)) > 0 {
			t.Errorf("%s became %s", raw, out)
		}
	})
}
