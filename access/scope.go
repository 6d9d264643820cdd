package access

import (
	"errors"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// maxScopes limits what one token is asked to be good for.
const maxScopes = 100

// A scope is what a token is asked to be good for.
type scope struct {
	name string // of the repository, as the client calls it; "" for the catalog
	want Rights
}

// parseScopes reads scope parameters, each with any number of scopes:
// "repository:NAME:pull,push registry:catalog:*". What is of another kind, or
// an action that is not known, is left out, since clients send more than a
// registry has.
func parseScopes(params []string) ([]scope, error) {
	var all []scope
	for _, param := range params {
		for text := range strings.FieldsSeq(param) {
			if len(all) == maxScopes {
				return nil, errors.New("too many scopes")
			}
			if s, ok := parseScope(text); ok {
				all = append(all, s)
			}
		}
	}
	return all, nil
}

func parseScope(text string) (scope, bool) {
	kind, rest, _ := strings.Cut(text, ":")
	i := strings.LastIndexByte(rest, ':') // a name may have a port
	if i < 1 {
		return scope{}, false
	}
	name, actions := rest[:i], rest[i+1:]
	if text == "registry:catalog:*" {
		return scope{want: Pull}, true
	}
	if kind != "repository" {
		return scope{}, false
	}
	s := scope{name: name}
	for action := range strings.SplitSeq(actions, ",") {
		if action == "*" {
			s.want = All
		}
		if r, err := ParseRights(action); err == nil {
			s.want |= r
		}
	}
	return s, s.want != None
}

// grants are the limits of a token: what is asked for, as far as the policy
// allows it.
func grants(p Policy, c Caller, asked []scope, resolve func(string) (ref.Name, bool)) []Limit {
	limits := []Limit{}
	for _, s := range asked {
		if s.name == "" {
			limits = append(limits, Limit{Allow: Pull})
			continue
		}
		name, ok := resolve(s.name)
		if got := p.of(c, name) & s.want; ok && got != None {
			limits = append(limits, Limit{name, got})
		}
	}
	return limits
}
