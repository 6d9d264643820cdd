// Package ref parses, normalises and prints image references.
//
// A [Name] says where a repository lives: a host and a path below it. A [Ref]
// is a name with a tag, a digest, both or neither. Both are comparable values
// that the rest of the program passes around instead of strings:
//
//	r, err := ref.Parse("alpine:3.20")
//	r.Host        // docker.io
//	r.Path        // library/alpine
//	r.String()    // docker.io/library/alpine:3.20
//	r.Familiar()  // alpine:3.20
//
// The grammar and the normalisation are those of Docker and containerd, that
// is, of github.com/distribution/reference (a test holds the two against each
// other); the name grammar is that of the OCI distribution-spec, section
// "Pulling manifests".
package ref

import (
	"strings"

	digest "github.com/opencontainers/go-digest"
)

// DockerHub is the host under which Docker Hub appears in a normalised name.
// On the wire it answers as registry-1.docker.io.
const DockerHub = "docker.io"

// A Digest names content by its hash: "sha256:…" or "sha512:…" in lower-case
// hexadecimal. The zero value means that there is none.
type Digest = digest.Digest

// A Name says where a repository lives. It is comparable. The zero value names
// nothing.
type Name struct {
	// Host is the registry, with its port where it has one: "docker.io",
	// "registry.example.com:5000", "[::1]:5000". Empty for a repository of
	// our own.
	Host string
	// Path is the repository below the host: "library/alpine".
	Path string
}

// String returns host and path joined by a slash, or the path alone where
// there is no host.
func (n Name) String() string {
	if n.Host == "" {
		return n.Path
	}
	return n.Host + "/" + n.Path
}

// Familiar returns the name as a user of Docker would write it: "alpine"
// rather than "docker.io/library/alpine". It always parses to n again, so
// "docker.io/a.b/c" stays as it is, where distribution/reference shortens it
// to the name of another registry.
func (n Name) Familiar() string {
	if n.Host != DockerHub {
		return n.String()
	}
	if rest, ok := strings.CutPrefix(n.Path, "library/"); ok && !strings.Contains(rest, "/") {
		return rest
	}
	if _, rest := splitHost(n.Path); rest != n.Path {
		return n.String()
	}
	return n.Path
}

// WithTag returns a reference to one tag of the repository.
func (n Name) WithTag(tag string) Ref { return Ref{Name: n, Tag: tag} }

// WithDigest returns a reference to one digest in the repository.
func (n Name) WithDigest(d Digest) Ref { return Ref{Name: n, Digest: d} }

// A Ref is a reference to an image: a repository with a tag, a digest, both or
// neither. Where it has both, the digest decides what is fetched and the tag
// is a note. It is comparable. The zero value refers to nothing.
type Ref struct {
	Name
	Tag    string // "" means none
	Digest Digest // "" means none; it wins over the tag
}

// String returns the normalised form: host/path[:tag][@digest].
func (r Ref) String() string { return r.Name.String() + r.suffix() }

// Familiar returns the reference as a user of Docker would write it.
func (r Ref) Familiar() string { return r.Name.Familiar() + r.suffix() }

// Identifier returns what a request for the manifest says after
// "/manifests/": the digest where there is one, the tag otherwise.
func (r Ref) Identifier() string {
	if r.Digest != "" {
		return string(r.Digest)
	}
	return r.Tag
}

// WithDefaultTag returns r with the tag "latest" where it has neither a tag
// nor a digest, and r itself otherwise.
func (r Ref) WithDefaultTag() Ref {
	if r.Tag == "" && r.Digest == "" {
		r.Tag = "latest"
	}
	return r
}

func (r Ref) suffix() string {
	s := ""
	if r.Tag != "" {
		s = ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}
