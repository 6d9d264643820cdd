package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// What images are carried with, as tables name them.
const (
	readOnce      = "reading each blob once" // and keeping none: what any tool needs at least
	hashOnce      = "reading and hashing each blob once"
	skopeoArchive = "skopeo copy, an archive each"
	craneLayout   = "crane pull and push, a layout each"
	relocateAgain = "entrepot relocate" // without an archive in between
)

var (
	saveMetrics = []metric{
		{key: "wall", head: "s", format: "%.2f"},
		{key: "cpu", head: "CPU s", format: "%.2f"},
		{key: "rss", head: "RSS MiB", format: "%.0f", worst: true},
		{key: "mb", head: "source MB", format: "%.0f"},
		{key: "size", head: "kept MB", format: "%.0f"},
		{key: "written", head: "written MB", format: "%.0f"},
		{key: "times", head: "written ÷ kept", format: "%.2f"},
	}
	loadMetrics = []metric{
		{key: "wall", head: "s", format: "%.2f"},
		{key: "cpu", head: "CPU s", format: "%.2f"},
		{key: "rss", head: "RSS MiB", format: "%.0f", worst: true},
		{key: "dst", head: "target requests", format: "%.0f"},
		{key: "written", head: "written MB beside the target", format: "%.0f"},
	}
)

// carryCases are the saving of a set into an archive, and the loading of that.
func carryCases() []testCase {
	tools := []string{entrepot, readOnce, hashOnce, skopeoArchive, craneLayout}
	loaders := []string{entrepot, relocateAgain, skopeoArchive, craneLayout}
	return []testCase{
		{name: "carry/save", what: "Saving 12 images with shared layers from a distribution v3.", servers: tools, once: tools[3:],
			metrics: saveMetrics, measure: measureSave, targets: []target{
				{key: "wall", peer: readOnce, bound: 1.1}, {key: "times", bound: 1.01}, {key: "rss", bound: 64}}},
		{name: "carry/load", what: "Loading them into an empty distribution v3.", servers: loaders, once: loaders[2:],
			metrics: loadMetrics, measure: measureLoad, targets: []target{
				{key: "wall", peer: relocateAgain, bound: 1}, {key: "rss", bound: 64}}},
	}
}

// measureSave saves the set with one tool.
func measureSave(ctx context.Context, b *bench, tool string, _ int) (s sample, err error) {
	set, err := b.fill(ctx, sharedSet(b.options.quick))
	if err != nil {
		return nil, err
	}
	dir := b.newName("carry")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	from, start := logSize(b.origin), time.Now()
	var use consumed
	switch tool {
	case readOnce:
		err = readBlobs(ctx, b.origin.addr, set, func() io.Writer { return struct{ io.Writer }{io.Discard} })
	case hashOnce:
		err = readBlobs(ctx, b.origin.addr, set, func() io.Writer { return sha256.New() })
	default:
		use, err = b.save(ctx, tool, dir, set)
	}
	if err != nil {
		return nil, err
	}
	s = sample{"wall": time.Since(start).Seconds(), "cpu": use.cpu, "rss": use.rss, "written": use.written / 1e6}
	_, read, err := countRequests(b.origin.log, from)
	if err != nil {
		return nil, err
	}
	kept, err := sizeOf(dir)
	if err != nil {
		return nil, err
	}
	s["mb"], s["size"] = read/1e6, kept/1e6
	if kept > 0 {
		s["times"] = use.written / kept
	}
	return s, nil
}

// measureLoad loads what the same tool has saved.
func measureLoad(ctx context.Context, b *bench, tool string, _ int) (s sample, err error) {
	set, err := b.fill(ctx, sharedSet(b.options.quick))
	if err != nil {
		return nil, err
	}
	dir := b.newName("carry")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if tool != relocateAgain {
		if _, err := b.save(ctx, tool, dir, set); err != nil {
			return nil, err
		}
	}
	files := b.newName("target")
	dst, err := b.startDistribution(ctx, files, "", true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dst.stop(), os.RemoveAll(files)) }()
	from, start := logSize(dst), time.Now()
	use, err := b.load(ctx, tool, dir, set, dst.addr)
	if err != nil {
		return nil, err
	}
	s = sample{"wall": time.Since(start).Seconds(), "cpu": use.cpu, "rss": use.rss, "written": use.written / 1e6}
	s["dst"], _, err = countRequests(dst.log, from)
	return s, err
}

