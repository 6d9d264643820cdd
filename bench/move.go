package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The tools that move images from one registry to another, as tables name
// them. Those with a number are told to do so much at once.
const (
	skopeoSync = "skopeo sync"
	craneCopy  = "crane copy"
	craneTuned = "crane copy (8×16)"
	regsync4   = "regsync (4)"
	regsync16  = "regsync (16)"
	regctlCopy = "regctl image copy"
)

// A moveRun is images that are moved to an empty registry, and then moved
// again: both are distribution's, with the log from which requests are counted.
type moveRun struct {
	set func(quick bool) imageSet
	wan bool // each registry behind a link of 20 ms and 1 Gbit/s
}

const (
	moveRTT  = 20 * time.Millisecond
	moveRate = 1e9 / 8 // bytes per second
)

var moveMetrics = []metric{
	{key: "wall", head: "s", format: "%.2f"},
	{key: "cpu", head: "CPU s", format: "%.2f"},
	{key: "rss", head: "RSS MiB", format: "%.0f", worst: true},
	{key: "src", head: "source requests", format: "%.0f"},
	{key: "dst", head: "target requests", format: "%.0f"},
	{key: "mb", head: "source MB", format: "%.0f"},
	{key: "again", head: "again s", format: "%.2f"},
	{key: "again src", head: "again source requests", format: "%.0f"},
	{key: "again dst", head: "again target requests", format: "%.0f"},
}

// moveCases is the relocation of sets of images.
func moveCases() []testCase {
	rss := target{key: "rss", bound: 64}
	link := ", each registry behind a link of 20 ms and 1 Gbit/s"
	const shared, small, big = "12 images with shared layers", "500 small images with shared layers", "one image with a layer of 2 GiB"
	all := []string{entrepot, skopeoSync, craneCopy, regsync4, regctlCopy}
	untuned := []string{entrepot, craneCopy, craneTuned, regsync4, regsync16}
	return []testCase{
		moveCase("move/shared", shared, all, moveRun{set: sharedSet},
			append(below("wall", 0.75, all[1:]), append(below("again", 1, all[3:4]), rss)...)),
		moveCase("move/shared-wan", shared+link, all, moveRun{sharedSet, true},
			[]target{{key: "wall", bound: 17}, {key: "again", peer: regsync4, bound: 1}, rss}),
		moveCase("move/small", small, []string{entrepot, skopeoSync, craneCopy, regsync4}, moveRun{set: smallSet},
			append(below("wall", 0.6, []string{skopeoSync, craneCopy, regsync4}), rss)),
		moveCase("move/small-wan", small+link, untuned, moveRun{smallSet, true},
			append(below("wall", 0.5, []string{craneTuned, regsync16}), append(below("again", 0.8, []string{craneTuned, regsync16}), rss)...)),
		moveCase("move/big", big, all, moveRun{set: bigSet}, append(below("wall", 1, all[1:]), rss)),
		moveCase("move/big-wan", big+link, all, moveRun{bigSet, true}, append(below("wall", 1, all[1:]), rss)),
	}
}

func moveCase(name, what string, tools []string, r moveRun, targets []target) testCase {
	return testCase{name: name, what: "Moving " + what + " from one distribution v3 to another, empty one; then the same again.",
		servers: tools, once: tools[1:], metrics: moveMetrics, targets: targets, measure: r.measure}
}

// below asks for a factor of each of the peers.
func below(key string, factor float64, peers []string) []target {
	var all []target
	for _, p := range peers {
		all = append(all, target{key: key, peer: p, bound: factor})
	}
	return all
}

// measure moves the set twice with one tool.
func (r moveRun) measure(ctx context.Context, b *bench, tool string, _ int) (s sample, err error) {
	set, err := b.fill(ctx, r.set(b.options.quick))
	if err != nil {
		return nil, err
	}
	dir := b.newName("target")
	dst, err := b.startDistribution(ctx, dir, "", true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dst.stop(), os.RemoveAll(dir)) }()
	j := job{set: set, tool: tool, src: b.origin.addr, dst: dst.addr, dir: b.newName("tool")}
	if r.wan {
		near, err := newRelay(b.origin.addr, moveRTT, moveRate)
		if err != nil {
			return nil, err
		}
		far, err := newRelay(dst.addr, moveRTT, moveRate)
		if err != nil {
			return nil, errors.Join(err, near.close())
		}
		defer func() { err = errors.Join(err, near.close(), far.close()) }()
		j.src, j.dst = near.addr, far.addr
	}
	if err := os.Mkdir(j.dir, 0o755); err != nil {
		return nil, err
	}
	cold, err := b.move(ctx, j, dst)
	if err != nil {
		return nil, err
	}
	again, err := b.move(ctx, j, dst)
	if err != nil {
		return nil, fmt.Errorf("again: %w", err)
	}
	cold["again"], cold["again src"], cold["again dst"] = again["wall"], again["src"], again["dst"]
	return cold, nil
}

