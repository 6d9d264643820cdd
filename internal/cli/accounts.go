package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/remote"
)

// An account is what we log in to an upstream with. The zero value is
// anonymous.
type account struct {
	username     string
	passwordFile string // "" where the password came from the environment
	password     remote.Secret
	dockerConfig string // a config.json or auth.json to look the upstream up in
}

// A part is the account for some repositories of an upstream.
type part struct {
	account
	patterns []ref.Pattern
}

// choose returns the index of the part that is for a repository, -1 where
// none is: that whose pattern has the most characters besides wildcards, the
// first of several. The choice is made by the name in the upstream and nothing
// else, so that an account's content and its scope in the cache never part.
func (u *upstream) choose(path string) int {
	best, longest := -1, -1
	for i := range u.parts {
		for _, p := range u.parts[i].patterns {
			if n := weight(p); n > longest && p.Match(path) {
				best, longest = i, n
			}
		}
	}
	return best
}

// weight is how much a pattern says.
func weight(p ref.Pattern) int {
	n := 0
	for _, segment := range p {
		n += len(segment) - strings.Count(segment, "*")
	}
	return n
}

// as is the upstream with the account of one of its parts, or as it is for -1.
func (u upstream) as(part int) upstream {
	if part >= 0 {
		u.account = u.parts[part].account
	}
	return u
}

// scope names a host and who we are there. What one account may see must not
// answer for another, even after the configuration has changed; hence it is a
// part of the store's keys. A user's name is hashed because any character may
// be in it.
func (a account) scope(host string) string {
	who := ""
	switch {
	case a.dockerConfig != "":
		who = "docker_config " + a.dockerConfig
	case a.username != "":
		who = "user " + a.username
	default:
		return host
	}
	sum := sha256.Sum256([]byte(who))
	return host + "+" + hex.EncodeToString(sum[:8])
}
