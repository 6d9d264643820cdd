package cli

import (
	"errors"
	"net/http"

	"github.com/entrepot/entrepot/internal/web"
	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/proxy"
	"github.com/entrepot/entrepot/registry"
	"github.com/entrepot/entrepot/remote"
	"github.com/entrepot/entrepot/store"
)

// An observer turns the rooms' events into metrics.
type observer struct {
	metrics   *web.Metrics
	allowance *allowance
	access    *accessLog // nil for none
}

func (o observer) registry(e registry.Event) {
	if o.access != nil {
		o.access.write(&e)
	}
	result := string(e.Result)
	if result == "" && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) {
		result = "denied"
	}
	o.metrics.Request(web.Request{Op: e.Op, Upstream: e.Name.Host, Result: result, Code: e.Status, Bytes: e.Sent, First: e.First})
}

func (o observer) remote(e remote.Event) {
	o.metrics.UpstreamRequest(web.UpstreamRequest{Upstream: labelOwner(e.Endpoint), Kind: string(e.Kind), Code: e.Code, Bytes: e.Bytes})
	if owner := labelOwner(e.Endpoint); e.Remaining >= 0 && owner == e.Endpoint { // what a mirror of it allows is another matter
		o.metrics.Remaining(owner, o.allowance.note(owner, e.Account, e.Remaining, e.Limit))
	}
}

func (o observer) mirror(e mirror.Event) {
	if e.Kind == mirror.Resume {
		o.metrics.Resume(e.Ref.Host)
	}
}

func (o observer) proxy(e proxy.Event) {
	switch e.Kind {
	case proxy.EventMismatch:
		o.metrics.Mismatch(e.Upstream)
	case proxy.EventEntry:
		o.metrics.Proof(e.Upstream, proofResult(e))
	case proxy.EventPart:
		o.metrics.Part(e.Upstream)
	case proxy.EventWarm:
		result := "same"
		switch {
		case e.Scarce:
			result = "spared"
		case e.Err != nil:
			result = "failed"
		case e.Result == oci.Miss:
			result = "fetched"
		}
		o.metrics.Prefetch(e.Upstream, result)
	case proxy.EventFill:
		result := "done"
		switch {
		case errors.Is(e.Err, oci.ErrMismatch):
			result = "mismatch"
		case e.Err != nil:
			result = "failed"
		}
		o.metrics.Fill(web.Fill{Upstream: e.Upstream, Result: result, Duration: e.Duration})
	}
}

// proofResult says how a caller of an upstream that he logs in to himself fared.
func proofResult(e proxy.Event) string {
	switch {
	case e.Err == nil && e.Result == oci.Hit:
		return "known"
	case e.Err == nil && e.Result == "": // the upstream cannot be asked
		return "older"
	case e.Err == nil:
		return "asked"
	}
	return "refused"
}

func (o observer) store(e store.Event) {
	switch e.Kind {
	case store.EventEvicted:
		o.metrics.Evicted(e.Bytes, e.Age)
	case store.EventDamaged:
		o.metrics.Damaged(e.Pool)
	case store.EventAbandoned:
		o.metrics.Abandoned(e.Bytes)
	case store.EventScrubbed:
		o.metrics.Scrubbed(e.Pool, e.Bytes)
	}
}
