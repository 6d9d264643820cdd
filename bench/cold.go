package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"
)

// A coldRun is a pull of an image that the proxy does not have yet.
type coldRun struct {
	clients int
	wan     bool // a link of 50 ms and 400 Mbit/s in front of the origin
}

const (
	wanRTT  = 50 * time.Millisecond
	wanRate = 400e6 / 8 // bytes per second
)

// coldCases is the pull-through of a fresh image, and the memory it all takes.
func coldCases() []testCase {
	servers := []string{direct, entrepot, distribution}
	loopback, wan := "143 MB image over loopback", "143 MB image over a link of 50 ms and 400 Mbit/s"
	return []testCase{
		{
			name: "cold/c1", what: "Cold pull of a " + loopback + ", 1 client.",
			servers: servers, metrics: coldMetrics,
			targets: []target{{key: "wall", peer: direct, bound: 1.5}, imageOnce, peakTarget},
			measure: coldRun{clients: 1}.measure,
		},
		{
			name: "cold/c16", what: "Cold pull of a " + loopback + ", 16 clients at once.",
			servers: servers, metrics: coldMetrics,
			targets: []target{{key: "wall", peer: direct, bound: 1}, imageOnce, peakTarget},
			measure: coldRun{clients: 16}.measure,
		},
		{
			name: "wan/c1", what: "Cold pull of a " + wan + ", 1 client.",
			servers: servers, metrics: coldMetrics,
			targets: []target{{key: "wall", peer: direct, bound: 1}, imageOnce, peakTarget},
			measure: coldRun{clients: 1, wan: true}.measure,
		},
		{
			name: "wan/c16", what: "Cold pull of a " + wan + ", 16 clients at once.",
			servers: servers, once: []string{direct, distribution}, metrics: coldMetrics,
			targets: []target{{key: "wall", peer: direct, in: "wan/c1", bound: 1.1}, imageOnce, peakTarget},
			measure: coldRun{clients: 16, wan: true}.measure,
		},
		memoryCase(),
	}
}

// memoryCase is what a server needs for many clients at once.
func memoryCase() testCase {
	return testCase{
		name: "memory/c32", what: "Peak memory of a fresh server: 32 clients pull the cold image, then a cold 100 MB blob, then read it warm.",
		servers: []string{entrepot, distribution}, metrics: []metric{peakMetric},
		targets: []target{peakTarget},
		measure: measureMemory,
	}
}

var coldMetrics = []metric{
	{key: "wall", head: "cold s", format: "%.3f"},
	{key: "first", head: "first manifest s", format: "%.3f"},
	{key: "requests", head: "upstream requests", format: "%.0f", worst: true},
	{key: "MB", head: "upstream MB", format: "%.0f", worst: true},
	{key: "cpu", head: "proxy CPU s", format: "%.2f"},
	{key: "warm", head: "then warm s", format: "%.3f"},
	{key: "warm requests", head: "warm upstream requests", format: "%.0f", worst: true},
	peakMetric,
}

// imageOnce: no byte of the image is fetched twice, and no other platform.
var imageOnce = target{key: "MB", bound: 144}

// measure pulls through a proxy that has nothing yet.
func (r coldRun) measure(ctx context.Context, b *bench, server string, round int) (s sample, err error) {
	upstream := b.origin.addr
	if r.wan {
		link, err := newRelay(upstream, wanRTT, wanRate)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, link.close()) }()
		upstream = link.addr
	}
	if server == direct {
		return r.pull(ctx, b, upstream, nil, false)
	}
	p, err := b.startProxy(ctx, server, upstream)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop(), os.RemoveAll(p.dir)) }()
	return r.pull(ctx, b, p.addr, p.process, round == 0)
}

// pull is the measurement itself: cold, then warm, then (on demand, not
// measured) once more through the hashes. A nil proxy means no proxy.
func (r coldRun) pull(ctx context.Context, b *bench, addr string, proxy *process, verify bool) (sample, error) {
	before, err := b.originUsage()
	if err != nil {
		return nil, err
	}
	p, err := pullMany(ctx, addr, r.clients, false)
	if err != nil {
		return nil, err
	}
	after, err := b.originUsage()
	if err != nil {
		return nil, err
	}
	s := sample{
		"wall": p.wall.Seconds(), "first": p.manifest.Seconds(),
		"requests": after.requests - before.requests, "MB": (after.bytes - before.bytes) / 1e6,
	}
	if proxy == nil {
		return s, nil
	}
	if s["cpu"], err = proxy.cpu(); err != nil {
		return nil, err
	}
	warm, err := pullMany(ctx, addr, r.clients, false)
	if err != nil {
		return nil, fmt.Errorf("warm: %w", err)
	}
	end, err := b.originUsage()
	if err != nil {
		return nil, err
	}
	s["warm"], s["warm requests"] = warm.wall.Seconds(), end.requests-after.requests
	if s["peak"], err = proxy.peak(); err != nil {
		return nil, err
	}
	if verify {
		if _, err := pullMany(ctx, addr, 1, true); err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
	}
	return s, nil
}

// measureMemory lets 32 clients do everything to one fresh server.
func measureMemory(ctx context.Context, b *bench, server string, _ int) (s sample, err error) {
	const clients = 32
	p, err := b.startProxy(ctx, server, b.origin.addr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop(), os.RemoveAll(p.dir)) }()
	if _, err := pullMany(ctx, p.addr, clients, false); err != nil {
		return nil, err
	}
	conns, err := dialMany(ctx, p.dial, clients)
	if err != nil {
		return nil, err
	}
	if _, _, err := readFor(conns, b.content.hundred, b.options.window); err != nil {
		return nil, err
	}
	peak, err := p.peak()
	return sample{"peak": peak}, err
}

// A proxy is a pull-through cache with its content.
type proxy struct {
	*process
	dir string
}

// startProxy starts an empty pull-through cache.
func (b *bench) startProxy(ctx context.Context, server, upstream string) (proxy, error) {
	p := proxy{dir: b.newName("cache")}
	var err error
	switch server {
	case distribution:
		p.process, err = b.startDistribution(ctx, p.dir, upstream, false)
	case nginxCache:
		p.process, err = b.startNginxCache(ctx, p.dir, upstream)
	default:
		p.process, err = b.startEntrepot(ctx, server, p.dir, upstream)
	}
	return p, err
}

// usage is what the origin has been asked for.
type usage struct {
	requests, bytes float64
	blobs           float64 // GETs of blobs
}

// accessLine is a line of the origin's log in Apache's format: method, path, bytes.
var accessLine = regexp.MustCompile(`(?m)"(GET|HEAD) (/v2/[^"]+) HTTP/[\d.]+" \d+ (\d+) `)

// originUsage waits until the origin's log is quiet, and counts.
func (b *bench) originUsage() (usage, error) {
	const quiet = 100 * time.Millisecond
	for size := int64(-1); ; {
		info, err := os.Stat(b.origin.log)
		if err != nil {
			return usage{}, err
		}
		if info.Size() == size {
			break
		}
		size = info.Size()
		time.Sleep(quiet)
	}
	text, err := os.ReadFile(b.origin.log)
	if err != nil {
		return usage{}, err
	}
	var u usage
	for _, m := range accessLine.FindAllSubmatch(text, -1) {
		n, err := strconv.ParseFloat(string(m[3]), 64)
		if err != nil {
			return u, err
		}
		if string(m[1]) == "GET" && bytes.Contains(m[2], []byte("/blobs/")) {
			u.blobs++
		}
		u.requests++
		u.bytes += n
	}
	return u, nil
}
