package relocate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// A Conflict says why images cannot go where they should.
type Conflict struct {
	Sources []string `json:"sources"`          // the images, sorted
	Target  string   `json:"target,omitempty"` // where they meet; "" where one does not fit
	Why     string   `json:"why"`
}

// String returns the conflict in one line.
func (c Conflict) String() string {
	if c.Target == "" {
		return c.Sources[0] + ": " + c.Why
	}
	return strings.Join(c.Sources, " and ") + " both become " + c.Target + ": " + c.Why
}

// A ConflictError lists everything that stands between a set of images and its
// target. Nothing was written.
type ConflictError struct{ Conflicts []Conflict }

// Error lists the conflicts, one a line.
func (e *ConflictError) Error() string {
	lines := make([]string, len(e.Conflicts))
	for i, c := range e.Conflicts {
		lines[i] = c.String()
	}
	if len(lines) == 1 {
		return lines[0]
	}
	return fmt.Sprintf("%d conflicts:\n  %s", len(lines), strings.Join(lines, "\n  "))
}

// conflictError returns nil for no conflict.
func conflictError(all []Conflict) error {
	if len(all) == 0 {
		return nil
	}
	return &ConflictError{Conflicts: all}
}

// Check returns where pairs meet at the target: every two of them. It may be
// asked again once the digests of tags are known.
//
//   - Two repositories become one, unless the input named both targets.
//   - A tag stands for two digests; or, while digests are not known, for two
//     references.
//   - Two names differ in case alone, which some registries do not tell apart.
func Check(pairs []Pair) []Conflict {
	byRepo := make(map[ref.Name][]*Pair)
	byTag := make(map[string][]*Pair)
	var repos []ref.Name
	var tags []string
	for i := range pairs {
		p := &pairs[i]
		if byRepo[p.Target.Name] == nil {
			repos = append(repos, p.Target.Name)
		}
		byRepo[p.Target.Name] = append(byRepo[p.Target.Name], p)
		key := strings.ToLower(p.Target.Name.WithTag(p.Target.Tag).String())
		if byTag[key] == nil {
			tags = append(tags, key)
		}
		byTag[key] = append(byTag[key], p)
	}
	var found []Conflict
	for _, name := range repos {
		found = append(found, meetInRepo(name, byRepo[name])...)
	}
	for _, key := range tags {
		found = append(found, meetInTag(byTag[key])...)
	}
	slices.SortFunc(found, func(a, b Conflict) int {
		return cmp.Or(slices.Compare(a.Sources, b.Sources), cmp.Compare(a.Target, b.Target))
	})
	return found
}

// meetInRepo returns the repositories that become one, every two of them once.
func meetInRepo(target ref.Name, pairs []*Pair) []Conflict {
	named := make(map[ref.Name]bool) // :: source repository → the input named the target
	for _, p := range pairs {
		before, known := named[p.Name().Name]
		named[p.Name().Name] = p.named && (before || !known)
	}
	var sources []ref.Name
	for n := range named {
		sources = append(sources, n)
	}
	slices.SortFunc(sources, func(a, b ref.Name) int { return cmp.Compare(a.String(), b.String()) })
	var found []Conflict
	for i, a := range sources {
		for _, b := range sources[i+1:] {
			if !named[a] || !named[b] {
				found = append(found, Conflict{
					Sources: []string{a.String(), b.String()}, Target: target.String(),
					Why: "two repositories would be one",
				})
			}
		}
	}
	return found
}

// meetInTag returns the pairs whose targets are one tag, or one but for case.
func meetInTag(pairs []*Pair) []Conflict {
	var found []Conflict
	for i, a := range pairs {
		for _, b := range pairs[i+1:] {
			if why := meet(a, b); why != "" {
				sources := []string{a.Name().String(), b.Name().String()}
				slices.Sort(sources)
				found = append(found, Conflict{Sources: sources, Target: a.Target.Name.WithTag(a.Target.Tag).String(), Why: why})
			}
		}
	}
	return found
}

// meet says why two pairs cannot have the tag that both have, "" where they
// can.
func meet(a, b *Pair) string {
	if a.Name().Name != b.Name().Name && (!a.named || !b.named) {
		if a.Target.Name == b.Target.Name {
			return "" // the repositories meet, which is said already
		}
	}
	if a.Target.Name != b.Target.Name || a.Target.Tag != b.Target.Tag {
		return "the names differ in case alone, which some registries do not tell apart"
	}
	if a.Source.Digest != "" && b.Source.Digest != "" {
		if a.Source.Digest != b.Source.Digest {
			return "one tag would stand for two digests"
		}
		return ""
	}
	if a.Name().Name != b.Name().Name || a.Name().Tag != b.Name().Tag {
		return "one tag would stand for two images"
	}
	return ""
}
