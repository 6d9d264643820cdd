package regtest

import "sync"

// A Match says which requests a rule is for. The zero value matches every
// request. With Method HEAD and a status it makes the registries whose HEAD is
// refused while GET works (public.ecr.aws, Harbor; C9); with Kind Token those
// whose token server is the one that is busy.
type Match struct {
	Kind   Kind             // "" matches every kind
	Method string           // "" matches every method
	Repo   string           // "" matches every repository
	Ref    string           // tag or digest; "" matches every one
	If     func(Entry) bool // a further condition; nil means none
	After  int              // lets so many that match through first
	Times  int              // then counts for so many; 0 means for all that follow
}

func (m Match) matches(e Entry) bool {
	return (m.Kind == "" || m.Kind == e.Kind) &&
		(m.Method == "" || m.Method == e.Method) &&
		(m.Repo == "" || m.Repo == e.Repo) &&
		(m.Ref == "" || m.Ref == e.Ref) &&
		(m.If == nil || m.If(e))
}

// A Rule is a fault in place. Its methods are safe for concurrent use.
type Rule struct {
	match    Match
	seen     int // requests that matched; guarded by the mutex of the rules
	removed  bool
	reach    sync.Once
	reached  chan struct{}
	let      sync.Once
	released chan struct{}
	remove   func()
}

// Reached returns a channel that is closed when the first request is held,
// cut, reset or stalled by the rule.
func (r *Rule) Reached() <-chan struct{} { return r.reached }

// Release lets what the rule holds or has stalled go on, now and later.
func (r *Rule) Release() { r.let.Do(func() { close(r.released) }) }

// Remove ends the rule. What it holds stays held until Release.
func (r *Rule) Remove() { r.remove() }

func (r *Rule) arrive() { r.reach.Do(func() { close(r.reached) }) }

// rules are matches with what is to be done, in order.
type rules[F any] struct {
	mu  sync.Mutex // guards all, and the state of each rule
	all []entryRule[F]
}

type entryRule[F any] struct {
	*Rule
	fault F
}

func (s *rules[F]) add(m Match, f F) *Rule {
	r := &Rule{match: m, reached: make(chan struct{}), released: make(chan struct{})}
	r.remove = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		r.removed = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, entryRule[F]{r, f})
	return r
}

// pick returns the fault for a request and its rule, nil where there is none.
func (s *rules[F]) pick(e Entry) (f F, r *Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, er := range s.all {
		if er.removed || !er.match.matches(e) {
			continue
		}
		er.seen++
		n := er.seen - er.match.After
		if n < 1 || er.match.Times > 0 && n > er.match.Times {
			continue
		}
		return er.fault, er.Rule
	}
	return f, nil
}

func (s *rules[F]) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, er := range s.all {
		er.removed = true
		er.Release()
	}
	s.all = nil
}
