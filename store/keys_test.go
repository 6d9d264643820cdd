package store

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

const (
	someHex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	some    = oci.Digest("sha256:" + someHex)
)

func TestKeys(t *testing.T) {
	hub := ref.Name{Host: "docker.io", Path: "library/alpine"}
	some512 := oci.FromBytes(nil, "sha512:x")
	for want, make := range map[Key]func() (Key, error){
		"c/b/sha256/e3/" + someHex:                func() (Key, error) { return cacheBlobKey(some) },
		"c/b/sha512/cf/" + Key(some512.Encoded()): func() (Key, error) { return cacheBlobKey(some512) },
		"c/i/docker.io/library/alpine/_m/sha256-" + someHex: func() (Key, error) {
			return cacheManifestKey("docker.io", hub, some)
		},
		"c/t/docker.io/library/alpine/_t/3.20-!b!eta": func() (Key, error) { return cacheTagKey("docker.io", hub, "3.20-BEta") },
		"c/t/reg.example+5000/a/_t/x": func() (Key, error) {
			return cacheTagKey("reg.example:5000", ref.Name{Host: "reg.example:5000", Path: "a"}, "x")
		},
		"c/t/docker.io!02fdocker.io!040alice/library/alpine/_t/x": func() (Key, error) { return cacheTagKey("docker.io@alice", hub, "x") },
		"v/b/sha256/e3/" + someHex + ".abcdefghijk23":             func() (Key, error) { return vaultBlobKey(some, "abcdefghijk23") },
		"v/c/sha256/e3/" + someHex + ".abcdefghijk23":             func() (Key, error) { return vaultMarkerKey(some, "abcdefghijk23") },
		"v/t/team/app/_t/_!x":                                     func() (Key, error) { return vaultTagKey(app, "_X") },
		"v/r/team/app/_r/sha256-" + someHex + "/sha256-" + someHex: func() (Key, error) {
			return vaultReferrerKey(app, some, some)
		},
	} {
		if got, err := make(); err != nil || got != want {
			t.Errorf("got %q, %v\nwant %q", got, err, want)
		}
	}
}

// TestKeysKeepUpstreamsApart: a caller that gives two upstreams one scope must
// still not get the content of one from the other.
func TestKeysKeepUpstreamsApart(t *testing.T) {
	seen := map[Key]string{}
	for _, scope := range []string{"a", "b", "a/b", "a:1", "A", "a!a", "a.", ".", "..", "_t"} {
		for _, host := range []string{"", "a", "b", "a:1", "A"} {
			for _, path := range []string{"x", "b/x", "a/x"} {
				k, err := cacheTagKey(scope, ref.Name{Host: host, Path: path}, "t")
				if err != nil {
					t.Fatal(err)
				}
				who := scope + " " + host + " " + path
				if scope == host || host == "" {
					who = scope + " " + path
				}
				if old, ok := seen[k]; ok && old != who {
					t.Errorf("%q and %q share the key %s", old, who, k)
				}
				seen[k] = who
			}
		}
	}
}

func TestKeysRefuse(t *testing.T) {
	for _, d := range []oci.Digest{"", "sha256", "sha256:", "sha256:../../x", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:" + oci.Digest(strings.ToUpper(someHex)), some + "/", some + "\n"} {
		if k, err := cacheBlobKey(d); err == nil {
			t.Errorf("digest %q gives %q", d, k)
		}
	}
	for _, path := range []string{"", "..", "a/../b", "/a", "a/", "A", "_t", "a//b", "a\x00b"} {
		if k, err := vaultTagKey(ref.Name{Path: path}, "x"); err == nil {
			t.Errorf("repository %q gives %q", path, k)
		}
	}
	for _, tag := range []string{"", ".", "..", "a/b", "-a", "ä", strings.Repeat("a", 129)} {
		if k, err := vaultTagKey(app, tag); err == nil {
			t.Errorf("tag %q gives %q", tag, k)
		}
	}
	for _, i := range []inc{"", "x", "../../../../x", "ABCDEFGHIJK23"} {
		if k, err := vaultBlobKey(some, i); err == nil {
			t.Errorf("incarnation %q gives %q", i, k)
		}
	}
}

