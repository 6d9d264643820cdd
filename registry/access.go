package registry

import "fmt"

// A Level is how much a caller may do; each includes those before it.
type Level int

// The levels.
const (
	None Level = iota // nothing: every request is answered with 401
	Pull              // read and list
	Push              // push and delete in hosted repositories
)

// ParseLevel reads "none", "pull" or "push".
func ParseLevel(s string) (Level, error) {
	for l := None; l <= Push; l++ {
		if l.String() == s {
			return l, nil
		}
	}
	return None, fmt.Errorf("level %q is none of none, pull, push", s)
}

// String returns "none", "pull" or "push".
func (l Level) String() string {
	switch l {
	case Pull:
		return "pull"
	case Push:
		return "push"
	}
	return "none"
}

// Access says what callers may do.
type Access struct {
	// Anonymous is what a caller without credentials may do. With Pull, a
	// push is refused with 403 DENIED; with None everything is refused with
	// 401 and a challenge, /v2/ too, because that is how clients find out
	// that they have to log in (spec/serve.md E2, E5).
	Anonymous Level
}

// allows is the one place where rights are decided.
func (a Access) allows(want Level) bool { return a.Anonymous >= want }

// A verb is what a request wants to do to a repository.
type verb uint8

const (
	pull   verb = iota
	push        // an upload's requests too, whatever their method
	remove      // manifests, tags and blobs
)

// level is what a caller needs for the verb.
func (v verb) level() Level {
	if v == pull {
		return Pull
	}
	return Push
}
