package cli

import (
	"fmt"

	"github.com/entrepot/entrepot/access"
)

// door makes what finds out who calls.
func (s *server) door() (*access.Door, error) {
	d, err := access.NewDoor(access.DoorConfig{Htpasswd: s.cfg.htpasswd, CIDR: s.cfg.cidr, Log: s.log})
	if err != nil {
		return nil, failure(fmt.Errorf("read accounts: %w", err), "")
	}
	if d.Knows() && s.cfg.policy.Anonymous == access.All {
		s.log.Warn("callers without credentials may push although there are accounts; auth.anonymous says so, or is left out on a loopback address")
	}
	return d, nil
}
