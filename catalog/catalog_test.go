package catalog_test

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/catalog"
)

func read(t testing.TB, dir fs.FS) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func whole(t testing.TB) *catalog.Catalog { return read(t, os.DirFS("testdata/catalog")) }

// filter filters the catalog in testdata.
func filter(t *testing.T, f catalog.Filter) (*catalog.Catalog, []catalog.Problem) {
	t.Helper()
	kept, problems, err := whole(t).Filter(f)
	if err != nil {
		t.Fatal(err)
	}
	return kept, problems
}

// inside prints what a catalog has: "package@default channel: entries…".
func inside(t testing.TB, c *catalog.Catalog) []string {
	t.Helper()
	var lines []string
	for _, p := range c.Summary() {
		for _, ch := range p.Channels {
			line := p.Name + "/" + ch.Name
			if ch.Name == p.DefaultChannel {
				line += "*"
			}
			lines = append(lines, line+": "+strings.Join(ch.Entries, " "))
		}
	}
	return lines
}

func TestReadKnowsWhatIsThere(t *testing.T) {
	c := whole(t)
	want := []string{
		"amq-streams/amq-streams-2.4.x: amqstreams.v2.4.0-1 amqstreams.v2.4.0-0",
		"amq-streams/stable*: amqstreams.v2.5.0-0 amqstreams.v2.4.0-1 amqstreams.v2.4.0-0",
		"quay/stable-3.8: quay.v3.8.2 quay.v3.8.1 quay.v3.8.0",
		"quay/stable-3.9*: quay.v3.9.3 quay.v3.9.2 quay.v3.9.1 quay.v3.9.0 quay.v3.8.2 quay.v3.8.1",
		"serverless/stable*: serverless.v1.31.0 serverless.v1.30.0",
	}
	if diff := cmp.Diff(want, inside(t, c)); diff != "" {
		t.Error(diff)
	}
}

func TestReadErrorsNameTheLine(t *testing.T) {
	for _, test := range []struct{ name, file, data, want string }{
		{"broken json", "a.json", "{\"schema\": \"olm.package\",\n \"name\": \"a\"}\n{\"schema\": ]\n", "a.json:3: invalid character"},
		{"not an object", "a.yaml", "---\n- a\n", "a.yaml:2: not an object"},
		{"no schema", "a.yaml", "name: x\n", "a.yaml:1: an object has no schema"},
		{"a number for a name", "a.yaml", "# c\nschema: olm.channel\npackage: a\nname: 4.10\n", `a.yaml:1: olm.channel "": name is a number and should be a string`},
		{"twice", "a.yaml", "schema: olm.package\nname: a\n---\nschema: olm.package\nname: a\n", `a.yaml:4: the package "a" is there twice, first at a.yaml:1`},
		{"no such package", "a.json", `{"schema":"olm.bundle","name":"b","package":"p"}`, `a.json:1: olm.bundle "b": it belongs to the package "p", which is not in the catalog`},
		{"a channel twice", "a.yaml", "schema: olm.package\nname: a\n---\nschema: olm.channel\npackage: a\nname: c\n---\nschema: olm.channel\npackage: a\nname: c\n", `a.yaml:8: olm.channel "c": package "a" has it twice, first at a.yaml:4`},
		{"a name that leads out", "a.yaml", "schema: olm.package\nname: ../a\n", `a.yaml:1: "../a" is not the name of a package`},
		{"nothing", "a.yaml", "# nothing\n", "the catalog is empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := catalog.Read(fstest.MapFS{test.file: {Data: []byte(test.data)}})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it to have %q", err, test.want)
			}
		})
	}
}

