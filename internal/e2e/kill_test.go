package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// TestFault13Kills kills the server with SIGKILL at random moments of pulls
// and pushes, again and again on one store. After each restart it is ready at
// the first asking, every push that was acknowledged is there byte for byte,
// tags are what was acknowledged last or what was being pushed, nothing that
// can be seen is corrupt, and cold pulls work.
func TestFault13Kills(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("%d kills, seed %d", *kills, seed)
	k := &killer{stack: newStack(t, "", hostsApps), rng: rand.New(rand.NewPCG(seed, 0)), tags: make(map[string]*tagState)}
	// How much is done between two kills is chance, and the machine's affair: it
	// goes on until there is enough to look at.
	for round := 0; round < *kills || k.few() && round < 4**kills; round++ {
		k.round(t, round)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	k.restart(t)
	k.ready(t)
	k.verify(t, k.pushes)
	k.verifyTags(t)
	k.verifyPulls(t, k.images)
	for repo := range k.tags {
		k.verifyVisible(t, repo)
	}
	t.Logf("%d pushes were acknowledged and %d blobs pulled whole between the kills", len(k.pushes), k.alive)
	if k.few() {
		t.Error("that is too little to show anything")
	}
}

// few reports whether fewer pushes or pulls went well than there are kills. It
// is called between the rounds.
func (k *killer) few() bool { return len(k.pushes) < *kills || k.alive < *kills }

// A killer does the rounds. Its clients work while the server may die under
// them at any moment, so that an error is no failure, but what was
// acknowledged counts.
type killer struct {
	*stack
	rng    *rand.Rand
	images []regtest.Built // of the upstream, the last ones not pulled yet
	steps  chan struct{}   // a value for each answer that a client got in this round

	mu     sync.Mutex // guards what follows
	pushes []ack
	tags   map[string]*tagState // :: repository → its tag "latest"
	alive  int                  // pulls that were whole, in all rounds
}

// An ack is an acknowledged push of an image of one layer.
type ack struct {
	repo, tag string
	manifest  oci.Manifest
	layer     oci.Digest
	content   []byte
}

// A tagState is what a moving tag may point at: what was acknowledged last, or
// anything that was sent since.
type tagState struct {
	acked oci.Digest
	sent  map[oci.Digest]bool
}

func (k *killer) round(t *testing.T, round int) {
	if round > 0 {
		k.restart(t)
		k.ready(t)
		k.verify(t, k.sample(12))
		k.verifyTags(t)
		k.verifyPulls(t, k.images[len(k.images)-2:])
	}
	for i := range 2 {
		k.images = append(k.images, k.up.AddImage(fmt.Sprintf("cold/r%d", round),
			regtest.Image{Layers: []int64{3 << 20, 1 << 19, 100}, Seed: uint64(1000 + 2*round + i)}, fmt.Sprint("v", i)))
	}
	var work sync.WaitGroup
	k.steps = make(chan struct{}, 30)
	for i := range 2 {
		work.Go(func() { k.pull(t, k.images[len(k.images)-2+i], fmt.Sprintf("cold/r%d", round)) })
		seed := k.rng.Uint64()
		work.Go(func() { k.push(t, fmt.Sprintf("apps/p%d", i), seed) })
	}
	for range k.rng.IntN(30) {
		select {
		case <-k.steps:
		case <-time.After(patience):
			t.Fatal("neither a pull nor a push goes on")
		}
	}
	<-time.After(time.Duration(k.rng.IntN(20)) * time.Millisecond) // into the middle of what comes next
	k.kill()
	work.Wait()
}

// step tells that a client got an answer, so that the kill comes while things
// go on, however fast the machine is.
func (k *killer) step() {
	select {
	case k.steps <- struct{}{}:
	default: // the round has seen enough
	}
}

// sample returns some acknowledged pushes, the last ones among them.
func (k *killer) sample(n int) []ack {
	if len(k.pushes) <= n {
		return k.pushes
	}
	some := append([]ack(nil), k.pushes[len(k.pushes)-n/2:]...)
	for range n / 2 {
		some = append(some, k.pushes[k.rng.IntN(len(k.pushes))])
	}
	return some
}

// pull pulls an image as often as it can until the server is gone.
func (k *killer) pull(t *testing.T, im regtest.Built, repo string) {
	for {
		for _, l := range im.Layers {
			a, err := tryGet(t, http.MethodGet, k.url+"/v2/docker.io/"+repo+"/blobs/"+string(l.Digest))
			if err != nil || a.err != nil || a.StatusCode != http.StatusOK {
				return
			}
			if oci.FromBytes(a.body, "") != l.Digest {
				t.Errorf("a whole body of %d bytes is not %s", len(a.body), l.Digest)
			}
			k.mu.Lock()
			k.alive++
			k.mu.Unlock()
			k.step()
		}
	}
}

// push pushes new images until the server is gone, each with a tag of its own
// and with one that moves.
func (k *killer) push(t *testing.T, repo string, seed uint64) {
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
		for d, b := range im.blobs {
			if status, err := tryPushBlob(t, k.url, repo, d, b); err != nil || status != http.StatusCreated {
				return
			}
			k.step()
		}
		if !k.putManifest(t, p, p.tag) {
			return
		}
		k.step()
		k.mu.Lock()
		k.pushes = append(k.pushes, p)
		k.mu.Unlock()
		if !k.putManifest(t, p, "latest") {
			return
		}
	}
}

