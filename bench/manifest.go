package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// manifestCases is the warm serving of a manifest, by tag and by digest.
func manifestCases() []testCase {
	var all []testCase
	for _, by := range []string{"digest", "tag"} {
		all = append(all, testCase{
			name:    "manifest/" + by,
			what:    fmt.Sprintf("Warm manifest of about 1.5 kB by %s, 32 connections of wrk -t1.", by),
			needs:   "wrk",
			servers: []string{entrepot, crane, nginx, distribution},
			metrics: manifestMetrics,
			targets: []target{
				{key: "req/s", peer: crane, atLeast: true, bound: 1},
				{key: "p99", bound: 5},
				peakTarget,
			},
			measure: func(ctx context.Context, b *bench, server string, _ int) (sample, error) {
				m := b.content.repo(smallRepo).manifests[0]
				name := m.Digest
				if by == "tag" {
					name = tag
				}
				return b.measureManifest(ctx, server, m, name)
			},
		})
	}
	return all
}

var manifestMetrics = []metric{
	{key: "req/s", head: "req/s", format: "%.0f"},
	{key: "p50", head: "p50 ms", format: "%.2f"},
	{key: "p99", head: "p99 ms", format: "%.2f"},
	{key: "cpu", head: "server CPU µs/req", format: "%.1f"},
	peakMetric,
}

func (b *bench) measureManifest(ctx context.Context, server string, m manifest, name string) (sample, error) {
	p, err := b.server(ctx, server)
	if err != nil {
		return nil, err
	}
	if err := checkManifest(ctx, p, m, name); err != nil {
		return nil, err
	}
	cpu, err := p.cpu()
	if err != nil {
		return nil, err
	}
	seconds := int(max(1, b.options.window/time.Second))
	url := fmt.Sprintf("%s%s/v2/%s/manifests/%s", p.pair.scheme(), p.addr, smallRepo, name)
	out, err := exec.CommandContext(ctx, b.bin["wrk"], "-t1", "-c32", fmt.Sprintf("-d%ds", seconds), "--latency",
		"-H", "Accept: "+accept, url).Output()
	if err != nil {
		return nil, fmt.Errorf("wrk: %w", err)
	}
	after, err := p.cpu()
	if err != nil {
		return nil, err
	}
	w, err := parseWrk(string(out))
	if err != nil {
		return nil, err
	}
	peak, err := p.peak()
	return sample{
		"req/s": w.rate, "p50": w.p50, "p99": w.p99, "cpu": (after - cpu) / w.requests * 1e6, "peak": peak,
	}, err
}

// checkManifest asks once, so that the manifest is there and the right one.
func checkManifest(ctx context.Context, p *process, m manifest, name string) error {
	c, err := p.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	raw, err := c.getManifest(smallRepo, name)
	if err == nil && digestOf(raw) != m.Digest {
		err = fmt.Errorf("manifest %s: its digest is %s", name, digestOf(raw))
	}
	return err
}

// wrkResult is what wrk found. Latencies are in milliseconds.
type wrkResult struct {
	requests, rate, p50, p99 float64
}

var (
	wrkRequests = regexp.MustCompile(`(\d+) requests in `)
	wrkRate     = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkLatency  = regexp.MustCompile(`(?m)^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)\s*$`)
	wrkTrouble  = regexp.MustCompile(`(?m)^\s*(Socket errors:.*|Non-2xx.*)$`)
)

// parseWrk reads what wrk --latency printed. Any failed request is an error.
func parseWrk(out string) (wrkResult, error) {
	var w wrkResult
	if bad := wrkTrouble.FindString(out); bad != "" {
		return w, fmt.Errorf("wrk: %s", bad)
	}
	unit := map[string]float64{"us": 1e-3, "ms": 1, "s": 1e3, "m": 60e3}
	for _, m := range wrkLatency.FindAllStringSubmatch(out, -1) {
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return w, err
		}
		if m[1] == "50" {
			w.p50 = v * unit[m[3]]
		} else {
			w.p99 = v * unit[m[3]]
		}
	}
	requests, rate := wrkRequests.FindStringSubmatch(out), wrkRate.FindStringSubmatch(out)
	if requests == nil || rate == nil || w.p99 == 0 {
		return w, fmt.Errorf("wrk printed something else:\n%s", out)
	}
	var err1, err2 error
	w.requests, err1 = strconv.ParseFloat(requests[1], 64)
	w.rate, err2 = strconv.ParseFloat(rate[1], 64)
	return w, errors.Join(err1, err2)
}
