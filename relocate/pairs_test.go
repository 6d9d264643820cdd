package relocate

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/ref"
)

const (
	digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func mentions(written ...string) []Mention {
	var all []Mention
	for _, w := range written {
		source, target, _ := strings.Cut(w, "=")
		all = append(all, Mention{Written: source, Target: target})
	}
	return all
}

// show returns pairs as text.
func show(pairs []Pair) []string {
	var all []string
	for _, p := range pairs {
		all = append(all, fmt.Sprintf("%s > %s (%s)", p.Source, p.Target, strings.Join(p.Spellings, " ")))
	}
	return all
}

func TestPairs(t *testing.T) {
	n := naming(t, "host-path", "r.io/m")
	got, err := Pairs(mentions("ubuntu", "library/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu", "quay.io/a@"+digestA, "quay.io/a:1@"+digestA), n)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"docker.io/library/ubuntu:latest > r.io/m/docker.io/library/ubuntu:latest (docker.io/library/ubuntu:latest library/ubuntu ubuntu)",
		"quay.io/a:1@" + digestA + " > r.io/m/quay.io/a:1@" + digestA + " (quay.io/a:1@" + digestA + ")",
		"quay.io/a@" + digestA + " > r.io/m/quay.io/a:d-" + strings.Repeat("a", 32) + "@" + digestA + " (quay.io/a@" + digestA + ")",
	}
	if diff := cmp.Diff(want, show(got)); diff != "" {
		t.Errorf("pairs (-want +got):\n%s", diff)
	}
	if got := got[0].Rewrite("library/ubuntu"); got != "r.io/m/docker.io/library/ubuntu" {
		t.Errorf("rewritten: %s", got)
	}
}

func TestPairsWithNamedTargets(t *testing.T) {
	n := naming(t, "", "r.io/m")
	got, err := Pairs(mentions(
		"alpine:3=r.io/base/alpine:3.20", "alpine:3", "docker.io/library/alpine:3", // holds for every spelling
		"busybox=team/tools", "debian=localhost:5000/debian", "a:1=all:a", "b:1=all:b", // these two share a repository
		"c:1=r.io/one:1", "c:1=r.io/two:1", "x@"+digestA+"=pinned",
	), n)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"docker.io/library/a:1 > r.io/m/all:a (a:1)",
		"docker.io/library/alpine:3 > r.io/base/alpine:3.20 (alpine:3 docker.io/library/alpine:3)",
		"docker.io/library/b:1 > r.io/m/all:b (b:1)",
		"docker.io/library/busybox:latest > r.io/m/team/tools:latest (busybox)",
		"docker.io/library/c:1 > r.io/one:1 (c:1)",
		"docker.io/library/c:1 > r.io/two:1 (c:1)",
		"docker.io/library/debian:latest > localhost:5000/debian:latest (debian)",
		"docker.io/library/x@" + digestA + " > r.io/m/pinned:d-" + strings.Repeat("a", 32) + "@" + digestA + " (x@" + digestA + ")",
	}
	if diff := cmp.Diff(want, show(got)); diff != "" {
		t.Errorf("pairs (-want +got):\n%s", diff)
	}
	if got := got[1].Rewrite("alpine:3"); got != "r.io/base/alpine:3.20" {
		t.Errorf("rewritten: %s", got)
	}
}

func TestConflicts(t *testing.T) {
	for name, c := range map[string]struct {
		scheme  string
		written []string
		want    []string
	}{
		"two registries": {"path", []string{"quay.io/x/y:1", "x/y:2", "ghcr.io/x/y:1", "ghcr.io/z:1"}, []string{
			"docker.io/x/y and ghcr.io/x/y both become r.io/m/x/y: two repositories would be one",
			"docker.io/x/y and quay.io/x/y both become r.io/m/x/y: two repositories would be one",
			"ghcr.io/x/y and quay.io/x/y both become r.io/m/x/y: two repositories would be one",
		}},
		"case of the host": {"host-path", []string{"Example.com/x:1", "example.com/x:1"}, []string{
			"Example.com/x and example.com/x both become r.io/m/example.com/x: two repositories would be one",
		}},
		"two digests": {"", []string{"x:1@" + digestA, "x:1@" + digestB}, []string{
			"docker.io/library/x:1@" + digestA + " and docker.io/library/x:1@" + digestB + " both become r.io/m/library-x-" + md5Hex("docker.io/library/x") + ":1: one tag would stand for two digests",
		}},
		"case of the tag": {"host-path", []string{"x:v1", "x:V1"}, []string{
			"docker.io/library/x:V1 and docker.io/library/x:v1 both become r.io/m/docker.io/library/x:V1: the names differ in case alone, which some registries do not tell apart",
		}},
		"named tag": {"", []string{"a:1=x:1", "b:1=x:1"}, []string{
			"docker.io/library/a:1 and docker.io/library/b:1 both become r.io/m/x:1: one tag would stand for two images",
		}},
		"named and not": {"path", []string{"a/x:1", "b:1=a/x:2"}, []string{
			"docker.io/a/x and docker.io/library/b both become r.io/m/a/x: two repositories would be one",
		}},
		"unfit": {"template:{{.Base}}_", []string{"a:1", "b:1"}, []string{
			"docker.io/library/a:1: r.io/m/a_ is no repository's name",
			"docker.io/library/b:1: r.io/m/b_ is no repository's name",
		}},
		"tag and digest": {"", []string{"x:1", "x:1@" + digestA, "x@" + digestA}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Pairs(mentions(c.written...), naming(t, c.scheme, "r.io/m"))
			var got []string
			if conflict := (*ConflictError)(nil); errors.As(err, &conflict) {
				for _, one := range conflict.Conflicts {
					got = append(got, one.String())
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("conflicts (-want +got):\n%s", diff)
			}
			if err != nil && !strings.Contains(err.Error(), c.want[0]) {
				t.Errorf("the error does not list %s:\n%v", c.want[0], err)
			}
		})
	}
}

