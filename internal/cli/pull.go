package cli

import (
	"context"
	"log/slog"

	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/proxy"
	"github.com/entrepot/entrepot/remote"
	"github.com/entrepot/entrepot/store"
)

// A pull is the far half of the server: what fetches from upstreams.
type pull struct {
	client *remote.Client
	places *places
	mirror *mirror.Mirror
	proxy  *proxy.Proxy
}

// newPull puts it together, from the far side to the near one. Nothing is
// asked of any upstream.
func newPull(cfg config, cache *store.Cache, o observer, instance string, log *slog.Logger) (*pull, error) {
	client := remote.NewClient(remote.ClientConfig{
		Log: log, UserAgent: "entrepot/" + readVersion().Version, InstanceID: instance, Observe: o.remote,
	})
	places, err := newPlaces(client, cfg.upstreams)
	if err != nil {
		return nil, err
	}
	g, err := newGuide(client, cfg.steering)
	if err != nil {
		return nil, err
	}
	places.steer(g)
	up := mirror.New(mirror.Config{Plan: places.plan, Log: log, Observe: o.mirror})
	return &pull{
		client: client, places: places, mirror: up,
		proxy: proxy.New(up, cache, proxy.Config{Policy: newPolicies(cfg.upstreams, places.who).of, Log: log, Observe: o.proxy, Scarce: o.allowance.scarce}),
	}, nil
}

// steer lets mirror rules lead to upstreams from now on. Where it fails those
// from before stay.
func (p *pull) steer(s steering) error {
	g, err := newGuide(p.client, s)
	if err != nil {
		return err
	}
	p.places.steer(g)
	p.mirror.Forget()
	p.proxy.Forget()
	return nil
}

// close waits for downloads until ctx ends, then cuts them; they keep what
// they have.
func (p *pull) close(ctx context.Context) error {
	err := p.proxy.Close(ctx)
	p.client.Close() // never fails
	return err
}
