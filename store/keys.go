package store

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Key names an object of a [Bucket]: components of [0-9A-Za-z._+!-], joined
// by '/', none of them empty, "." or "..", none longer than 255 bytes. In this
// package keys are made from parsed digests, repositories and tags alone.
type Key string

// maxComponent is the longest name of a file, in bytes, on every file system
// of interest (NAME_MAX).
const maxComponent = 255

// Check returns ErrInvalid where k is not a key. Buckets call it, so that no
// mistake of a caller leaves their root.
func (k Key) Check() error {
	start := 0
	for i := 0; i <= len(k); i++ {
		if i < len(k) && k[i] != '/' {
			if !keyByte(k[i]) {
				return oci.Errorf(oci.ErrInvalid, "", "key %q has the byte %q", string(k), k[i])
			}
			continue
		}
		if c := k[start:i]; c == "" || c == "." || c == ".." || len(c) > maxComponent {
			return oci.Errorf(oci.ErrInvalid, "", "key %q has the component %q", string(k), string(c))
		}
		start = i + 1
	}
	return nil
}

func keyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' ||
		c == '.' || c == '_' || c == '+' || c == '!' || c == '-'
}

// hashed checks a digest and returns its parts.
func hashed(d oci.Digest) (alg, hex string, err error) {
	if _, err := ref.ParseDigest(string(d)); err != nil {
		return "", "", oci.Errorf(oci.ErrInvalid, oci.CodeDigestInvalid, "%w", err)
	}
	alg, hex, _ = strings.Cut(string(d), ":")
	return alg, hex, nil
}

// flat returns "<alg>-<hex>", a digest as one component.
func flat(d oci.Digest) (string, error) {
	alg, hex, err := hashed(d)
	return alg + "-" + hex, err
}

// unflat is the reverse of flat.
func unflat(s string) (oci.Digest, error) {
	alg, hex, _ := strings.Cut(s, "-")
	return ref.ParseDigest(alg + ":" + hex)
}

// repository checks the path of a repository.
func repository(n ref.Name) (string, error) {
	if !ref.ValidPath(n.Path) {
		return "", oci.Errorf(oci.ErrInvalid, oci.CodeNameInvalid, "%q is not the name of a repository", n.Path)
	}
	return n.Path, nil
}

// scoped returns "<scope>/<repo>". Where the name's host is not the scope
// itself it becomes part of the scope's component, so that two upstreams
// never mix even where they were given one scope.
func scoped(scope string, n ref.Name) (string, error) {
	repo, err := repository(n)
	if err != nil {
		return "", err
	}
	switch {
	case n.Host != "" && !ref.ValidHost(n.Host):
		return "", oci.Errorf(oci.ErrInvalid, oci.CodeNameInvalid, "%q is not a host", n.Host)
	case n.Host != "" && n.Host != scope:
		scope = n.Host + "/" + scope
	case scope == "":
		return "", oci.Errorf(oci.ErrInvalid, "", "the scope is empty")
	case strings.Contains(scope, "/"):
		scope = "/" + scope // no host is empty, so this is nobody else's
	}
	return escape(scope) + "/" + repo, nil
}

// escape writes any text as one component: ':' as '+', upper case as '!x',
// other bytes outside of [0-9a-z._-] as '!0' and two hexadecimal digits. Where
// that gets too long it is '!3' and a hash.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == ':':
			b.WriteByte('+')
		case c >= 'A' && c <= 'Z':
			b.WriteByte('!')
			b.WriteByte(c + 'a' - 'A')
		case c == '.' && i == 0, !keyByte(c), c == '+', c == '!':
			fmt.Fprintf(&b, "!0%02x", c)
		default:
			b.WriteByte(c)
		}
	}
	if b.Len() > maxComponent {
		sum := sha256.Sum256([]byte(s))
		return "!3" + hex.EncodeToString(sum[:])
	}
	return b.String()
}

// escapeTag writes a tag as one component, upper case as '!x' (the rule of
// Go's module cache). A tag that gets longer than a file's name may be is
// written as '!2', a bitmap of its upper case letters in hexadecimal, a dot
// and the tag in lower case.
func escapeTag(tag string) (string, error) {
	if !ref.ValidTag(tag) {
		return "", oci.Errorf(oci.ErrInvalid, "", "%q is not a tag", tag)
	}
	if s := escape(tag); !strings.HasPrefix(s, "!3") {
		return s, nil
	}
	upper := make([]byte, 16) // a tag has at most 128 bytes
	for i := range len(tag) {
		if tag[i] >= 'A' && tag[i] <= 'Z' {
			upper[i/8] |= 1 << (i % 8)
		}
	}
	return "!2" + hex.EncodeToString(upper) + "." + strings.ToLower(tag), nil
}

// unescapeTag is the reverse of escapeTag. It reports false for names that
// escapeTag never writes.
func unescapeTag(s string) (string, bool) {
	var tag string
	if rest, ok := strings.CutPrefix(s, "!2"); ok {
		bits, lower, _ := strings.Cut(rest, ".")
		upper, err := hex.DecodeString(bits)
		if err != nil || len(upper) != 16 || len(lower) > 128 {
			return "", false
		}
		b := []byte(lower)
		for i := range b {
			if upper[i/8]&(1<<(i%8)) != 0 {
				b[i] -= 'a' - 'A'
			}
		}
		tag = string(b)
	} else {
		var b strings.Builder
		for i := 0; i < len(s); i++ {
			c := s[i]
			if c == '!' && i+1 < len(s) {
				i++
				c = s[i] - ('a' - 'A')
			}
			b.WriteByte(c)
		}
		tag = b.String()
	}
	back, err := escapeTag(tag)
	return tag, err == nil && back == s
}

