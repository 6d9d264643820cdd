package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// push pushes new images until the server is gone, each with a tag of its own
// and with one that moves.
func (c *crasher) push(t *testing.T, repo string, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	for {
		p := ack{repo: repo, tag: fmt.Sprintf("t%x", rng.Uint64())}
		p.content = contentOf(t, regtest.Random(rng.Uint64(), 1+rng.Int64N(400_000)))
		p.layer = oci.FromBytes(p.content, "")
		im := newImage(repo, p.tag)
		layer := im.blob("application/octet-stream", p.content)
		config := im.blob("application/vnd.oci.image.config.v1+json", []byte(`{"of":"`+p.tag+`"}`))
		p.manifest = im.manifest(t, oci.TypeImageManifest, map[string]any{"schemaVersion": 2, "mediaType": oci.TypeImageManifest,
			"config": config, "layers": []oci.Descriptor{layer}})
		p.config = config.Digest
		for d, b := range im.blobs {
			send := tryPushBlob
			if rng.IntN(2) == 0 {
				send = tryPushChunks
			}
			if status, err := send(t, c.url, repo, d, b); err != nil || status != http.StatusCreated {
				return
			}
			c.step()
		}
		if !c.putManifest(t, p, p.tag) {
			return
		}
		c.step()
		c.mu.Lock()
		c.pushes = append(c.pushes, p)
		c.acked++
		c.mu.Unlock()
		if !c.putManifest(t, p, "latest") {
			return
		}
	}
}

// putManifest pushes a manifest by a tag and reports whether that was
// acknowledged.
func (c *crasher) putManifest(t *testing.T, p ack, tag string) bool {
	if tag == "latest" {
		c.mu.Lock()
		state := c.tags[p.repo]
		if state == nil {
			state = &tagState{sent: make(map[oci.Digest]bool)}
			c.tags[p.repo] = state
		}
		state.sent[p.manifest.Digest] = true
		c.mu.Unlock()
	}
	resp, err := trySend(t, http.MethodPut, c.url+"/v2/"+p.repo+"/manifests/"+tag, p.manifest.MediaType, p.manifest.Raw)
	if err != nil || resp.StatusCode != http.StatusCreated {
		return false
	}
	if tag == "latest" {
		c.mu.Lock()
		c.tags[p.repo] = &tagState{acked: p.manifest.Digest, sent: make(map[oci.Digest]bool)}
		c.mu.Unlock()
	}
	return true
}

// tryPushChunks is tryPushBlob in two chunks.
func tryPushChunks(t testing.TB, base, repo string, d oci.Digest, b []byte) (int, error) {
	t.Helper()
	resp, err := trySend(t, http.MethodPost, base+"/v2/"+repo+"/blobs/uploads/", "", nil)
	for _, part := range [][]byte{b[:len(b)/2], b[len(b)/2:]} {
		if err != nil || resp.StatusCode != http.StatusAccepted {
			return statusOf(resp), err
		}
		at, bad := resp.Location()
		if bad != nil {
			return 0, bad
		}
		resp, err = trySend(t, http.MethodPatch, at.String(), "application/octet-stream", part)
	}
	if err != nil || resp.StatusCode != http.StatusAccepted {
		return statusOf(resp), err
	}
	at, err := resp.Location()
	if err != nil {
		return 0, err
	}
	q := at.Query()
	q.Set("digest", string(d))
	at.RawQuery = q.Encode()
	put, err := trySend(t, http.MethodPut, at.String(), "", nil)
	return statusOf(put), err
}

// keptPushes is how many acknowledged pushes stand at the end of a round, about.
const keptPushes = 60

// sweep deletes pushed images and has what they leave collected, with a command
// of its own beside the server, until the crash. What it returns ends the command
// that runs, as the crash does.
func (c *crasher) sweep(t *testing.T, work *sync.WaitGroup) (end func()) {
	var mu sync.Mutex
	var running *process
	work.Go(func() {
		for !c.crashing.Load() {
			for c.deleteOne(t) && c.standing() > keptPushes {
			}
			mu.Lock()
			if c.crashing.Load() {
				mu.Unlock()
				return
			}
			running = startProcess(t, "entrepot store gc", exec.Command(entrepotBinary(t), "store", "gc", "--force", "--storage", c.store))
			p := running
			mu.Unlock()
			<-p.done
			c.mu.Lock()
			if code := p.cmd.ProcessState.ExitCode(); code == 0 {
				c.swept++
			} else if !c.crashing.Load() {
				t.Errorf("a collection ends with %d:\n%s", code, p.log)
			}
			c.mu.Unlock()
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		if running != nil {
			running.kill()
		}
	}
}

func (c *crasher) standing() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pushes)
}

// deleteOne deletes the oldest push. Its blobs look two days old then, so that
// the next collection takes them, and any push that comes with the same content
// has to be right without the help of the clock.
func (c *crasher) deleteOne(t *testing.T) bool {
	c.mu.Lock()
	if len(c.pushes) == 0 {
		c.mu.Unlock()
		return false
	}
	p := c.pushes[0]
	c.pushes = c.pushes[1:] // from now on nobody may rely on it
	c.mu.Unlock()
	if state := c.tagOf(p.repo); state.acked == p.manifest.Digest || state.sent[p.manifest.Digest] {
		return true // "latest" needs it
	}
	resp, err := trySend(t, http.MethodDelete, c.url+"/v2/"+p.repo+"/manifests/"+string(p.manifest.Digest), "", nil)
	if err != nil || resp.StatusCode != http.StatusAccepted {
		return false
	}
	c.mu.Lock()
	c.deleted++
	c.mu.Unlock()
	old := time.Now().Add(-48 * time.Hour)
	for _, d := range []oci.Digest{p.manifest.Digest, p.config, p.layer} {
		files, err := filepath.Glob(filepath.Join(c.store, "v/b/sha256", d.Encoded()[:2], d.Encoded()+".*"))
		if err != nil {
			t.Error(err)
		}
		for _, f := range files {
			os.Chtimes(f, old, old) // a collection may have been faster
		}
	}
	return true
}

// tagOf returns what the tag "latest" of a repository may point at.
func (c *crasher) tagOf(repo string) tagState {
	c.mu.Lock()
	defer c.mu.Unlock()
	state := tagState{sent: map[oci.Digest]bool{}}
	if have := c.tags[repo]; have != nil {
		state.acked = have.acked
		maps.Copy(state.sent, have.sent)
	}
	return state
}
