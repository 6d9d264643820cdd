package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// nginxCache is nginx as a cache, where nginx is a server of files.
const nginxCache = "nginx proxy_cache"

// followerCases are many clients on one blob that the proxy does not have yet.
func followerCases() []testCase {
	var all []testCase
	for _, clients := range []int{1, 16, 100} {
		peer := direct
		if clients == 1 {
			peer = distribution // there is nothing to share, but a blob to hash and to store
		}
		all = append(all, testCase{
			name:    fmt.Sprintf("followers/c%d", clients),
			what:    fmt.Sprintf("A cold blob of 100 MiB over loopback, %d clients at once.", clients),
			servers: []string{direct, entrepot, nginxCache, distribution},
			once:    []string{distribution},
			metrics: []metric{
				{key: "wall", head: "cold s", format: "%.3f"},
				{key: "GETs", head: "upstream GETs", format: "%.0f", worst: true},
				{key: "MB", head: "upstream MB", format: "%.1f", worst: true},
				{key: "cpu", head: "proxy CPU s", format: "%.2f"},
				peakMetric,
			},
			targets: []target{
				{key: "wall", peer: peer, bound: 1},
				{key: "GETs", bound: 1},
				{key: "MB", bound: 104.9},
				peakTarget,
			},
			measure: func(ctx context.Context, b *bench, server string, round int) (sample, error) {
				return b.measureFollowers(ctx, server, clients, round == 0)
			},
		})
	}
	return all
}

// measureFollowers lets the clients read one blob through a fresh proxy, and
// looks at what that cost the origin. With verify one more reads it through its
// hash.
func (b *bench) measureFollowers(ctx context.Context, server string, clients int, verify bool) (s sample, err error) {
	p := proxy{process: b.origin}
	if server != direct {
		if p, err = b.startProxy(ctx, server, b.origin.addr); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.stop(), os.RemoveAll(p.dir)) }()
	}
	before, err := b.originUsage()
	if err != nil {
		return nil, err
	}
	wall, err := followBlob(ctx, p.process, b.content.hundred, clients)
	if err != nil {
		return nil, err
	}
	after, err := b.originUsage()
	if err != nil {
		return nil, err
	}
	s = sample{"wall": wall.Seconds(), "GETs": after.blobs - before.blobs, "MB": (after.bytes - before.bytes) / 1e6}
	if server == direct {
		return s, nil
	}
	var err1, err2 error
	s["cpu"], err1 = p.cpu()
	s["peak"], err2 = p.peak()
	if verify {
		err = b.warmBlob(ctx, p.dir, p.process, b.content.hundred)
	}
	return s, errors.Join(err1, err2, err)
}

// followBlob lets clients read a blob at the same time, and returns how long
// the last one took.
func followBlob(ctx context.Context, p *process, d descriptor, clients int) (time.Duration, error) {
	conns, err := dialMany(ctx, p.dial, clients)
	if err != nil {
		return 0, err
	}
	defer closeAll(conns)
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { closeAll(conns) }) // one that fails ends the others
	defer stop()
	began := time.Now()
	for _, c := range conns {
		g.Go(func() error { return c.getBlob(blobRepo, d, new(atomic.Int64), false) })
	}
	err = g.Wait()
	return time.Since(began), err
}