// save runs a tool that writes the set below dir.
func (b *bench) save(ctx context.Context, tool, dir string, set imageSet) (consumed, error) {
	j := job{set: set, tool: tool, src: b.origin.addr, dir: b.newName("tool")}
	if err := os.Mkdir(j.dir, 0o755); err != nil {
		return consumed{}, err
	}
	if tool == entrepot {
		list, err := j.list()
		if err != nil {
			return consumed{}, err
		}
		return j.run(ctx, []string{b.bin[entrepot], "save", list, "--kind", "images", "--output", archiveIn(dir),
			"--rules", "none", "--no-referrers", "--quiet"})
	}
	return j.each(ctx, func(i int, img setImage) []string {
		from, to := b.origin.addr+"/"+img.repo+":"+img.tag, imageIn(dir, i)
		if tool == craneLayout {
			return []string{b.bin["crane"], "pull", "--insecure", "--format", "oci", from, to}
		}
		return []string{b.bin["skopeo"], "copy", "--all", "--src-tls-verify=false", "docker://" + from, "oci-archive:" + to + ":" + img.tag}
	})
}

// load runs a tool that reads what it has saved below dir.
func (b *bench) load(ctx context.Context, tool, dir string, set imageSet, dst string) (consumed, error) {
	j := job{set: set, tool: entrepot, src: b.origin.addr, dst: dst, dir: b.newName("tool")}
	if err := os.Mkdir(j.dir, 0o755); err != nil {
		return consumed{}, err
	}
	switch tool {
	case relocateAgain:
		return b.runTool(ctx, j)
	case entrepot:
		return j.run(ctx, []string{b.bin[entrepot], "load", archiveIn(dir), "--to", dst, "--naming", "path", "--no-referrers", "--quiet"})
	}
	return j.each(ctx, func(i int, img setImage) []string {
		from, to := imageIn(dir, i), dst+"/"+img.repo+":"+img.tag
		if tool == craneLayout {
			return []string{b.bin["crane"], "push", "--insecure", from, to}
		}
		return []string{b.bin["skopeo"], "copy", "--all", "--dest-tls-verify=false", "oci-archive:" + from + ":" + img.tag, "docker://" + to}
	})
}

func archiveIn(dir string) string      { return filepath.Join(dir, "set.tar") }
func imageIn(dir string, i int) string { return filepath.Join(dir, fmt.Sprint("image-", i)) }

// each runs a command for each image, one after another.
func (j job) each(ctx context.Context, command func(int, setImage) []string) (consumed, error) {
	var sum consumed
	for i, img := range j.set.images {
		use, err := j.run(ctx, command(i, img))
		if err != nil {
			return sum, err
		}
		sum = consumed{cpu: sum.cpu + use.cpu, rss: max(sum.rss, use.rss), written: sum.written + use.written}
	}
	return sum, nil
}

// fill puts a set into the origin, once.
func (b *bench) fill(ctx context.Context, set imageSet) (imageSet, error) {
	if b.filled[set.name] {
		return set, nil
	}
	if err := newFiller(b.origin.addr).push(ctx, set); err != nil {
		return set, fmt.Errorf("fill the origin: %w", err)
	}
	b.filled[set.name] = true
	return set, nil
}

// readBlobs reads each blob of a set once, eight at a time.
func readBlobs(ctx context.Context, addr string, set imageSet, into func() io.Writer) error {
	urls := make(map[string]string) // :: digest → where it is
	for _, img := range set.images {
		var doc document
		if err := read(ctx, "http://"+addr+"/v2/"+img.repo+"/manifests/"+img.tag, func(r io.Reader) error {
			return json.NewDecoder(r).Decode(&doc)
		}); err != nil {
			return err
		}
		for _, d := range append(doc.Layers, *doc.Config) {
			urls[d.Digest] = "http://" + addr + "/v2/" + img.repo + "/blobs/" + d.Digest
		}
	}
	var wg sync.WaitGroup
	free, errs := make(chan struct{}, 8), make(chan error, len(urls))
	for _, url := range urls {
		wg.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			errs <- read(ctx, url, func(r io.Reader) error {
				_, err := io.CopyBuffer(into(), r, make([]byte, 1<<20))
				return err
			})
		})
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// read hands over the body of an answer.
func read(ctx context.Context, url string, take func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", typeManifest)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	return take(res.Body)
}

// sizeOf is the size of all files below a directory, in bytes.
func sizeOf(dir string) (size float64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size += float64(info.Size())
		}
		return err
	})
	return size, err
}
