package registry

import (
	"net/http"
	"strings"

	"github.com/entrepot/entrepot/oci"
)

// visitor returns the request as the door may see it. The Authorization of a
// request for a name that belongs to an upstream which its callers log in to
// is theirs with that upstream: it goes into the request's context, and our
// own accounts are never compared with it, so that neither side's credentials
// are ever shown to the other. It is decided by whose the name is, and by
// nothing that stands in the credentials.
func (c *call) visitor() (*http.Request, error) {
	given := c.r.Header["Authorization"]
	if c.h.cfg.Passthrough == nil || given == nil || c.at.name == "" {
		return c.r, nil
	}
	to, err := c.h.table.route(c.at.name, c.ns)
	if err != nil || !to.proxied || !c.h.cfg.Passthrough(to.name.Host) {
		return c.r, nil // what is wrong with the name is told in its turn
	}
	scheme, token, _ := strings.Cut(given[0], " ")
	if strings.EqualFold(scheme, "Bearer") && (c.entry.door.Realm(c.r) != "" || c.entry.door.Issued(strings.TrimSpace(token))) {
		return c.r, nil // a token of ours, or for us
	}
	if len(given) > 1 || !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "Basic") {
		return nil, oci.Errorf(oci.ErrInvalid, oci.CodeUnauthorized, "one Authorization is needed, Basic or Bearer")
	}
	c.ctx = oci.WithLogin(c.ctx, oci.NewSecret(given[0]))
	r := new(http.Request)
	*r = *c.r
	r.Header = c.r.Header.Clone()
	r.Header.Del("Authorization")
	return r, nil
}