func TestTagsEscapeAndBack(t *testing.T) {
	for _, tag := range []string{"latest", "V1", "_X-.Y", strings.Repeat("A", 128), strings.Repeat("aB", 64), strings.Repeat("a", 128)} {
		s, err := escapeTag(tag)
		if err != nil || len(s) > maxComponent || strings.ToLower(s) != s {
			t.Errorf("escapeTag(%q) = %q, %v", tag, s, err)
		}
		if back, ok := unescapeTag(s); !ok || back != tag {
			t.Errorf("unescapeTag(%q) = %q, %v, want %q", s, back, ok, tag)
		}
	}
	for _, s := range []string{"", "!", "A", "!A", "!1", "a!", "!2", "!2zz.a", "!2" + strings.Repeat("0", 32) + ".a", "!3" + someHex} {
		if tag, ok := unescapeTag(s); ok {
			t.Errorf("unescapeTag(%q) = %q, want a refusal", s, tag)
		}
	}
}

// FuzzKeys holds that whatever is accepted gives keys below their pool, in the
// alphabet, and that names which differ never share one, not even where the
// file system ignores case.
func FuzzKeys(f *testing.F) {
	f.Add("docker.io", "docker.io", "library/alpine", "3.20", string(some))
	f.Add("../..", "a/../b", "a/..", "..", "sha256:../../x")
	f.Add("A:1@\x00/", "[::1]:5000", "a__b/c", strings.Repeat("Z", 128), "sha512:"+someHex+someHex)
	f.Fuzz(func(t *testing.T, scope, host, path, tag, digest string) {
		n, d := ref.Name{Host: host, Path: path}, oci.Digest(digest)
		check := func(pool string, k Key, err error) {
			if err != nil {
				return
			}
			if err := k.Check(); err != nil {
				t.Errorf("key %q: %v", k, err)
			}
			clean := filepath.Clean(filepath.Join("/root/dir", string(k)))
			if clean != "/root/dir/"+string(k) || !strings.HasPrefix(string(k), pool) {
				t.Errorf("key %q leaves its place", k)
			}
			if strings.ToLower(string(k)) != string(k) {
				t.Errorf("key %q has upper case", k)
			}
		}
		for pool, make := range map[string]func() (Key, error){
			"c/b/": func() (Key, error) { return cacheBlobKey(d) },
			"c/m/": func() (Key, error) { return cacheLinkKey(scope, n, d) },
			"c/i/": func() (Key, error) { return cacheManifestKey(scope, n, d) },
			"c/t/": func() (Key, error) { return cacheTagKey(scope, n, tag) },
			"v/b/": func() (Key, error) { return vaultBlobKey(d, newInc()) },
			"v/l/": func() (Key, error) { return vaultLinkKey(n, d, newInc(), random()) },
			"v/m/": func() (Key, error) { return vaultPinKey(n, d, random()) },
			"v/t/": func() (Key, error) { return vaultTagKey(n, tag) },
			"v/r/": func() (Key, error) { return vaultReferrerKey(n, d, d) },
		} {
			k, err := make()
			check(pool, k, err)
		}
		if s, err := escapeTag(tag); err == nil {
			if back, ok := unescapeTag(s); !ok || back != tag {
				t.Errorf("tag %q becomes %q and then %q", tag, s, back)
			}
		}
		if scope != host && escape(scope) == escape(host) {
			t.Errorf("%q and %q are both %q", scope, host, escape(scope))
		}
		if back, ok := unescapeTag(scope); ok {
			if s, err := escapeTag(back); err != nil || s != scope {
				t.Errorf("name %q becomes %q and then %q", scope, back, s)
			}
		}
	})
}
