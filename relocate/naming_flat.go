package relocate

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// maxFlat is the largest length of a flattened name, host and path together,
// in bytes: what a reference could have when the scheme was made
// (cnabio/image-relocation, pkg/pathmapping).
const maxFlat = 255

// flat returns the naming of duffle, cnab-go and Porter (cnabio/image-relocation,
// pkg/pathmapping.FlattenRepoPath), which is the same to the byte with MD5:
// everything in one level below the prefix, as much of the path as there is
// room for, and the hash of the whole name, by which two images never meet.
// Tag and digest are not hashed.
func (n *Naming) flat(hash func(string) string) func(ref.Ref) (ref.Name, error) {
	return func(r ref.Ref) (ref.Name, error) {
		sum := hash(r.Name.String())
		room := maxFlat - len(n.prefix.String()+"/"+"-"+sum)
		name := n.below(sum)
		if text := crunch(strings.Split(r.Path, "/"), room); text != "" {
			name = n.below(text + "-" + sum)
		}
		if size := len(name.String()); size > maxFlat {
			return ref.Name{}, fmt.Errorf("%s: the name is %d bytes long, %d are allowed: use a shorter prefix", name, size, maxFlat)
		}
		return name, nil
	}
}

// crunch joins components with dashes, leaving out as many of those before the
// last as it takes to fit into size bytes. Where not even the last one fits it
// is the first, and "" where that does not either.
func crunch(components []string, size int) string {
	for n := len(components); n > 0; n-- {
		if s := elide(components, n); len(s) <= size {
			return s
		}
	}
	if len(components[0]) <= size {
		return components[0]
	}
	return ""
}

// elide joins the first n-1 components and the last; three dashes stand for
// those between.
func elide(components []string, n int) string {
	last := len(components) - 1
	switch {
	case len(components) <= n:
		return strings.Join(components, "-")
	case n < 2:
		return components[last]
	default:
		return strings.Join(components[:n-1], "-") + "---" + components[last]
	}
}

// md5Hex is no protection: names that meet can be made. [Pairs] compares the
// whole set, and flat-sha256 is there for sources that nobody trusts.
func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// sha256Hex returns the first half of the hash, which is as long as an MD5.
func sha256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}
