package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// startWithoutUpstream: with content in the store and an upstream that cannot
// be reached, Entrepot is ready at once and serves what it has.
func startWithoutUpstream(t *testing.T) {
	s := newStack(t, `tag_ttl = "0s"`, "")
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	s.ask(t, "GET", ubuntuTag).is(t, im.Raw)
	s.settle(t, im)
	s.stop(t)
	s.up.Down()

	s.restart(t)
	s.ready(t)
	a := s.ask(t, "GET", ubuntuTag)
	a.is(t, im.Raw)
	a.header(t, "X-Cache: STALE")
	a = s.ask(t, "GET", "library/ubuntu/manifests/"+string(im.Digest)+"?ns=docker.io")
	a.is(t, im.Raw)
	a.header(t, "X-Cache: HIT")
	for i, l := range im.Layers {
		a := s.ask(t, "GET", blobPath(l.Digest))
		a.is(t, contentOf(t, regtest.Random(ubuntu.Seed<<16+uint64(i), l.Size)))
		a.header(t, "X-Cache: HIT")
	}
	s.wire(t)
}

// TestRestartResumesFill: a download that was under way when the process ended
// goes on where it was, after a clean end and after a kill (zot#4357: what a
// killed one had left made every pull hang).
func TestRestartResumesFill(t *testing.T) {
	const size, stall = 64 << 20, 40<<20 + 12345
	for name, end := range map[string]func(*testing.T, *stack){
		"stopped": func(t *testing.T, s *stack) { s.stop(t) },
		"killed":  func(_ *testing.T, s *stack) { s.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, "", "")
			s.stop(t)
			s.cfg.server = `drain = "1s"`
			s.restart(t)
			d, b := s.addBlob(t, "library/ubuntu", 1, size)
			s.up.On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.StallAt(stall))
			leaveAt(t, s.url+"/v2/"+blobPath(d), stall-heldBack-1)
			end(t, s)
			s.up.Clear()
			s.up.Idle()
			s.up.ResetLog()

			s.restart(t)
			s.ready(t)
			s.ask(t, "GET", blobPath(d)).is(t, b)
			from, ok := strings.CutPrefix(s.up.Log()[0].Header.Get("Range"), "bytes=")
			n, err := strconv.Atoi(strings.TrimSuffix(from, "-"))
			if !ok || err != nil || n < 16<<20 || name == "stopped" && n != stall {
				t.Errorf("the download went on with %q, want from %d or, killed, a little before", from, stall)
			}
			if len(s.up.Log()) != 1 || s.up.BlobBytes(d) != int64(size-n) {
				t.Errorf("the upstream sent %d bytes in %d requests, want %d in one", s.up.BlobBytes(d), len(s.up.Log()), size-n)
			}
		})
	}
}

// TestUploadSurvivesKill: a session that was acknowledged goes on after a kill.
func TestUploadSurvivesKill(t *testing.T) {
	s := newStack(t, "", hostsApps)
	b := contentOf(t, regtest.Random(1, 3<<20))
	d := oci.FromBytes(b, "")
	at := send(t, http.MethodPost, s.url+"/v2/apps/x/blobs/uploads/", "", nil).Header.Get("Location")
	half := len(b) / 2
	path := s.patch(t, at, b[:half])
	s.kill()
	s.restart(t)
	s.ready(t)
	state := get(t, http.MethodGet, s.url+path)
	state.status(t, http.StatusNoContent, "")
	state.header(t, fmt.Sprintf("Range: 0-%d", half-1))
	path = s.patch(t, state.Header.Get("Location"), b[half:])
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	if resp := send(t, http.MethodPut, s.url+path+sep+"digest="+string(d), "", nil); resp.StatusCode != http.StatusCreated {
		t.Errorf("PUT: status %d, want 201", resp.StatusCode)
	}
	s.ask(t, "GET", "apps/x/blobs/"+string(d)).is(t, b)
}

// patch sends one chunk to a session, and returns the path where it goes on.
func (s *stack) patch(t *testing.T, location string, b []byte) string {
	t.Helper()
	path := strings.TrimPrefix(location, s.url)
	resp := send(t, http.MethodPatch, s.url+path, "application/octet-stream", b)
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("PATCH %s: status %d, want 202", path, resp.StatusCode)
	}
	return strings.TrimPrefix(resp.Header.Get("Location"), s.url)
}

// TestStoreIsPrivate: two servers cannot share a store.
func TestStoreIsPrivate(t *testing.T) {
	s := newStack(t, "", "")
	second := startServe(t, s.cfg)
	<-second.done
	if code := second.cmd.ProcessState.ExitCode(); code != 1 || !bytes.Contains([]byte(second.log.String()), []byte("entrepot: error: ")) {
		t.Errorf("a second server on the same store ends with %d and %q, want 1 and an error", code, second.log)
	}
}
