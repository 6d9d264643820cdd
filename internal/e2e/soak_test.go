package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// TestSoak lets clients pull and push for -soak, in a group of 256 MiB, while the
// upstream breaks now and then, the cache is evicted all the time and garbage is
// collected. Whatever a client reads to its end is right. When all has been
// removed again, goroutines, files, memory and the disk are as they were at the
// start.
func TestSoak(t *testing.T) {
	s := soaker{group: newMemoryGroup(t, 256<<20), stack: &stack{up: regtest.New(t, regtest.Config{})}}
	s.cfg = serving{store: t.TempDir() + "/store", group: s.group, storage: "max_bytes = \"24MiB\"\ngc_interval = \"0\"", more: hostsApps,
		upstreams: []upstream{{name: "docker.io", url: s.up.URL(), more: `tag_ttl = "1s"`}}}
	s.entrepot = serve(t, s.cfg)
	for i := range 16 {
		s.images = append(s.images, s.up.AddImage(fmt.Sprintf("library/soak%d", i),
			regtest.Image{Layers: []int64{2 << 20, 300 << 10, 1000}, Seed: uint64(5000 + i)}, "v1"))
	}
	s.cycle(t, *soak/10) // connections and caches are there from now on
	s.clean(t)
	start := s.look(t)
	s.cycle(t, *soak)
	s.clean(t)
	end := s.look(t)
	t.Logf("at the start: %v", start)
	t.Logf("at the end:   %v; at most %d MiB resident", end, s.peakMemory(t)>>20)
	t.Logf("%d blobs read whole, %d requests refused, %d cut; %d images pushed, %d overtaken by gc; %d runs of it; %.0f blobs evicted",
		s.read.Load(), s.refused.Load(), s.cut.Load(), s.pushed.Load(), s.overtaken.Load(), s.collected.Load(), s.metric(t, "entrepot_evicted_blobs_total"))
	end.near(t, start)
	if n := s.group.kills(t); n > 0 {
		t.Errorf("the kernel has killed %d times", n)
	}
	if s.read.Load() == 0 || s.pushed.Load() == 0 || s.collected.Load() == 0 {
		t.Error("that is too little to show anything")
	}
}

// A soaker lets everything go on at once.
type soaker struct {
	*stack
	group  memoryGroup
	images []regtest.Built

	read, refused, cut, pushed, overtaken, collected atomic.Int64
}

// cycle does everything for some time.
func (s *soaker) cycle(t *testing.T, long time.Duration) {
	until := time.Now().Add(long)
	var all sync.WaitGroup
	again := func(do func(rng *rand.Rand)) {
		all.Go(func() {
			for rng := rand.New(rand.NewPCG(rand.Uint64(), 0)); time.Now().Before(until) && !t.Failed(); {
				do(rng)
			}
		})
	}
	for range 4 {
		again(func(rng *rand.Rand) { s.pull(t, rng.IntN(len(s.images))) })
	}
	for range 2 {
		again(func(rng *rand.Rand) { s.push(t, rng) })
	}
	again(func(rng *rand.Rand) { s.trouble(rng) })
	again(func(*rand.Rand) { s.collect(t) })
	all.Wait()
	s.up.Clear()
}

// pull pulls an image. What is not answered, or cut, is for the client to ask for
// again; what is whole is right.
func (s *soaker) pull(t *testing.T, i int) {
	repo := fmt.Sprintf("%s/v2/docker.io/library/soak%d", s.url, i)
	urls := []string{repo + "/manifests/v1", repo + "/manifests/" + string(s.images[i].Digest)}
	want := []oci.Digest{s.images[i].Digest, s.images[i].Digest}
	for _, l := range s.images[i].Layers {
		urls, want = append(urls, repo+"/blobs/"+string(l.Digest)), append(want, l.Digest)
	}
	for j, url := range urls {
		a, err := tryGet(t, http.MethodGet, url)
		switch {
		case err != nil || a.err != nil:
			s.cut.Add(1)
		case a.StatusCode != http.StatusOK:
			s.refused.Add(1)
		case oci.FromBytes(a.body, "") != want[j]:
			t.Errorf("%s is answered whole, with %d bytes that are not %s", url, len(a.body), want[j])
		default:
			s.read.Add(1)
		}
	}
}

// push pushes an image, reads it back and deletes it.
func (s *soaker) push(t *testing.T, rng *rand.Rand) {
	repo := fmt.Sprintf("apps/soak%d", rng.IntN(20))
	layer := contentOf(t, regtest.Random(rng.Uint64(), 1+rng.Int64N(400_000)))
	im := newImage(repo, "latest")
	config := im.blob("application/vnd.oci.image.config.v1+json", fmt.Appendf(nil, `{"of":%d}`, rng.Uint64()))
	m := im.manifest(t, oci.TypeImageManifest, map[string]any{"schemaVersion": 2, "mediaType": oci.TypeImageManifest,
		"config": config, "layers": []oci.Descriptor{im.blob("application/octet-stream", layer)}})
	for d, b := range im.blobs {
		if status, err := tryPushBlob(t, s.url, repo, d, b); err != nil || status != http.StatusCreated {
			t.Errorf("push of a blob: %d, %v", status, err)
			return
		}
	}
	url := s.url + "/v2/" + repo + "/manifests/"
	switch resp := send(t, http.MethodPut, url+string(m.Digest), m.MediaType, m.Raw); resp.StatusCode {
	case http.StatusCreated:
	case http.StatusBadRequest: // its blobs were made old, and collected meanwhile
		s.overtaken.Add(1)
		return
	default:
		t.Errorf("push of a manifest: %s", resp.Status)
		return
	}
	s.pushed.Add(1)
	for d := range im.blobs {
		if a := get(t, http.MethodGet, s.url+"/v2/"+repo+"/blobs/"+string(d)); oci.FromBytes(a.body, "") != d {
			t.Errorf("%s was pushed, and is answered with %d", d, a.StatusCode)
		}
	}
	if resp := send(t, http.MethodDelete, url+string(m.Digest), "", nil); resp.StatusCode != http.StatusAccepted {
		t.Errorf("deletion of a manifest: %s", resp.Status)
	}
}

