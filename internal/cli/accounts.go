package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
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
	turns    []account // further ones for the same, which are taken in turn with it
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
		u.account, u.turns = u.parts[part].account, u.parts[part].turns
	}
	return u
}

// scope names a host and who we are there. What one account may see must not
// answer for another, even after the configuration has changed; hence it is a
// part of the store's keys. Accounts that take turns may see the same, so that
// they share one. A user's name is hashed because any character may
// be in it.
func (u *upstream) scope(host string) string {
	who := u.account.who()
	if who == "" {
		return host
	}
	if len(u.turns) > 0 {
		all := []string{who}
		for _, a := range u.turns {
			all = append(all, a.who())
		}
		slices.Sort(all)
		who = strings.Join(all, "\n")
	}
	sum := sha256.Sum256([]byte(who))
	return host + "+" + hex.EncodeToString(sum[:8])
}

// who names an account, "" for nobody's.
func (a account) who() string {
	switch {
	case a.dockerConfig != "":
		return "docker_config " + a.dockerConfig
	case a.username != "":
		return "user " + a.username
	}
	return ""
}
