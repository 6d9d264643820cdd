package ref

import (
	_ "crypto/sha256" // so that sha256 digests can be computed
	_ "crypto/sha512" // so that sha512 digests can be computed
	"errors"
	"fmt"
	"strings"

	digest "github.com/opencontainers/go-digest"
)

// MaxPath is the largest length of a repository's path, in bytes, as Docker
// and containerd limit it.
const MaxPath = 255

// ErrInvalid is wrapped by every error that this package returns.
var ErrInvalid = errors.New("invalid reference")

// Parse reads a reference in any form that Docker accepts, and normalises it:
// "alpine" becomes docker.io/library/alpine, "index.docker.io/x" becomes
// docker.io/library/x. No tag is added; see [Ref.WithDefaultTag]. A reference
// with a tag and a digest keeps both.
//
// Unlike distribution/reference it refuses a first segment that looks like a
// host but is none ("foo_bar.com/x"), and digests other than sha256 and
// sha512. Errors wrap [ErrInvalid].
func Parse(s string) (Ref, error) {
	r, err := parse(s)
	if err != nil {
		return Ref{}, fmt.Errorf("%w %q: %w", ErrInvalid, s, err)
	}
	return r, nil
}

func parse(s string) (Ref, error) {
	if s == "" {
		return Ref{}, errors.New("it is empty")
	}
	if len(s) == 64 && isLowerHex(s) {
		return Ref{}, errors.New("64 hexadecimal digits are an image ID, not a name")
	}
	host, rest := splitHost(s)
	var r Ref
	rest, dig, hasDigest := strings.Cut(rest, "@")
	path, tag, hasTag := strings.Cut(rest, ":")
	if err := checkHost(host); err != nil {
		return Ref{}, err
	}
	if err := checkPath(path); err != nil {
		return Ref{}, err
	}
	r.Name = Name{Host: host, Path: path}
	if hasTag {
		if !ValidTag(tag) {
			return Ref{}, fmt.Errorf("tag %q is not 1 to 128 letters, digits, '_', '.' or '-'", tag)
		}
		r.Tag = tag
	}
	if hasDigest {
		d, err := ParseDigest(dig)
		if err != nil {
			return Ref{}, err
		}
		r.Digest = d
	}
	return r, nil
}

// splitHost separates the host from the rest, as Docker does: the first
// segment is a host where it is "localhost", has a dot, a colon or an upper
// case letter; otherwise the host is Docker Hub.
func splitHost(s string) (host, rest string) {
	first, after, ok := strings.Cut(s, "/")
	switch {
	case !ok:
		return DockerHub, "library/" + s
	case first == "index.docker.io":
		host, rest = DockerHub, after
	case first == "localhost", strings.ContainsAny(first, ".:"), strings.ToLower(first) != first:
		host, rest = first, after
	default:
		host, rest = DockerHub, s
	}
	if host == DockerHub && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	return host, rest
}

// ParseName reads a repository name without tag and digest, and normalises it
// as [Parse] does.
func ParseName(s string) (Name, error) {
	r, err := Parse(s)
	if err != nil {
		return Name{}, err
	}
	if r.Tag != "" || r.Digest != "" {
		return Name{}, fmt.Errorf("%w %q: a repository is wanted, without tag or digest", ErrInvalid, s)
	}
	return r.Name, nil
}

// ParseDigest reads a digest: "sha256:" or "sha512:" and as many lower-case
// hexadecimal digits as that algorithm has. Errors wrap [ErrInvalid].
func ParseDigest(s string) (Digest, error) {
	alg, hex, ok := strings.Cut(s, ":")
	if !ok {
		return "", fmt.Errorf("%w: digest %q has no algorithm", ErrInvalid, s)
	}
	want := 0
	switch digest.Algorithm(alg) {
	case digest.SHA256:
		want = 64
	case digest.SHA512:
		want = 128
	default:
		return "", fmt.Errorf("%w: digest %q is neither sha256 nor sha512", ErrInvalid, s)
	}
	if len(hex) != want || !isLowerHex(hex) {
		return "", fmt.Errorf("%w: digest %q has not %d lower-case hexadecimal digits", ErrInvalid, s, want)
	}
	return Digest(s), nil
}

// ValidTag reports whether s is a tag: a letter, digit or '_', then up to 127
// letters, digits, '_', '.' or '-' (distribution-spec 1.1, "Pulling
// manifests").
func ValidTag(s string) bool {
	if s == "" || len(s) > 128 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isAlphanumeric(c) && (c < 'A' || c > 'Z') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// ValidPath reports whether s is a repository's path: components of lower-case
// letters and digits, separated inside by one '.', one or two '_' or any
// number of '-', joined by '/'; at most [MaxPath] bytes (distribution-spec
// 1.1, "Pulling manifests").
func ValidPath(s string) bool { return checkPath(s) == nil }

// ValidHost reports whether s is a host with an optional port, as it may stand
// in a reference: a DNS name, an IPv4 address or an IPv6 address in brackets.
func ValidHost(s string) bool { return checkHost(s) == nil }

func checkPath(s string) error {
	if s == "" {
		return errors.New("the repository is missing")
	}
	if len(s) > MaxPath {
		return fmt.Errorf("the repository is longer than %d bytes", MaxPath)
	}
	if strings.ToLower(s) != s {
		return fmt.Errorf("repository %q must be lower case", s)
	}
	for c := range strings.SplitSeq(s, "/") {
		if !validComponent(c) {
			return fmt.Errorf("repository %q: component %q is not letters and digits separated by '.', '_', '__' or '-'", s, c)
		}
	}
	return nil
}

func validComponent(s string) bool {
	if s == "" || !isAlphanumeric(s[0]) || !isAlphanumeric(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if isAlphanumeric(s[i]) {
			i++
			continue
		}
		n := 1
		for s[i+n] == s[i] { // ends: the last byte is alphanumeric
			n++
		}
		switch {
		case s[i] == '.' && n == 1, s[i] == '_' && n <= 2, s[i] == '-':
		default:
			return false
		}
		if !isAlphanumeric(s[i+n]) {
			return false
		}
		i += n
	}
	return true
}

func checkHost(s string) error {
	name, port := s, ""
	hasPort := false
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 2 || !isIPv6Literal(s[1:end]) {
			return fmt.Errorf("host %q is no IPv6 address in brackets", s)
		}
		name = ""
		if rest := s[end+1:]; rest != "" {
			if rest[0] != ':' {
				return fmt.Errorf("host %q has something after the bracket", s)
			}
			port, hasPort = rest[1:], true
		}
	} else {
		name, port, hasPort = strings.Cut(s, ":")
		for label := range strings.SplitSeq(name, ".") {
			if !validLabel(label) {
				return fmt.Errorf("host %q is no DNS name or address", s)
			}
		}
	}
	if hasPort && !isDigits(port) {
		return fmt.Errorf("host %q: port %q is no number", s, port)
	}
	return nil
}

func validLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isAlphanumeric(c) && (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return true
}

func isIPv6Literal(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != ':' && (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
