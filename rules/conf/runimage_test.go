package conf

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/runimage"
)

func TestRunImages(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []runimage.Image
	}{
		"run.toml": {"[[images]]\nimage = \"a/run\"\nmirrors = [\"gcr.io/a/run\", \"quay.io/a/run\"]\n[[images]]\nimage = \"b/run\"\n", []runimage.Image{
			{Image: "a/run", Mirrors: []string{"gcr.io/a/run", "quay.io/a/run"}}, {Image: "b/run"},
		}},
		"stack.toml":   {"[run-image]\nimage = \"a/run\"\nmirrors = [\"gcr.io/a/run\"]\n", []runimage.Image{{Image: "a/run", Mirrors: []string{"gcr.io/a/run"}}}},
		"unknown keys": {"x = 1\n[[images]]\nimage = \"a/run\"\ny = 2\n", []runimage.Image{{Image: "a/run"}}},
		"BOM, CRLF":    {"\ufeff[[images]]\r\nimage = \"a/run\"\r\n", []runimage.Image{{Image: "a/run"}}},
	} {
		got, err := RunImages("run.toml", []byte(tt.text))
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v, (-want +got):\n%s", name, err, diff)
		}
	}
}

// TestRunImagesErrors holds that an error names the file, the line and the
// column.
func TestRunImagesErrors(t *testing.T) {
	for text, want := range map[string]string{
		"[[images]]\nimage = \n":                       "run.toml:2:",
		"[[images]]\nimage = 7\n":                      "run.toml:2:9: image is a number and should be a string",
		"[[images]]\nimage = \"a\"\nmirrors = \"b\"":   "run.toml:3:11: mirrors is a string and should be a list",
		"[[images]]\nimage = \"a\"\nmirrors = [\n1]":   "run.toml:4:1: an item of mirrors is a number and should be a string",
		"images = [1]\n":                               "run.toml:1:11: an item of images is a number and should be a table",
		"[images]\nimage = \"a\"":                      "run.toml:1:",
		"[[images]]\nmirrors = [\"a\"]":                "run.toml:1:3: a run image has no name",
		"":                                             "run.toml: no run image is named",
		"# " + strings.Repeat("x", MaxFile):            "run.toml:1:4194305: the file is larger than ",
		"[[images]]\nimage = \"a\"\nimage = \"b\"\n":   "run.toml:3:1: ",
		"[[images]]\nimage = \"a":                      "run.toml:2:",
		"x = " + strings.Repeat("[", 10*maxDepth) + "": "run.toml:1:",
	} {
		_, err := RunImages("run.toml", []byte(text))
		if p, ok := errors.AsType[*rules.Problem](err); !ok || !strings.HasPrefix(p.Error(), want) {
			t.Errorf("%.40q: error %v, want %q", text, err, want)
		}
	}
}

func TestLocalRunImages(t *testing.T) {
	src := Source{Format: "pack", Name: "config.toml", Text: []byte("[[run-images]]\nimage = \"a/run\"\nmirrors = [\"local/run\"]\n")}
	got, err := LocalRunImages(src)
	if diff := cmp.Diff([]runimage.Image{{Image: "a/run", Mirrors: []string{"local/run"}}}, got); err != nil || diff != "" {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	src.Text = []byte("x =")
	if got, err := LocalRunImages(src); err != nil || got != nil {
		t.Errorf("of a bad file: %v, %v", got, err)
	}
	src.Format = "cnb"
	if got, err := LocalRunImages(src); err != nil || got != nil {
		t.Errorf("of another format: %v, %v", got, err)
	}
}

// FuzzRunImages holds that any text gives images that have a name, or a problem
// of the file.
func FuzzRunImages(f *testing.F) {
	f.Add([]byte("[[images]]\nimage = \"a/run\"\nmirrors = [\"gcr.io/a/run\"]\n"))
	f.Add([]byte("[run-image]\nimage = 7"))
	f.Add([]byte("images = [{image = \"x\"}, 1]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		images, err := RunImages("run.toml", text)
		if err != nil {
			if p, ok := errors.AsType[*rules.Problem](err); !ok || p.At.File != "run.toml" {
				t.Errorf("error %v", err)
			}
			return
		}
		for _, img := range images {
			if img.Image == "" {
				t.Error("an image has no name")
			}
		}
	})
}
