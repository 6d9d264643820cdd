package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// warehouseCases are what a store of very many blobs costs.
func warehouseCases() []testCase {
	return []testCase{
		{
			name:    "start/million",
			what:    "Start of a server whose store has a million blobs (-quick: 40,000), until /readyz says 200: half of them cached, half of pushed images. No peer is here that looks at its content when it starts.",
			servers: []string{entrepot},
			metrics: []metric{
				{key: "ready", head: "ready s", format: "%.3f", worst: true},
				{key: "counted", head: "then counted, s", format: "%.2f"},
				{key: "cpu", head: "CPU s of that", format: "%.2f"},
				peakMetric,
			},
			targets: []target{{key: "ready", bound: 1}},
			measure: func(ctx context.Context, b *bench, server string, _ int) (sample, error) {
				return b.measureStart(ctx, server)
			},
		},
		{
			name:    "evict/walk",
			what:    "What an eviction of a cache of 500,000 blobs (-quick: 20,000) looks at: one walk where nothing has to leave, two where a tenth has to (a dry run).",
			servers: []string{entrepot},
			metrics: []metric{
				{key: "wall", head: "one walk s", format: "%.2f"},
				{key: "cpu", head: "CPU s", format: "%.2f"},
				{key: "each", head: "CPU µs/blob", format: "%.2f"},
				{key: "two", head: "two walks s", format: "%.2f"},
				{key: "cpu2", head: "CPU s", format: "%.2f"},
				{key: "read", head: "MB read from the disk", format: "%.0f"},
				peakMetric,
			},
			targets: []target{{key: "wall", bound: 5}, peakTarget},
			measure: func(ctx context.Context, b *bench, server string, _ int) (sample, error) {
				return b.measureWalk(ctx, server)
			},
		},
	}
}

// measureStart starts a server on the warehouse.
func (b *bench) measureStart(ctx context.Context, server string) (s sample, err error) {
	w, err := b.warehouse(ctx)
	if err != nil {
		return nil, err
	}
	p, err := b.startEntrepotWith(ctx, server, w.dir, b.origin.addr, serving{storage: neverScrub})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	began := time.Now()
	if err := p.waitMetric(ctx, "entrepot_store_blobs", float64(int(w.cached.Load())+w.blobs)); err != nil {
		return nil, err
	}
	s = sample{"ready": p.ready.Seconds(), "counted": time.Since(began).Seconds()}
	if s["cpu"], err = p.cpu(); err != nil {
		return nil, err
	}
	s["peak"], err = p.peak()
	return s, err
}

// neverScrub keeps the store from finding out that its blobs are holes.
const neverScrub = "scrub = \"0\"\ngc_interval = \"0\"\nmin_free = \"0\"\n"

// waitMetric waits until a metric of a server is at least that much.
func (p *process) waitMetric(ctx context.Context, name string, want float64) error {
	for {
		got, err := p.metric(name)
		if err != nil || got >= want {
			return err
		}
		if !sleepUntil(ctx, time.Now().Add(10*time.Millisecond)) {
			return ctx.Err()
		}
	}
}

// measureWalk runs evictions.
func (b *bench) measureWalk(ctx context.Context, server string) (sample, error) {
	w, err := b.warehouse(ctx)
	if err != nil {
		return nil, err
	}
	n := w.cached.Load()
	one, left, err := b.evict(ctx, server, w, n*hole*2)
	if err != nil {
		return nil, err
	}
	if left != n {
		return nil, fmt.Errorf("it saw %d blobs, want %d", left, n)
	}
	two, left, err := b.evict(ctx, server, w, n*hole*10/9-hole*10)
	if err != nil {
		return nil, err
	}
	if left > n*91/100 {
		return nil, fmt.Errorf("%d of %d blobs would stay, want nine tenths", left, n)
	}
	return sample{
		"wall": one.wall.Seconds(), "cpu": one.cpu.Seconds(), "each": one.cpu.Seconds() / float64(n) * 1e6,
		"two": two.wall.Seconds(), "cpu2": two.cpu.Seconds(), "read": one.read / 1e6, "peak": max(one.peak, two.peak),
	}, nil
}

// evict makes a dry run with a limit, and returns how many blobs would stay.
func (b *bench) evict(ctx context.Context, server string, w *warehouse, limit int64) (cost, int64, error) {
	cmd := exec.CommandContext(ctx, b.bin[server], "store", "evict", "--storage", w.dir,
		"--max-bytes", strconv.FormatInt(limit, 10), "--min-free", "0", "--dry-run", "--json")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	used, err := measureCommand(cmd)
	if err != nil {
		return used, 0, fmt.Errorf("%w\n%s", err, tail(said.Bytes()))
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var sum struct {
		Left struct {
			Blobs int64 `json:"blobs"`
		} `json:"left"`
	}
	return used, sum.Left.Blobs, json.Unmarshal([]byte(lines[len(lines)-1]), &sum)
}

// A cost is what a command used.
type cost struct {
	wall, cpu time.Duration
	peak      float64 // resident memory, MiB
	read      float64 // bytes that came from the disk itself
}

// measureCommand runs a command to its end.
func measureCommand(cmd *exec.Cmd) (cost, error) {
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return cost{}, err
	}
	stop, peak := make(chan struct{}), make(chan float64)
	go watchPeak(&process{cmd: cmd}, stop, peak)
	err := cmd.Wait()
	close(stop)
	c := cost{wall: time.Since(began), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peak: <-peak}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.read = float64(u.Inblock) * 512 // getrusage(2) counts in these
	}
	return c, err
}
