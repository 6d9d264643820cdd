package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// blobCases is the warm serving of large blobs.
func blobCases(o options) []testCase {
	bigName := "2GiB"
	if o.quick {
		bigName = "256MiB"
	}
	var all []testCase
	for _, size := range []string{"100MB", bigName} {
		for _, clients := range []int{1, 8, 32} {
			least := 1.0
			if clients == 1 {
				least = 0.95
			}
			all = append(all, testCase{
				name:    fmt.Sprintf("blob/%s/c%d", size, clients),
				what:    fmt.Sprintf("Warm blob of %s, %d connections; the client drops the bytes in the kernel.", size, clients),
				servers: []string{entrepot, nginx, distribution},
				metrics: []metric{
					{key: "GB/s", head: "GB/s", format: "%.2f"},
					{key: "cpu", head: "server CPU-s/GB", format: "%.3f"},
					{key: "client", head: "client CPU-s/GB", format: "%.3f"},
					peakMetric,
				},
				targets: []target{
					{key: "GB/s", peer: nginx, atLeast: true, bound: least},
					{key: "cpu", peer: nginx, bound: 1.1},
					peakTarget,
				},
				measure: func(ctx context.Context, b *bench, server string, _ int) (sample, error) {
					d := b.content.hundred
					if size == bigName {
						d = b.content.big
					}
					return b.measureBlob(ctx, server, d, clients)
				},
			})
		}
	}
	return all
}

// The resident memory is looked at in every case.
var (
	peakMetric = metric{key: "peak", head: "peak RSS MiB", format: "%.0f", worst: true}
	peakTarget = target{key: "peak", bound: 64}
)

// measureBlob lets the clients read the blob again and again for a window of
// time, and relates bytes and processor time of that window.
func (b *bench) measureBlob(ctx context.Context, server string, d descriptor, clients int) (sample, error) {
	p, err := b.server(ctx, server)
	if err != nil {
		return nil, err
	}
	if err := b.warmBlob(ctx, server, p, d); err != nil {
		return nil, err
	}
	conns, err := dialMany(ctx, p.dial, clients)
	if err != nil {
		return nil, err
	}
	cpu, err := p.cpu()
	if err != nil {
		return nil, err
	}
	own := ownCPU()
	bytes, took, err := readFor(conns, d, b.options.window)
	if err != nil {
		return nil, err
	}
	own = ownCPU() - own
	after, err := p.cpu()
	if err != nil {
		return nil, err
	}
	peak, err := p.peak()
	gb := float64(bytes) / 1e9
	return sample{"GB/s": gb / took.Seconds(), "cpu": (after - cpu) / gb, "client": own / gb, "peak": peak}, err
}

// warmBlob reads a blob once, through its hash: it is in the page cache then,
// and it is the right one.
func (b *bench) warmBlob(ctx context.Context, server string, p *process, d descriptor) error {
	key := server + d.Digest
	if b.seen[key] {
		return nil
	}
	c, err := p.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.getBlob(blobRepo, d, new(atomic.Int64), true); err != nil {
		return err
	}
	b.seen[key] = true
	return nil
}

func dialMany(ctx context.Context, dial func(context.Context) (*conn, error), n int) ([]*conn, error) {
	conns := make([]*conn, 0, n)
	for range n {
		c, err := dial(ctx)
		if err != nil {
			closeAll(conns)
			return nil, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.close()
	}
}

// readFor reads the blob over and over on each connection, and returns how many
// bytes came in the window, and how long it really was. At its end it cuts the
// connections.
func readFor(conns []*conn, d descriptor, window time.Duration) (int64, time.Duration, error) {
	var count atomic.Int64
	var over atomic.Bool
	var g errgroup.Group
	began := time.Now()
	for _, c := range conns {
		g.Go(func() error {
			for !over.Load() {
				if err := c.getBlob(blobRepo, d, &count, false); err != nil && !over.Load() {
					return err
				}
			}
			return nil
		})
	}
	time.Sleep(window)
	bytes, took := count.Load(), time.Since(began)
	over.Store(true)
	closeAll(conns)
	return bytes, took, g.Wait()
}