// trouble breaks the next answers of the upstream, and waits until they were
// given, or have not been asked for in a while.
func (s *soaker) trouble(rng *rand.Rand) {
	const some = 5
	faults := []regtest.Fault{regtest.CutAt(rng.Int64N(1 << 20)), regtest.ResetAt(rng.Int64N(1 << 20)), regtest.Status(http.StatusServiceUnavailable),
		regtest.HangUp(), {Flip: regtest.FlipMiddle}, regtest.HTML(), regtest.Slow(16<<10, time.Millisecond), regtest.Busy("1")}
	rule := s.up.On(regtest.Match{Kind: regtest.Blob, Times: some}, faults[rng.IntN(len(faults))])
	select {
	case <-rule.Reached():
	case <-time.After(time.Second):
	}
	rule.Remove()
}

// collect makes everything in the vault old enough, and collects what of it
// nothing needs.
func (s *soaker) collect(t *testing.T) {
	long := time.Now().Add(-48 * time.Hour)
	for _, dir := range []string{"v/b", "v/c", "q"} {
		filepath.WalkDir(filepath.Join(s.store, dir), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				os.Chtimes(path, long, long) // it may have gone
			}
			return nil
		})
	}
	s.ageTrash(t, long)
	if out, err := s.storeCommand(t, "gc", "--force"); err != nil {
		t.Errorf("gc: %v\n%s", err, out)
	}
	s.collected.Add(1)
}

// ageTrash makes what was collected before as old as it has to be to go for good:
// its directories are named for the hour.
func (s *soaker) ageTrash(t *testing.T, long time.Time) {
	trash := filepath.Join(s.store, "trash", "b")
	hours, _ := os.ReadDir(trash) // there is none before the first collection
	old := filepath.Join(trash, long.UTC().Format("_2006010215"))
	for _, hour := range hours {
		from := filepath.Join(trash, hour.Name())
		blobs, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blobs {
			if err := errors.Join(os.MkdirAll(old, 0o700), os.Rename(filepath.Join(from, b.Name()), filepath.Join(old, b.Name()))); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// storeCommand runs `entrepot store` beside the server.
func (s *soaker) storeCommand(t *testing.T, args ...string) (string, error) {
	bin, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, append(append([]string{"store"}, args...), "--storage", s.store)...).CombinedOutput()
	return string(out), err
}

// clean removes everything that can be, and waits until nothing is going on.
func (s *soaker) clean(t *testing.T) {
	t.Helper()
	eventually(t, "nothing is under way", func() bool {
		return s.metric(t, "entrepot_in_flight_requests") == 0
	})
	bare.CloseIdleConnections()
	if out, err := s.storeCommand(t, "evict", "--all"); err != nil {
		t.Errorf("evict: %v\n%s", err, out)
	}
	s.collect(t)
	s.collect(t) // what the first one moved to the trash
}

// A trace is what a server has left at some moment.
type trace struct {
	goroutines, files int
	resident          int64 // bytes
	bytes             int64 // of content on the disk
	stray             []string
}

func (r trace) String() string {
	return fmt.Sprintf("%d goroutines, %d open files, %d MiB resident, %d bytes of content, %d stray files", r.goroutines, r.files, r.resident>>20, r.bytes, len(r.stray))
}

// look takes a trace.
func (s *soaker) look(t *testing.T) trace {
	t.Helper()
	r := trace{goroutines: int(s.metric(t, "go_goroutines")), files: s.openFiles(t), resident: int64(s.metric(t, "process_resident_memory_bytes"))}
	err := filepath.WalkDir(s.store, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return err
		}
		rel, err := filepath.Rel(s.store, path)
		if err != nil {
			return err
		}
		switch top, rest, _ := strings.Cut(rel, "/"); {
		case top == "tmp" || top == "up":
			r.stray = append(r.stray, rel)
		case strings.HasPrefix(rest, "b/") || top == "q":
			if info, err := e.Info(); err == nil {
				r.bytes += info.Size()
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return r
}

// near holds a trace against one that was taken before.
func (r trace) near(t *testing.T, start trace) {
	t.Helper()
	const slack = 20 // connections that are kept alive, and what serves them
	if r.goroutines > start.goroutines+slack || r.files > start.files+slack {
		t.Errorf("%d goroutines and %d files, were %d and %d", r.goroutines, r.files, start.goroutines, start.files)
	}
	if more := r.resident - start.resident; more > 32<<20 {
		t.Errorf("%d MiB more resident", more>>20)
	}
	if more := r.bytes - start.bytes; more > 1<<20 || len(r.stray) > len(start.stray) {
		t.Errorf("%d bytes more on the disk; %q", more, r.stray)
	}
}
