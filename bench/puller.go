package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// pulled is what a number of pulls at once took.
type pulled struct {
	wall     time.Duration
	manifest time.Duration // until the first client had its first manifest
}

// pullMany pulls the image by that many clients at once.
func pullMany(ctx context.Context, addr string, clients int, verify bool) (pulled, error) {
	g, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	first := make([]time.Duration, clients)
	for i := range clients {
		g.Go(func() error {
			err := pull(ctx, addr, verify, func() { first[i] = time.Since(began) })
			if err != nil {
				return fmt.Errorf("client %d: %w", i, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return pulled{}, err
	}
	p := pulled{wall: time.Since(began), manifest: first[0]}
	for _, d := range first {
		p.manifest = min(p.manifest, d)
	}
	return p, nil
}

// pull does what a container engine does: the manifest by its tag, the
// platform's manifest by its digest, then config and layers, three at a time.
// It checks lengths, and with verify the digests of the blobs too.
func pull(ctx context.Context, addr string, verify bool, gotManifest func()) error {
	c, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer func() { c.close() }()
	raw, err := c.getManifest(imageRepo, tag)
	if err != nil {
		return err
	}
	gotManifest()
	var index, image document
	if err := json.Unmarshal(raw, &index); err != nil {
		return err
	}
	d, err := index.forPlatform("amd64")
	if err != nil {
		return err
	}
	if raw, err = c.getManifest(imageRepo, d.Digest); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &image); err != nil {
		return err
	}
	return pullBlobs(ctx, addr, c, append([]descriptor{*image.Config}, image.Layers...), verify)
}

// pullBlobs reads the blobs over three connections, one of which is there.
func pullBlobs(ctx context.Context, addr string, have *conn, blobs []descriptor, verify bool) error {
	const parallel = 3
	todo := make(chan descriptor, len(blobs))
	for _, d := range blobs {
		todo <- d
	}
	close(todo)
	g, ctx := errgroup.WithContext(ctx)
	for i := range parallel {
		g.Go(func() error {
			c := have
			if i > 0 {
				var err error
				if c, err = dial(ctx, addr); err != nil {
					return err
				}
				defer c.close()
			}
			stop := context.AfterFunc(ctx, func() { c.close() })
			defer stop()
			for d := range todo {
				if err := c.getBlob(imageRepo, d, new(atomic.Int64), verify); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (d document) forPlatform(arch string) (descriptor, error) {
	for _, m := range d.Manifests {
		if m.Platform != nil && m.Platform.Architecture == arch {
			return m, nil
		}
	}
	return descriptor{}, fmt.Errorf("the index has no %s", arch)
}
