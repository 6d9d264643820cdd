package cli

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/remote"
)

// credentialPoll is how often the files of accounts are looked at.
const credentialPoll = 2 * time.Second

// A ledger knows the files that the accounts of upstreams come from, and how
// they were when it last looked.
type ledger struct {
	files map[string][]string // :: file → the upstreams that use it

	mu   sync.Mutex             // guards seen
	seen map[string]os.FileInfo // :: file → what it was; nil where it was not there
}

// same reports whether a file is as it was; nil is one that is not there.
func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func newLedger(ups []upstream) *ledger {
	l := &ledger{files: map[string][]string{}, seen: map[string]os.FileInfo{}}
	for _, u := range ups {
		accounts := append([]account{u.account}, u.turns...)
		for _, p := range u.parts {
			accounts = append(append(accounts, p.account), p.turns...)
		}
		for _, a := range accounts {
			if file := a.passwordFile + a.dockerConfig; file != "" && !slices.Contains(l.files[file], u.name) {
				l.files[file] = append(l.files[file], u.name)
			}
		}
	}
	l.changed()
	return l
}

// changed returns the upstreams of which a file is another one than at the last
// call.
func (l *ledger) changed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := map[string]bool{}
	for file, ups := range l.files {
		now, err := os.Stat(file)
		if err != nil {
			now = nil // it may come back
		}
		if same(now, l.seen[file]) {
			continue
		}
		l.seen[file] = now
		for _, name := range ups {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// followCredentials looks at the files of accounts until ctx ends.
func (s *server) followCredentials(ctx context.Context) {
	if len(s.ledger.files) == 0 {
		return
	}
	t := time.NewTicker(credentialPoll)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.refreshCredentials()
		}
	}
}

// refreshCredentials looks at the files of accounts now. What an upstream has
// refused another account, it may give to this one.
func (s *server) refreshCredentials() {
	for _, name := range s.ledger.changed() {
		s.pull.renew(name)
		s.log.Info("credentials reloaded", "upstream", name)
	}
}

// renew forgets what an upstream granted to the accounts that it had, and what it
// refused them.
func (p *pull) renew(name string) {
	match := func(host string) bool { return host == name }
	if suffix, ok := strings.CutPrefix(name, "*"); ok {
		match = func(host string) bool { return strings.HasSuffix(host, suffix) }
	}
	p.places.renew(match)
	p.mirror.Forget()
	p.proxy.ForgetRefusals(match)
}

// renew forgets the tokens and the pauses of upstreams.
func (p *places) renew(match func(upstream string) bool) {
	p.mu.Lock()
	all := slices.AppendSeq(slices.Collect(maps.Values(p.fixed)), maps.Values(p.seen))
	p.mu.Unlock()
	for _, e := range all {
		if !match(e.name) {
			continue
		}
		for _, h := range e.homes {
			for _, at := range h.places {
				renew(at)
			}
		}
	}
	if g := p.guide.Load(); g != nil {
		g.renew(match)
	}
}

func (g *guide) renew(match func(upstream string) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for k, r := range g.readers {
		if match(k.upstream) {
			renew(mirror.Place{Reader: r})
		}
	}
}

// renew forgets what a place has granted and refused.
func renew(at mirror.Place) {
	switch r := at.Reader.(type) {
	case *remote.Endpoint:
		r.Forget()
	case *eitherWay:
		r.secure.Forget()
	}
}
