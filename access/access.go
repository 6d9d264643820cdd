// Package access says who calls and what they may do.
//
// A [Door] finds out who a request's caller is: anonymous, or a user by a
// password of an htpasswd file, a client certificate, or the token of an
// [Issuer]. A [Policy] says what a [Caller] may do to a repository. It is pure,
// and the one place where rights are decided.
//
//	door, err := access.NewDoor(access.DoorConfig{Htpasswd: "/etc/entrepot/htpasswd"})
//	policy := access.Policy{Anonymous: access.Pull}
//
//	caller, err := door.Caller(r)
//	if err == nil && policy.Allows(caller, name, access.Push) { … }
//
// Neither knows the protocol; package registry asks both before a request has
// any effect.
package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/entrepot/entrepot/ref"
)

// Rights are what somebody may do to a repository, or wants to do: a set.
type Rights uint8

// The rights, and the sets of them that a configuration has a word for.
const (
	Pull   Rights = 1 << iota // read and list
	Push                      // uploads, mounts into a repository, manifests and tags
	Delete                    // manifests, tags and blobs

	None Rights = 0
	All         = Pull | Push | Delete
)

// rightNames are the single rights, in the order in which they are printed.
var rightNames = []struct {
	right Rights
	name  string
}{{Pull, "pull"}, {Push, "push"}, {Delete, "delete"}}

// ParseRights reads "pull", "push" or "delete".
func ParseRights(s string) (Rights, error) {
	for _, r := range rightNames {
		if r.name == s {
			return r.right, nil
		}
	}
	return None, fmt.Errorf("%q is none of pull, push and delete", s)
}

// ParseLevel reads what a caller without credentials may do: "none", "pull",
// or "push", which is everything.
func ParseLevel(s string) (Rights, error) {
	switch s {
	case "none":
		return None, nil
	case "pull":
		return Pull, nil
	case "push":
		return All, nil
	}
	return None, fmt.Errorf("%q is none of none, pull and push", s)
}

// String returns the rights separated by commas, "none" for the empty set.
func (r Rights) String() string {
	var names []string
	for _, one := range rightNames {
		if r&one.right != 0 {
			names = append(names, one.name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ",")
}

// A Caller is who sends a request. The zero value is anonymous: no
// credentials.
type Caller struct {
	// User is a name, "" for an anonymous caller.
	User string
	// Groups are those that this request's credentials say, and of this
	// request alone: they are never kept.
	Groups []string
	// Foreign says that somebody else made the account, so that a policy
	// without rules gives it no more than reading.
	Foreign bool
	// by says how the caller logged in: "htpasswd", "oidc:" and the issuer, or
	// "".
	by string
	// until is when the credentials end; zero for those that do not.
	until time.Time

	// Limits, where not nil, are all that the caller's credentials are good
	// for, whatever the policy says: those of a token.
	Limits []Limit
}

// A Limit is what credentials are good for in one repository.
type Limit struct {
	Name  ref.Name
	Allow Rights
}

// Anonymous reports whether the caller has no credentials.
func (c Caller) Anonymous() bool { return c.User == "" }

// Covers reports whether the caller's credentials are good for that much,
// which says nothing about whether the policy allows it.
func (c Caller) Covers(name ref.Name, want Rights) bool {
	if c.Limits == nil {
		return true
	}
	var got Rights
	for _, l := range c.Limits {
		if l.Name == name {
			got |= l.Allow
		}
	}
	return got&want == want
}

// AnonymousName is how rules call callers without credentials. No account may
// have this name.
const AnonymousName = "anonymous"

// A Policy says who may do what. The zero value lets nobody do anything. It is
// immutable and safe for concurrent use.
type Policy struct {
	// Rules are asked in order; the first that is for the caller and the
	// repository decides.
	Rules []Rule
	// Anonymous is the last rule: what callers without credentials may do,
	// and everybody for whom there is no other rule.
	Anonymous Rights
}

// A Rule says what some may do to some repositories, and that they may do
// nothing else to them.
type Rule struct {
	// Users and Groups name who the rule is for; Anonymous adds callers
	// without credentials, and everybody for whom there is no other rule.
	Users     []string
	Groups    []string
	Anonymous bool
	// Repositories are what it is for, by their names as [Path] writes them.
	Repositories []ref.Pattern
	Allow        Rights
}

// ParseWho adds an entry of a rule's who: "anonymous", "group:NAME" or a user.
func (r *Rule) ParseWho(s string) error {
	group, isGroup := strings.CutPrefix(s, "group:")
	switch {
	case s == "" || isGroup && group == "":
		return errors.New("it names nobody")
	case isGroup:
		r.Groups = append(r.Groups, group)
	case s == AnonymousName:
		r.Anonymous = true
	default:
		r.Users = append(r.Users, s)
	}
	return nil
}

// Path is a repository's name as rules write it: an upstream's or an archive's
// with its registry first, one of our own by its path alone.
func Path(n ref.Name) string {
	if n.Host == "" {
		return n.Path
	}
	return n.Host + "/" + n.Path
}

// Allows reports whether the caller may do all that is wanted to the
// repository.
func (p Policy) Allows(c Caller, name ref.Name, want Rights) bool {
	return p.of(c, name)&want == want && c.Covers(name, want)
}

// AllowsEverywhere reports whether the caller may do all that is wanted to any
// repository, as far as that can be told without looking at each: not where
// there are rules, or credentials for some repositories only.
func (p Policy) AllowsEverywhere(c Caller, want Rights) bool {
	return len(p.Rules) == 0 && c.Limits == nil && p.of(c, ref.Name{})&want == want
}

// of returns the caller's rights. Who has no rule has the rights of whoever
// has no credentials: leaving them out must never help.
func (p Policy) of(c Caller, name ref.Name) Rights {
	if len(p.Rules) == 0 {
		return p.Anonymous | withoutRules(c)
	}
	path := Path(name)
	if !c.Anonymous() {
		for _, r := range p.Rules {
			if r.names(c) && r.covers(path) {
				return r.Allow
			}
		}
	}
	for _, r := range p.Rules {
		if r.Anonymous && r.covers(path) {
			return r.Allow
		}
	}
	return p.Anonymous
}

// withoutRules is what an account is good for where nothing is said about it:
// everything where the operator made it, reading where somebody else did.
func withoutRules(c Caller) Rights {
	switch {
	case c.Anonymous():
		return None
	case c.Foreign:
		return Pull
	}
	return All
}

// Nothing reports whether callers without credentials have no right to
// anything, so that they need credentials before all else.
func (p Policy) Nothing() bool {
	return p.Anonymous == None && !slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Anonymous && r.Allow != None })
}

func (r Rule) names(c Caller) bool {
	return slices.Contains(r.Users, c.User) || slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(c.Groups, g) })
}

func (r Rule) covers(path string) bool {
	return slices.ContainsFunc(r.Repositories, func(p ref.Pattern) bool { return p.Match(path) })
}
