package rules

import (
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// ShortNames says what names without a registry mean. The zero value says
// nothing.
type ShortNames struct {
	// Search are the registries to look in, in this order.
	Search []string
	// SearchAt is where Search is written, the zero value where it is not:
	// an empty list may be written, too.
	SearchAt Origin
	// Aliases are whole names for short ones; an empty one erases.
	//
	//	:: short name without tag → alias
	Aliases map[string]Alias
	// Mode says what to do with several candidates.
	Mode ShortNameMode
}

// An Alias is the whole name that a short name stands for.
type Alias struct {
	Name   ref.Name // the zero value erases the alias
	Origin Origin
}

// A ShortNameMode says what a client does with a short name that may mean
// several images.
type ShortNameMode uint8

const (
	// ModeUnset: nothing is said; it means Permissive.
	ModeUnset ShortNameMode = iota
	// Permissive: a terminal is asked; without one all candidates are tried,
	// in order.
	Permissive
	// Enforcing: without a terminal to ask at, it is an error.
	Enforcing
	// Disabled: all candidates are tried, in order, and nobody is asked.
	Disabled
)

// Configured reports whether anything is said about short names.
func (s ShortNames) Configured() bool { return len(s.Aliases) > 0 || s.SearchAt != (Origin{}) }

// IsShort reports whether a reference as a user writes it names no registry.
func IsShort(name string) bool {
	first, _, ok := strings.Cut(name, "/")
	return !ok || (!strings.ContainsAny(first, ".:") && first != "localhost")
}

// Expand returns the images that a reference may mean for a client, as the
// user wrote it, in the order in which the client tries them. Where the
// dialect knows no short names, or the reference is none, there is exactly
// one. The client may refuse; the error then says why.
func (s *Set) Expand(name string, d Dialect) ([]ref.Ref, error) {
	if !d.ShortNames || !IsShort(name) {
		r, err := d.Parse(name)
		if err != nil {
			return nil, err
		}
		return []ref.Ref{r}, nil
	}
	if s.refused != nil {
		return nil, s.refused
	}
	return s.short.expand(name, &d)
}

func (s ShortNames) expand(name string, d *Dialect) ([]ref.Ref, error) {
	r, err := ref.Parse(name)
	if err != nil {
		return nil, err
	}
	bare := name[:len(name)-len(suffixOf(r))]
	r = r.WithDefaultTag()
	if a, ok := s.Aliases[bare]; ok && a.Name != (ref.Name{}) {
		r.Name = a.Name
		return []ref.Ref{r}, nil
	}
	if len(s.Search) == 0 {
		at := ""
		if s.SearchAt != (Origin{}) {
			at = ": the list in " + s.SearchAt.String() + " is empty"
		}
		return nil, fmt.Errorf("short name %q is no alias and there is no registry to search%s", name, at)
	}
	if len(s.Search) > 1 && s.Mode == Enforcing {
		return nil, fmt.Errorf("short name %q may be at %d registries and short-name-mode is enforcing: without a terminal it is refused", name, len(s.Search))
	}
	refs := make([]ref.Ref, 0, len(s.Search))
	for _, host := range s.Search {
		n, err := ref.ParseName(host + "/" + bare)
		if err != nil {
			return nil, err
		}
		r.Name = n
		if err := d.refuses(r); err != nil {
			return nil, fmt.Errorf("registry %q of the search list: %w", host, err)
		}
		refs = append(refs, r)
	}
	return refs, nil
}

// suffixOf returns the tag and the digest of r with their marks.
func suffixOf(r ref.Ref) string { return strings.TrimPrefix(r.String(), r.Name.String()) }
