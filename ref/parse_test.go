package ref

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/distribution/reference"
)

const hex64 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// corpus holds spellings, good and bad, that both sides must judge alike.
var corpus = []string{
	"alpine", "alpine:3.20", "library/alpine", "user/app:v1", "docker.io/alpine", "docker.io/library/alpine",
	"index.docker.io/alpine", "index.docker.io/user/app", "registry-1.docker.io/library/alpine",
	"ghcr.io/a/b:c", "localhost/x", "localhost:5000/x", "localhost", "example.com", "example.com:5000",
	"example.com:5000/x", "example.com:5000/x/y:tag", "127.0.0.1:5000/x", "[::1]:5000/x", "[::1]/x", "[::1", "[]/x",
	"[fe80::1%eth0]:5000/x", "Example.com/x", "EXAMPLE/x", "Alpine", "user/App", "alpine:Tag", "alpine:.x", "alpine:-x",
	"alpine:" + strings.Repeat("a", 128), "alpine:" + strings.Repeat("a", 129), "a__b", "a___b", "a..b", "a.-b", "a--b",
	"a---b", "-a", "a-", "a_", "_a", "a/b//c", "a/", "/a", "", "/", ":", "@", "a:", "a@", "a b", "a\n", "docker.io/", "docker.io",
	"alpine@sha256:" + hex64, "alpine:3@sha256:" + hex64, "alpine@sha256:" + strings.ToUpper(hex64), "alpine@sha256:abc",
	"alpine@sha512:" + hex64 + hex64, "alpine@sha512:" + hex64, "alpine@md5:d41d8cd98f00b204e9800998ecf8427e",
	hex64, hex64 + "/x", "a/" + hex64, strings.Repeat("a", 255), strings.Repeat("a", 247), strings.Repeat("a", 248),
	"example.com/" + strings.Repeat("a", 255), "example.com/" + strings.Repeat("a", 256), "ex-ample.com/x", "-example.com/x",
	"example-.com/x", "example..com/x", "example.com./x", "example.com:/x", "example.com:port/x", "a:5000/x", "foo_bar.com/x", "ü/x", "a/ü",
	"docker.io/user/app@sha256:" + hex64, "docker.io:443/alpine", "index.docker.io:443/alpine", "DOCKER.IO/alpine", "x:y:z", "x@y@z",
	"docker.io/0.0/0", "docker.io/localhost/x", "docker.io/index.docker.io/x", "docker.io/docker.io/x",
}

func TestParseAgreesWithDistributionReference(t *testing.T) {
	for _, s := range corpus {
		if err := agree(s); err != nil {
			t.Error(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range corpus {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if err := agree(s); err != nil {
			t.Fatal(err)
		}
		r, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(r.String())
		if err != nil || again != r {
			t.Fatalf("Parse(%q) = %#v, but its String() parses to %#v, %v", s, r, again, err)
		}
		if again, err = Parse(r.Familiar()); err != nil || again != r {
			t.Fatalf("Parse(%q) = %#v, but its Familiar() parses to %#v, %v", s, r, again, err)
		}
	})
}

// agree holds Parse(s) against distribution/reference.
func agree(s string) error {
	got, gotErr := Parse(s)
	named, wantErr := reference.ParseNormalizedNamed(s)
	if wantErr == nil && stricter(named) {
		if gotErr == nil {
			return fmt.Errorf("Parse(%q) = %v, want an error: Entrepot is stricter here", s, got)
		}
		return nil
	}
	if (gotErr == nil) != (wantErr == nil) {
		return fmt.Errorf("Parse(%q): %v, distribution/reference: %v", s, gotErr, wantErr)
	}
	if gotErr != nil {
		if !errors.Is(gotErr, ErrInvalid) {
			return fmt.Errorf("Parse(%q): %v does not wrap ErrInvalid", s, gotErr)
		}
		return nil
	}
	if got.String() != named.String() || got.Host != reference.Domain(named) || got.Path != reference.Path(named) {
		return fmt.Errorf("Parse(%q) = %v, distribution/reference: %v", s, got, named)
	}
	familiar := reference.FamiliarString(named)
	if again, err := reference.ParseNormalizedNamed(familiar); err != nil || again.String() != named.String() {
		familiar = named.String() // it was shortened to another name
	}
	if got.Familiar() != familiar {
		return fmt.Errorf("Parse(%q).Familiar() = %q, want %q", s, got.Familiar(), familiar)
	}
	if want := reference.TagNameOnly(named).String(); got.WithDefaultTag().String() != want {
		return fmt.Errorf("Parse(%q).WithDefaultTag() = %q, want %q", s, got.WithDefaultTag(), want)
	}
	return nil
}

// stricter reports what only distribution/reference accepts: a name without a
// host (its first segment looks like one, but is none), and sha384.
func stricter(n reference.Named) bool {
	if reference.Domain(n) == "" {
		return true
	}
	d, ok := n.(reference.Digested)
	return ok && d.Digest().Algorithm() == "sha384"
}

func TestParseName(t *testing.T) {
	n, err := ParseName("alpine")
	if want := (Name{Host: "docker.io", Path: "library/alpine"}); err != nil || n != want {
		t.Errorf("ParseName(alpine) = %v, %v, want %v", n, err, want)
	}
	for _, s := range []string{"alpine:3", "alpine@sha256:" + hex64} {
		if _, err := ParseName(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseName(%q): got %v, want ErrInvalid", s, err)
		}
	}
}

func TestParseDigest(t *testing.T) {
	for s, ok := range map[string]bool{
		"sha256:" + hex64:                  true,
		"sha512:" + hex64 + hex64:          true,
		"sha256:" + strings.ToUpper(hex64): false,
		"sha256:" + hex64[1:]:              false,
		"sha256:" + hex64 + "0":            false,
		"sha384:" + hex64 + hex64[:32]:     false,
		"sha256:../../../etc/passwd":       false,
		"sha256":                           false,
		"":                                 false,
		":" + hex64:                        false,
		"SHA256:" + hex64:                  false,
	} {
		if _, err := ParseDigest(s); (err == nil) != ok {
			t.Errorf("ParseDigest(%q): got %v, want ok = %v", s, err, ok)
		}
	}
}

func TestIdentifier(t *testing.T) {
	r, err := Parse("alpine:3@sha256:" + hex64)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Identifier(); got != "sha256:"+hex64 {
		t.Errorf("Identifier() = %q, want the digest", got)
	}
	if got := r.WithTag("x").Identifier(); got != "x" {
		t.Errorf("WithTag(x).Identifier() = %q, want x", got)
	}
}

func ExampleParse() {
	r, err := Parse("alpine:3.20")
	if err != nil {
		panic(err)
	}
	fmt.Println(r.Host, r.Path, r.Tag)
	fmt.Println(r)
	fmt.Println(r.Familiar())
	// Output:
	// docker.io library/alpine 3.20
	// docker.io/library/alpine:3.20
	// alpine:3.20
}

func TestFamiliarStaysInItsRegistry(t *testing.T) {
	for s, want := range map[string]string{
		"docker.io/a.b/c":        "docker.io/a.b/c",
		"docker.io/localhost/c":  "docker.io/localhost/c",
		"docker.io/docker.io/c":  "docker.io/docker.io/c",
		"docker.io/library/c":    "c",
		"docker.io/library/a/b":  "library/a/b",
		"registry.example.com/c": "registry.example.com/c",
	} {
		r, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Familiar(); got != want {
			t.Errorf("Parse(%q).Familiar() = %q, want %q", s, got, want)
		}
	}
}