func TestReadTakesEitherFormat(t *testing.T) {
	for name, data := range map[string]string{
		"json":            `{"schema":"olm.package","name":"a"}{"schema":"olm.package","name":"b"}`,
		"json, with mark": "\xef\xbb\xbf" + `{"schema":"olm.package","name":"a"} {"schema":"olm.package","name":"b"}`,
		"yaml":            "schema: olm.package\nname: a\n---\n\n---\r\nschema: olm.package\r\nname: b\r\n--- # end\n",
		"flow yaml":       "{schema: olm.package, name: a}\n---\n{schema: olm.package, name: b}",
		"any case":        `{"Schema":"olm.package","Name":"a"}{"SCHEMA":"olm.package","name":"b"}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := read(t, fstest.MapFS{"c": {Data: []byte(data)}})
			if diff := cmp.Diff([]string{"a", "b"}, c.Packages()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestIgnore(t *testing.T) {
	for _, test := range []struct {
		pattern string
		out     []string
	}{
		{"*.md", []string{"README.md", "a/README.md", "a/b/c.md"}},
		{"/README.md", []string{"README.md"}},
		{"a/", []string{"a/README.md", "a/b/c.md", "a/b/d.yaml"}},
		{"b", []string{"a/b/c.md", "a/b/d.yaml"}},
		{"**/c.md", []string{"a/b/c.md"}},
		{"a/**", []string{"a/README.md", "a/b/c.md", "a/b/d.yaml"}},
		{"a/**/d.yaml", []string{"a/b/d.yaml"}},
		{"*\n!d.yaml", []string{"README.md", "a/README.md", "a/b/c.md", "a/b/d.yaml", "b.yaml"}},
		{"*.yaml\n!d.yaml", []string{"b.yaml"}},
		{"# *.md\n\n  \nb.yaml/", nil},
		{"[", nil},
		{"b.yam?  ", []string{"b.yaml"}},
	} {
		names := []string{"README.md", "a/README.md", "a/b/c.md", "a/b/d.yaml", "b.yaml"}
		dir := fstest.MapFS{".indexignore": {Data: []byte(test.pattern)}, "keep.json": {Data: []byte(`{"schema":"olm.package","name":"keep"}`)}}
		if strings.HasPrefix(test.pattern, "*\n") {
			dir[".indexignore"].Data = append(dir[".indexignore"].Data, "\n!keep.json"...)
		}
		for i, name := range names {
			dir[name] = &fstest.MapFile{Data: []byte("schema: olm.package\nname: p" + string(rune('0'+i)))}
		}
		var out []string
		for i, name := range names {
			if !slices.Contains(read(t, dir).Packages(), "p"+string(rune('0'+i))) {
				out = append(out, name)
			}
		}
		if diff := cmp.Diff(test.out, out); diff != "" {
			t.Errorf("%q: %s", test.pattern, diff)
		}
	}
}

// TestIgnoreBelow: a file of patterns is about its own directory.
func TestIgnoreBelow(t *testing.T) {
	dir := fstest.MapFS{"a/.indexignore": {Data: []byte("x.yaml\n/y/z.yaml\n")}}
	for _, name := range []string{"x.yaml", "a/x.yaml", "a/y/x.yaml", "a/y/z.yaml", "y/z.yaml", "ab/x.yaml"} {
		dir[name] = &fstest.MapFile{Data: []byte("schema: olm.package\nname: " + strings.ReplaceAll(name, "/", "-"))}
	}
	if diff := cmp.Diff([]string{"ab-x.yaml", "x.yaml", "y-z.yaml"}, read(t, dir).Packages()); diff != "" {
		t.Error(diff)
	}
}

func TestImages(t *testing.T) {
	images, problems := whole(t).Images()
	if !slices.IsSortedFunc(images, func(a, b catalog.Related) int { return strings.Compare(a.Ref, b.Ref) }) {
		t.Error("not sorted")
	}
	var bundles int
	for _, i := range images {
		if i.Bundle {
			bundles++
		}
		if i.Ref == "docker.io/library/busybox:1.36" && len(i.Needs) != 7 {
			t.Errorf("busybox is needed %d times, want by 7 bundles: %v", len(i.Needs), i.Needs)
		}
	}
	// 11 bundles, one without an image; 3 operators and kafkas, 7 quays and clairs.
	if want := 11; bundles != want {
		t.Errorf("%d bundle images, want %d", bundles, want)
	}
	if want := 11 + 2*3 + 2*7 + 1 + 1; len(images) != want {
		t.Errorf("%d images, want %d", len(images), want)
	}
	want := []string{
		`package amq-streams: bundle amqstreams.v2.4.0-0: relatedImages[1] ("") names no image`,
		`package amq-streams: bundle amqstreams.v2.4.0-1: relatedImages[1] ("") names no image`,
		`package amq-streams: bundle amqstreams.v2.5.0-0: relatedImages[1] ("") names no image`,
		`package serverless: bundle serverless.v1.31.0: "registry.example.com/UPPER case" is left out: `,
	}
	for i, p := range problems {
		if i >= len(want) || !strings.HasPrefix(p.String(), want[i]) {
			t.Errorf("problem %d is %s", i, p)
		}
	}
	if len(problems) != len(want) {
		t.Errorf("%d problems, want %d", len(problems), len(want))
	}
}

func TestFilesAreAsTheyCame(t *testing.T) {
	c := whole(t)
	dir := fstest.MapFS{}
	for _, f := range c.Files() {
		dir[f.Path] = &fstest.MapFile{Data: f.Data}
	}
	again := read(t, dir)
	if diff := cmp.Diff(inside(t, c), inside(t, again)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(c.Files(), again.Files()); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"serverless/catalog.yaml", "quay/catalog.json"} {
		came, err := os.ReadFile(path.Join("testdata/catalog", name))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(dir[name].Data); got != string(came) {
			t.Errorf("%s: %s", name, cmp.Diff(string(came), got))
		}
	}
}