// Keys of the cache.

func cacheBlobKey(d oci.Digest) (Key, error) {
	alg, hex, err := hashed(d)
	if err != nil {
		return "", err
	}
	return Key("c/b/" + alg + "/" + hex[:2] + "/" + hex), nil
}

// cacheLinkKey hashes the name of a link, so that a million repositories do
// not need a million directories. The start of the digest follows, so that a link
// to what is not here any more is known without knowing of whom.
func cacheLinkKey(scope string, n ref.Name, d oci.Digest) (Key, error) {
	where, err := scoped(scope, n)
	if err != nil {
		return "", err
	}
	if _, _, err := hashed(d); err != nil {
		return "", err
	}
	const generation = "0" // of the scope; a new one forgets every link at once
	sum := sha256.Sum256([]byte(where + "|" + generation + "|" + string(d)))
	name := hex.EncodeToString(sum[:20])
	b := briefOf(d)
	return Key("c/m/" + name[:2] + "/" + name + "." + hex.EncodeToString(b[:])), nil
}

func cacheManifestKey(scope string, n ref.Name, d oci.Digest) (Key, error) {
	where, err := scoped(scope, n)
	if err != nil {
		return "", err
	}
	name, err := flat(d)
	return Key("c/i/" + where + "/_m/" + name), err
}

func cacheTagsPrefix(scope string, n ref.Name) (string, error) {
	where, err := scoped(scope, n)
	return "c/t/" + where + "/_t/", err
}

func cacheTagKey(scope string, n ref.Name, tag string) (Key, error) {
	prefix, err := cacheTagsPrefix(scope, n)
	if err != nil {
		return "", err
	}
	name, err := escapeTag(tag)
	return Key(prefix + name), err
}

// Keys of the vault.

// An inc names an incarnation: 13 characters of base 32, 64 random bits.
type inc string

func newInc() inc { return inc(random()) }

// random returns 13 characters of lower-case base 32 with 64 random bits.
func random() string {
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	var b [8]byte
	rand.Read(b[:]) // never fails
	out := make([]byte, 13)
	var v uint64
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	for i := range out {
		out[i] = digits[v&31]
		v >>= 5
	}
	return string(out)
}

func validInc(s string) bool {
	if len(s) != 13 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// vaultBlobPrefix is the common prefix of all incarnations of d in kind 'b'
// or of their markers in kind 'c'.
func vaultBlobPrefix(kind string, d oci.Digest) (string, error) {
	alg, hex, err := hashed(d)
	if err != nil {
		return "", err
	}
	return "v/" + kind + "/" + alg + "/" + hex[:2] + "/" + hex + ".", nil
}

func vaultBlobKey(d oci.Digest, i inc) (Key, error) {
	prefix, err := vaultBlobPrefix("b", d)
	return incKey(prefix, i, err)
}

func vaultMarkerKey(d oci.Digest, i inc) (Key, error) {
	prefix, err := vaultBlobPrefix("c", d)
	return incKey(prefix, i, err)
}

func incKey(prefix string, i inc, err error) (Key, error) {
	if err == nil && !validInc(string(i)) {
		err = oci.Errorf(oci.ErrInvalid, "", "%q is not an incarnation", string(i))
	}
	return Key(prefix + string(i)), err
}

// vaultPrefix is where the records of one kind of a repository stand: kind is
// l, m, t or r.
func vaultPrefix(kind string, n ref.Name) (string, error) {
	repo, err := repository(n)
	return "v/" + kind + "/" + repo + "/_" + kind + "/", err
}

// vaultPrefixOf is the prefix of a repository's records about one digest:
// links, pins or referrers.
func vaultPrefixOf(kind string, n ref.Name, d oci.Digest) (string, error) {
	prefix, err := vaultPrefix(kind, n)
	if err != nil {
		return "", err
	}
	name, err := flat(d)
	return prefix + name + "/", err
}

func vaultLinkKey(n ref.Name, d oci.Digest, i inc, rand string) (Key, error) {
	prefix, err := vaultPrefixOf("l", n, d)
	if err == nil && !validInc(string(i)) {
		err = oci.Errorf(oci.ErrInvalid, "", "%q is not an incarnation", string(i))
	}
	return Key(prefix + string(i) + "." + rand), err
}

func vaultPinKey(n ref.Name, d oci.Digest, rand string) (Key, error) {
	prefix, err := vaultPrefixOf("m", n, d)
	return Key(prefix + rand), err
}

func vaultTagKey(n ref.Name, tag string) (Key, error) {
	prefix, err := vaultPrefix("t", n)
	if err != nil {
		return "", err
	}
	name, err := escapeTag(tag)
	return Key(prefix + name), err
}

func vaultReferrerKey(n ref.Name, subject, d oci.Digest) (Key, error) {
	prefix, err := vaultPrefixOf("r", n, subject)
	if err != nil {
		return "", err
	}
	name, err := flat(d)
	return Key(prefix + name), err
}

// quarantineKey is where a damaged object goes: never the same name twice.
func quarantineKey(k Key) Key {
	return Key("q/" + strings.ReplaceAll(string(k), "/", "-") + "." + random())
}
