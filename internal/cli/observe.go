package cli

import (
	"github.com/entrepot/entrepot/internal/web"
	"github.com/entrepot/entrepot/registry"
)

// An observer turns the rooms' events into metrics.
type observer struct{ metrics *web.Metrics }

func (o observer) registry(e registry.Event) {
	o.metrics.Request(web.Request{Op: e.Op, Upstream: e.Name.Host, Result: string(e.Result), Code: e.Status, Bytes: e.Sent})
}
