package store

import (
	"errors"
	"strings"

	"github.com/entrepot/entrepot/oci"
)

// A shortcut is a way to break the protocol, to show that it would be found.
type shortcut struct {
	kind   string
	pinned bool             // this writer has written a pin
	first  map[Key]string   // what the first listing of pins gave
	lists  int              // of pins
	then   func() error     // what was put off
	ahead  map[Key]struct{} // blobs that were looked for too soon
}

func (s *shortcut) is(kind string) bool { return s != nil && s.kind == kind }

func (s *shortcut) wrote(k Key) {
	if s != nil && strings.HasPrefix(string(k), "v/m/") {
		s.pinned = true
	}
}

// stat answers for the writers that do not look, or look in the wrong order.
func (s *shortcut) stat(p *stepProc, k Key) (Info, error, bool) {
	if s == nil || !s.pinned {
		return Info{}, nil, false
	}
	marker := strings.HasPrefix(string(k), "v/c/")
	switch s.kind {
	case "no second look by writers":
		if marker {
			return Info{}, errMiss, true
		}
		return infoOfSize(0), nil, true
	case "the blob is looked for before the mark":
		if !marker {
			_, ok := s.ahead[k]
			if !ok {
				return Info{}, errMiss, true
			}
			return infoOfSize(0), nil, true
		}
		s.ahead = map[Key]struct{}{}
		blob := Key("v/b/" + strings.TrimPrefix(string(k), "v/c/"))
		if _, err := p.stat(blob); err == nil {
			s.ahead[blob] = struct{}{}
		} else if !errors.Is(err, oci.ErrNotFound) {
			return Info{}, err, true
		}
	}
	return Info{}, nil, false
}

// later returns what was put off until now.
func (s *shortcut) later() func() error {
	if s == nil || s.then == nil {
		return nil
	}
	then := s.then
	s.then = nil
	return then
}

// listing returns the keys of an earlier listing that is served again.
func (s *shortcut) listing(prefix string, deep bool) map[Key]string {
	if !s.is("no second look by collectors") || prefix != "v/m/" || !deep {
		return nil
	}
	if s.lists++; s.lists == 1 {
		s.first = map[Key]string{}
		return nil
	}
	return s.first
}

func (s *shortcut) listed(k Key) {
	if s != nil && s.first != nil && strings.HasPrefix(string(k), "v/m/") {
		s.first[k] = ""
	}
}
