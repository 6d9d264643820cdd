package document

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAnnotate reads testdata/annotate: each file x.in.* becomes x.out.*, with
// every image at r.example and the originals in annotations.
func TestAnnotate(t *testing.T) {
	ins, err := filepath.Glob("testdata/annotate/*.in.*")
	if err != nil || len(ins) < 2 {
		t.Fatalf("got %d files, %v", len(ins), err)
	}
	for _, name := range ins {
		in, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(strings.Replace(name, ".in.", ".out.", 1))
		if err != nil {
			t.Fatal(err)
		}
		for eol, as := range map[string]func(string) string{
			"LF":   func(s string) string { return s },
			"CRLF": func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
		} {
			d := mustRead(t, "x", as(string(in)), Options{Annotate: true})
			files, err := d.Rewrite(func(s string) (string, bool) { return "r.example/" + s, s != "same:1" })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(as(string(want)), string(files[0].Data)); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", name, eol, diff)
			}
			// The first names stay where images go on to another place.
			again := mustRead(t, "x", string(files[0].Data), Options{Annotate: true})
			more, err := again.Rewrite(func(s string) (string, bool) {
				return strings.Replace(s, "r.example", "s.example", 1), s != "same:1"
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.ReplaceAll(as(string(want)), "r.example", "s.example"), string(more[0].Data)); diff != "" {
				t.Errorf("%s, %s, again (-want +got):\n%s", name, eol, diff)
			}
		}
	}
}

func TestAnnotateRefused(t *testing.T) {
	for text, want := range map[string]string{
		"metadata: {annotations: &a {b: c}}\nspec: {x: *a, containers: [{image: nginx}]}\n": "x:1: metadata.annotations: there is no place for an annotation",
		"metadata: {annotations: 1}\nspec: {containers: [{image: nginx}]}\n":                "x:1: metadata.annotations: there is no place for an annotation",
		"metadata:\n  <<: {a: b}\nspec: {containers: [{image: nginx}]}\n":                   "x:1: metadata.annotations: there is no place for an annotation",
	} {
		d := mustRead(t, "x", "apiVersion: v1\nkind: Pod\n"+text, Options{Annotate: true})
		if _, err := d.Rewrite(func(s string) (string, bool) { return "r.example/" + s, true }); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
