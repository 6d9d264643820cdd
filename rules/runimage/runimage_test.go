package runimage

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/entrepot/entrepot/ref"
)

func all(ref.Ref) bool { return true }

// TestGolden holds the cases of the lifecycle's own tests.
func TestGolden(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "best.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Target, Image, Out string
		Mirrors            []string
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range cases {
		registry, err := Registry(c.Target)
		if err != nil {
			t.Fatal(err)
		}
		for _, reg := range []string{c.Target, registry} {
			best, err := Image{Image: c.Image, Mirrors: c.Mirrors}.Best(reg, all)
			if err != nil || best.Name != c.Out {
				t.Errorf("%s: got %q, %v, want %q", c.Target, best.Name, err, c.Out)
			}
		}
	}
}

// TestOrder holds that the names of the target's registry go first, each is
// asked once, and what is no name is passed over.
func TestOrder(t *testing.T) {
	img := Image{
		Image:   "first.com/org/repo",
		Mirrors: []string{"as@ohd@as@op", "GCR.io/org/repo:v1", "alpine", "index.docker.io/library/alpine:latest", "gcr.io/org/repo:v2", "first.com/org/repo:latest", ""},
	}
	for _, tt := range []struct {
		registry string
		readable string // one name, "" for none
		asked    []string
	}{
		{"gcr.io", "", []string{"gcr.io/org/repo:v1", "gcr.io/org/repo:v2", "first.com/org/repo:latest", "docker.io/library/alpine:latest"}},
		{"gcr.io", "gcr.io/org/repo:v2", []string{"gcr.io/org/repo:v1", "gcr.io/org/repo:v2"}},
		{"registry-1.docker.io", "docker.io/library/alpine:latest", []string{"docker.io/library/alpine:latest"}},
		{"", "first.com/org/repo:latest", []string{"first.com/org/repo:latest"}},
		{"gcr.io:443", "first.com/org/repo:latest", []string{"first.com/org/repo:latest"}},
	} {
		var asked []string
		best, err := img.Best(tt.registry, func(r ref.Ref) bool {
			asked = append(asked, r.String())
			return r.String() == tt.readable
		})
		if !slices.EqualFunc(asked, tt.asked, func(a, b string) bool { return fold(a) == b }) {
			t.Errorf("%s: asked %q, want %q", tt.registry, asked, tt.asked)
		}
		if found := err == nil; found != (tt.readable != "") || !found && !errors.Is(err, ErrNone) {
			t.Errorf("%s: got %q, %v", tt.registry, best.Name, err)
		}
	}
}

// TestPreferred holds pack's order: the user's own mirrors before the image.
func TestPreferred(t *testing.T) {
	img := Image{Preferred: []string{"local/mirror", "registry1.example.com/local/mirror"}, Image: "default/run", Mirrors: []string{"registry1.example.com/run/mirror", "registry2.example.com/run/mirror"}}
	for registry, want := range map[string]string{
		"registry1.example.com": "registry1.example.com/local/mirror",
		"registry2.example.com": "registry2.example.com/run/mirror",
		"registry3.example.com": "local/mirror",
		"index.docker.io":       "local/mirror",
	} {
		if best, err := img.Best(registry, all); err != nil || best.Name != want {
			t.Errorf("%s: got %q, %v, want %q", registry, best.Name, err, want)
		}
	}
}

func TestNoName(t *testing.T) {
	if _, err := (Image{Mirrors: []string{"gcr.io/a/b"}}).Best("gcr.io", all); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("error %v, want one that says that the name is missing", err)
	}
}

func TestRegistry(t *testing.T) {
	for target, want := range map[string]string{
		"gcr.io":                 "gcr.io",
		"GCR.io/team/app":        "gcr.io",
		"localhost":              "localhost",
		"localhost:5000":         "localhost:5000",
		"127.0.0.1:5000/app:v1":  "127.0.0.1:5000",
		"[::1]:5000":             "[::1]:5000",
		"index.docker.io":        "docker.io",
		"index.docker.io/me/app": "docker.io",
		"app":                    "docker.io",
		"app:5000":               "docker.io",
		"my.app:v1":              "docker.io",
		"me/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": "docker.io",
	} {
		if got, err := Registry(target); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", target, got, err, want)
		}
	}
	for _, target := range []string{"", "UPPER", "https://gcr.io/a", "gcr.io/"} {
		if got, err := Registry(target); err == nil {
			t.Errorf("%q: got %q, want an error", target, got)
		}
	}
}

func TestFind(t *testing.T) {
	images := []Image{{Image: "a/one"}, {Image: "a/two", Mirrors: []string{"gcr.io/two:latest"}}}
	for name, want := range map[string]string{
		"index.docker.io/a/one:latest": "a/one", "gcr.io/two": "a/two", "a/three": "a/three",
	} {
		if got := Find(images, name); got.Image != want {
			t.Errorf("%s: got %q, want %q", name, got.Image, want)
		}
	}
}

// FuzzImage holds that any names give a registry that is one, and candidates of
// which those of that registry come first and none comes twice.
func FuzzImage(f *testing.F) {
	f.Add("gcr.io/team/app", "first.com/org/repo", "gcr.io/org/repo")
	f.Add("index.docker.io", "myorg/myrepo", "docker.io/myorg/myrepo:latest")
	f.Add("[::1]:5000", "as@ohd@as@op", "")
	f.Fuzz(func(t *testing.T, target, image, mirror string) {
		registry, err := Registry(target)
		if err == nil && !ref.ValidHost(registry) {
			t.Fatalf("%q is in the registry %q", target, registry)
		}
		seen := map[ref.Ref]bool{}
		far := false
		for _, c := range (Image{Image: image, Mirrors: []string{mirror, image}}).Candidates(registry) {
			if c.Err == nil && seen[c.Ref] || c.Near && far {
				t.Fatalf("%+v is in the wrong place", c)
			}
			seen[c.Ref], far = true, far || !c.Near
		}
	})
}
