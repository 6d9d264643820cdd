package ref

import (
	"fmt"
	"strings"
)

// A Pattern matches repository paths, segment by segment: "*" stands for any
// one segment or a part of one, "**" for one or more whole segments.
//
//	**        every name
//	apps/**   everything below apps, not apps itself
//	apps/*    the names directly below apps
//	apps/web  that name
//
// The zero Pattern matches nothing.
type Pattern []string

// ParsePattern reads a pattern. It is an error where no repository could ever
// match. Its first segment may be a registry with a port, for names that are
// written with their registry.
func ParsePattern(s string) (Pattern, error) {
	p := Pattern(strings.Split(s, "/"))
	for i, segment := range p {
		if segment == "**" || i == 0 && len(p) > 1 && strings.Contains(segment, ":") && ValidHost(segment) {
			continue
		}
		if !ValidPath(strings.ReplaceAll(segment, "*", "x")) {
			return nil, fmt.Errorf("pattern %q: %q can match no segment of a repository's name", s, segment)
		}
	}
	return p, nil
}

// Match reports whether the pattern matches the whole path.
func (p Pattern) Match(path string) bool {
	for i, segment := range p {
		head, rest, more := strings.Cut(path, "/")
		if segment == "**" {
			if i == len(p)-1 {
				return true
			}
			for more {
				if p[i+1:].Match(rest) {
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