// putManifest pushes a manifest by a tag and reports whether that was
// acknowledged.
func (k *killer) putManifest(t *testing.T, p ack, tag string) bool {
	if tag == "latest" {
		k.mu.Lock()
		state := k.tags[p.repo]
		if state == nil {
			state = &tagState{sent: make(map[oci.Digest]bool)}
			k.tags[p.repo] = state
		}
		state.sent[p.manifest.Digest] = true
		k.mu.Unlock()
	}
	resp, err := trySend(t, http.MethodPut, k.url+"/v2/"+p.repo+"/manifests/"+tag, p.manifest.MediaType, p.manifest.Raw)
	if err != nil || resp.StatusCode != http.StatusCreated {
		return false
	}
	if tag == "latest" {
		k.mu.Lock()
		k.tags[p.repo] = &tagState{acked: p.manifest.Digest, sent: make(map[oci.Digest]bool)}
		k.mu.Unlock()
	}
	return true
}

// verify holds acknowledged pushes against the store.
func (k *killer) verify(t *testing.T, pushes []ack) {
	t.Helper()
	for _, p := range pushes {
		for _, name := range []string{p.tag, string(p.manifest.Digest)} {
			if a := get(t, http.MethodGet, k.url+"/v2/"+p.repo+"/manifests/"+name); !bytes.Equal(a.body, p.manifest.Raw) {
				t.Errorf("the acknowledged %s:%s is answered with %d: %.200s", p.repo, name, a.StatusCode, a.body)
			}
		}
		if a := get(t, http.MethodGet, k.url+"/v2/"+p.repo+"/blobs/"+string(p.layer)); !bytes.Equal(a.body, p.content) {
			t.Errorf("the acknowledged layer of %s:%s is answered with %d, %d bytes, want %d", p.repo, p.tag, a.StatusCode, len(a.body), len(p.content))
		}
	}
}

// verifyTags holds the moving tags against what was pushed by them.
func (k *killer) verifyTags(t *testing.T) {
	t.Helper()
	for repo, state := range k.tags {
		a := get(t, http.MethodGet, k.url+"/v2/"+repo+"/manifests/latest")
		d := oci.FromBytes(a.body, "")
		switch {
		case a.StatusCode == http.StatusNotFound && state.acked == "":
		case a.StatusCode != http.StatusOK || d != state.acked && !state.sent[d]:
			t.Errorf("%s:latest is %d, %s; acknowledged was %s", repo, a.StatusCode, d, state.acked)
		default: // from now on it is what it turned out to be
			k.tags[repo] = &tagState{acked: d, sent: make(map[oci.Digest]bool)}
		}
	}
}

// verifyVisible holds everything that a repository shows, acknowledged or not,
// to be whole.
func (k *killer) verifyVisible(t *testing.T, repo string) {
	t.Helper()
	var list struct{ Tags []string }
	a := get(t, http.MethodGet, k.url+"/v2/"+repo+"/tags/list")
	if err := json.Unmarshal(a.body, &list); err != nil || len(list.Tags) == 0 {
		t.Errorf("%s has the tags %.200s (%v), want some", repo, a.body, err)
	}
	for _, tag := range list.Tags {
		a := get(t, http.MethodGet, k.url+"/v2/"+repo+"/manifests/"+tag)
		d := oci.Digest(a.Header.Get("Docker-Content-Digest"))
		m := oci.Manifest{MediaType: a.Header.Get("Content-Type"), Digest: d, Raw: a.body}
		links, err := m.Links()
		if err != nil || oci.FromBytes(a.body, "") != d {
			t.Errorf("%s:%s is visible as %d, %.200s (%v)", repo, tag, a.StatusCode, a.body, err)
			continue
		}
		for _, b := range links.Blobs() {
			if a := get(t, http.MethodGet, k.url+"/v2/"+repo+"/blobs/"+string(b.Digest)); oci.FromBytes(a.body, "") != b.Digest {
				t.Errorf("%s of %s:%s is %d, %d of %d bytes", b.Digest, repo, tag, a.StatusCode, len(a.body), b.Size)
			}
		}
	}
}

// verifyPulls pulls images whole, cold or resumed or stored.
func (k *killer) verifyPulls(t *testing.T, images []regtest.Built) {
	t.Helper()
	for i, im := range images {
		repo := k.repoOf(im)
		a := get(t, http.MethodGet, k.url+"/v2/docker.io/"+repo+"/manifests/"+string(im.Digest))
		if !bytes.Equal(a.body, im.Raw) {
			t.Errorf("image %d of %s: manifest is answered with %d", i, repo, a.StatusCode)
		}
		for _, l := range im.Layers {
			a := get(t, http.MethodGet, k.url+"/v2/docker.io/"+repo+"/blobs/"+string(l.Digest))
			if a.err != nil || oci.FromBytes(a.body, "") != l.Digest {
				t.Errorf("layer %s of %s: %d, %d of %d bytes, %v", l.Digest, repo, a.StatusCode, len(a.body), l.Size, a.err)
			}
		}
	}
}

// repoOf is the repository of an image: two are made in each round.
func (k *killer) repoOf(im regtest.Built) string {
	for i, have := range k.images {
		if have.Digest == im.Digest {
			return fmt.Sprintf("cold/r%d", i/2)
		}
	}
	return ""
}
