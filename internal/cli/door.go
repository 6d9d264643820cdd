package cli

import (
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/entrepot/entrepot/access"
)

// tokenKeyFile is the name, in the store's directory, of the key of tokens.
const tokenKeyFile = "token.key"

// openDoor makes what finds out who calls. The store's directory has to be there.
func (s *server) openDoor() (*access.Door, error) {
	cfg := access.DoorConfig{
		Htpasswd: s.cfg.htpasswd, Certificates: s.cfg.clientCA != "", CIDR: s.cfg.cidr, TokenKey: s.cfg.tokenKey,
		Issuers:     s.cfg.issuers,
		ExternalURL: s.cfg.externalURL, External: s.cfg.externalHosts, Log: s.log,
	}
	if s.cfg.loginPossible() && cfg.TokenKey == "" {
		cfg.TokenKey = filepath.Join(s.cfg.storage, tokenKeyFile)
		if err := access.MakeTokenKey(cfg.TokenKey); err != nil {
			return nil, failure(fmt.Errorf("make the key of tokens: %w", err), "")
		}
	}
	d, err := access.NewDoor(cfg)
	if err != nil {
		return nil, failure(fmt.Errorf("read accounts: %w", err), "")
	}
	if d.Knows() && s.cfg.policy.Anonymous == access.All {
		s.log.Warn("callers without credentials may push although there are accounts; auth.anonymous says so, or is left out on a loopback address")
	}
	return d, nil
}

// loginPossible reports whether anybody can be more than anonymous.
func (c config) loginPossible() bool {
	return c.htpasswd != "" || c.clientCA != "" || len(c.issuers) > 0
}

// withTokens gives the path of tokens to their server and everything else to the
// registry, which gets the ResponseWriter as it is.
func withTokens(registry, tokens http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == access.TokenPath {
			tokens.ServeHTTP(w, r)
			return
		}
		registry.ServeHTTP(w, r)
	})
}
