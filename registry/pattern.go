package registry

import (
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// A pattern matches repository paths, segment by segment: "*" stands for any
// one segment or a part of one, "**" for one or more whole segments.
//
//	**        every name
//	apps/**   everything below apps, not apps itself
//	apps/*    the names directly below apps
//	apps/web  that name
type pattern []string

// parsePattern reads a pattern. It is an error where no repository could ever
// match.
func parsePattern(s string) (pattern, error) {
	p := pattern(strings.Split(s, "/"))
	for _, segment := range p {
		if segment == "**" {
			continue
		}
		if !ref.ValidPath(strings.ReplaceAll(segment, "*", "x")) {
			return nil, fmt.Errorf("pattern %q: %q can match no segment of a repository's name", s, segment)
		}
	}
	return p, nil
}

// match reports whether the pattern matches the whole path.
func (p pattern) match(path string) bool {
	for i, segment := range p {
		head, rest, more := strings.Cut(path, "/")
		if segment == "**" {
			if i == len(p)-1 {
				return true
			}
			for more {
				if p[i+1:].match(rest) {
					return true
				}
				_, rest, more = strings.Cut(rest, "/")
			}
			return false
		}
		if !matchSegment(segment, head) || more == (i == len(p)-1) {
			return false
		}
		path = rest
	}
	return true
}

// matchSegment matches one segment; '*' stands for any number of characters.
func matchSegment(glob, s string) bool {
	before, after, star := strings.Cut(glob, "*")
	if !star {
		return glob == s
	}
	s, ok := strings.CutPrefix(s, before)
	if !ok {
		return false
	}
	for i := range len(s) + 1 {
		if matchSegment(after, s[i:]) {
			return true
		}
	}
	return false
}