// TestCheckWithDigests looks again once it is known what the tags stand for.
func TestCheckWithDigests(t *testing.T) {
	n := naming(t, "", "r.io/m")
	pairs, err := Pairs(mentions("x:1", "x:1@"+digestA), n)
	if err != nil {
		t.Fatal(err)
	}
	pairs[0].Source.Digest = digestA
	if got := Check(pairs); len(got) != 0 {
		t.Errorf("got %v, want no conflict", got)
	}
	pairs[0].Source.Digest = digestB
	if got := Check(pairs); len(got) != 1 || !strings.Contains(got[0].Why, "two digests") {
		t.Errorf("got %v, want one tag for two digests", got)
	}
}

func TestPairsRefuse(t *testing.T) {
	n := naming(t, "", "r.io/m")
	for written, want := range map[string]string{
		"UPPER":                               "f:1: invalid reference",
		"x=r.io/UPPER":                        "f:1: target of docker.io/library/x:latest: invalid reference",
		"x=r.io/x@" + digestA:                 "which the source does not have",
		"x@" + digestB + "=r.io/x@" + digestA: "its digest is another one",
		"x=docker.io/a/b/c":                   "Docker Hub takes 2",
	} {
		source, target, _ := strings.Cut(written, "=")
		_, err := Pairs([]Mention{{Written: source, Target: target, At: "f:1"}}, n)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want …%s…", written, err, want)
		}
	}
}

// TestFlatIsOneToOne holds that names that look alike when flat stay apart.
func TestFlatIsOneToOne(t *testing.T) {
	for _, scheme := range []string{"flat-md5", "flat-sha256", "components:2", "host-path"} {
		pairs, err := Pairs(mentions("a/b-c", "a-b/c", "quay.io/a/b-c", "quay.io/a-b/c", "a/b/c", "localhost:5000/a/b-c"), naming(t, scheme, "r.io/m"))
		if err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
		seen := make(map[ref.Name]bool)
		for _, p := range pairs {
			seen[p.Target.Name] = true
		}
		if len(seen) != 6 {
			t.Errorf("%s: 6 repositories become %d", scheme, len(seen))
		}
	}
}

// TestPairsBelow holds how an input names a path, or a tag, and nothing else.
func TestPairsBelow(t *testing.T) {
	n := naming(t, "host-path", "r.io/m")
	got, err := Pairs(mentions("a.io/x:1=/my.org/x", "a.io/y:1=:v7", "a.io/z@"+digestA+"=:v8", "a.io/w:1=/w:9"), n)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a.io/w:1 > r.io/m/w:9 (a.io/w:1)",
		"a.io/x:1 > r.io/m/my.org/x:1 (a.io/x:1)",
		"a.io/y:1 > r.io/m/a.io/y:v7 (a.io/y:1)",
		"a.io/z@" + digestA + " > r.io/m/a.io/z:v8@" + digestA + " (a.io/z@" + digestA + ")",
	}
	if diff := cmp.Diff(want, show(got)); diff != "" {
		t.Errorf("pairs (-want +got):\n%s", diff)
	}
}

// TestPairsPlatforms holds that an image has all platforms that one of its
// mentions wants.
func TestPairsPlatforms(t *testing.T) {
	arm, amd := Platform{OS: "linux", Architecture: "arm64"}, Platform{OS: "linux", Architecture: "amd64"}
	got, err := Pairs([]Mention{
		{Written: "a.io/a:1", Platforms: []Platform{arm}}, {Written: "a.io/a:1", Platforms: []Platform{amd, arm}},
		{Written: "a.io/b:1", Platforms: []Platform{arm}}, {Written: "a.io/b:1"}, {Written: "a.io/b:1", Platforms: []Platform{amd}},
	}, naming(t, "", "r.io/m"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]Platform{{amd, arm}, nil}, [][]Platform{got[0].Platforms, got[1].Platforms}); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
}
