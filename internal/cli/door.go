package cli

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync/atomic"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/registry"
)

// tokenKeyFile is the name, in the store's directory, of the key of tokens.
const tokenKeyFile = "token.key"

// A lodge is who lets callers in: what the registry and the server of tokens ask
// alike, and what a reload changes for both at once.
type lodge struct {
	registry *registry.Handler
	tokens   http.Handler                       // what now serves, with what the registry does for each request
	now      atomic.Pointer[access.TokenServer] // with the policy and the door
}

// open begins with a door, which finds out who calls.
func (l *lodge) open(h *registry.Handler, policy access.Policy, door *access.Door) {
	l.registry = h
	l.tokens = h.Aside("token", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.now.Load().ServeHTTP(w, r) }))
	l.admit(policy, door)
}

func (l *lodge) admit(policy access.Policy, door *access.Door) {
	l.now.Store(&access.TokenServer{Door: door, Policy: policy, Resolve: l.registry.Repository})
}

func (l *lodge) door() *access.Door { return l.now.Load().Door }

// change lets callers in by another policy and another door, for requests from
// now on.
func (l *lodge) change(policy access.Policy, door *access.Door) {
	before := l.door()
	l.registry.SetAccess(policy, door) // first: it takes tokens that the other one makes, and those from before
	l.admit(policy, door)
	before.Yield(door)
}

// ServeHTTP gives the path of tokens to their server and everything else to the
// registry, which gets the ResponseWriter as it is.
func (l *lodge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == access.TokenPath && l.door().Knows() {
		l.tokens.ServeHTTP(w, r)
		return
	}
	l.registry.ServeHTTP(w, r)
}

// openDoor makes what finds out who calls, with what the one before has found
// out, if there is one. The store's directory has to be there.
func (s *server) openDoor(c config, before *access.Door) (*access.Door, error) {
	cfg := access.DoorConfig{
		Htpasswd: c.htpasswd, Certificates: c.clientCA != "", CIDR: c.cidr, TokenKey: c.tokenKey, Issuers: c.issuers,
		ExternalURL: s.cfg.externalURL, External: s.cfg.externalHosts, Log: s.log,
	}
	var err error
	if cfg.Authorities, err = authorities(c.clientCA); err != nil {
		return nil, err
	}
	if c.loginPossible() && cfg.TokenKey == "" {
		cfg.TokenKey = filepath.Join(s.cfg.storage, tokenKeyFile)
		if err := access.MakeTokenKey(cfg.TokenKey); err != nil {
			return nil, failure(fmt.Errorf("make the key of tokens: %w", err), "")
		}
	}
	open := access.NewDoor
	if before != nil {
		open = before.With
	}
	d, err := open(cfg)
	if err != nil {
		return nil, failure(fmt.Errorf("read accounts: %w", err), "")
	}
	if d.Knows() && c.policy.Anonymous == access.All {
		s.log.Warn("callers without credentials may push although there are accounts; auth.anonymous says so, or is left out on a loopback address")
	}
	return d, nil
}

// loginPossible reports whether anybody can be more than anonymous.
func (c config) loginPossible() bool {
	return c.htpasswd != "" || c.clientCA != "" || len(c.issuers) > 0
}