// move runs a tool once, and reads what it asked for from the logs.
func (b *bench) move(ctx context.Context, j job, dst *process) (sample, error) {
	from, to := logSize(b.origin), logSize(dst)
	start := time.Now()
	use, err := b.runTool(ctx, j)
	if err != nil {
		return nil, err
	}
	s := sample{"wall": time.Since(start).Seconds(), "cpu": use.cpu, "rss": use.rss}
	var read float64
	if s["src"], read, err = countRequests(b.origin.log, from); err != nil {
		return nil, err
	}
	s["mb"] = read / 1e6
	s["dst"], _, err = countRequests(dst.log, to)
	return s, err
}

func logSize(p *process) int64 {
	info, err := os.Stat(p.log)
	if err != nil {
		return 0 // then all of it is counted, and reading it says why
	}
	return info.Size()
}

// loggedRequest is a request in distribution's log, which is Apache's: status and
// bytes stand after the request.
var loggedRequest = regexp.MustCompile(`"(GET|HEAD|POST|PUT|PATCH|DELETE) (/v2/\S*) HTTP/[0-9.]+" \d+ (\d+)`)

// countRequests counts those that were logged from an offset on, and the bytes
// of the blobs that were sent.
func countRequests(log string, from int64) (requests, read float64, err error) {
	text, err := os.ReadFile(log)
	if err != nil {
		return 0, 0, err
	}
	for _, m := range loggedRequest.FindAllStringSubmatch(string(text[from:]), -1) {
		requests++
		if m[1] == "GET" && strings.Contains(m[2], "/blobs/sha256:") {
			n, err := strconv.ParseFloat(m[3], 64)
			if err != nil {
				return 0, 0, err
			}
			read += n
		}
	}
	return requests, read, nil
}

// A consumed is what the processes of a tool needed.
type consumed struct {
	cpu     float64 // seconds, all of them
	rss     float64 // MiB, the largest
	written float64 // bytes, to files
}

// runTool moves the set of a job.
func (b *bench) runTool(ctx context.Context, j job) (consumed, error) {
	lines, atOnce, err := j.commands(b.bin)
	if err != nil {
		return consumed{}, err
	}
	type ended struct {
		consumed
		err error
	}
	free, results := make(chan struct{}, atOnce), make(chan ended)
	go func() {
		for _, argv := range lines {
			free <- struct{}{}
			go func() {
				u, err := j.run(ctx, argv)
				<-free
				results <- ended{u, err}
			}()
		}
	}()
	var sum consumed
	var errs []error
	for range lines {
		e := <-results
		sum.cpu, sum.rss = sum.cpu+e.cpu, max(sum.rss, e.rss)
		errs = append(errs, e.err)
	}
	return sum, errors.Join(errs...)
}

// run runs one process of the tool, with a home of its own.
func (j job) run(ctx context.Context, argv []string) (consumed, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+j.dir, "XDG_CACHE_HOME="+filepath.Join(j.dir, "cache"), "REGISTRY_AUTH_FILE=", "DOCKER_CONFIG="+j.dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return consumed{}, err
	}
	stop, peak := make(chan struct{}), make(chan float64)
	go watchPeak(&process{cmd: cmd}, stop, peak)
	err := cmd.Wait()
	close(stop)
	u := consumed{cpu: (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), rss: <-peak}
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.written = float64(r.Oublock) * 512 // getrusage(2) counts in these
	}
	if err != nil {
		return u, fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, tail(out.Bytes()))
	}
	return u, nil
}

// watchPeak reads again and again what a process needs at most, until it is
// stopped. The kernel's own figure for a child counts what this process had
// when it forked.
func watchPeak(p *process, stop <-chan struct{}, peak chan<- float64) {
	var most float64
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if mib, err := p.peak(); err == nil {
			most = max(most, mib)
		}
		select {
		case <-tick.C:
		case <-stop:
			peak <- most
			return
		}
	}
}
