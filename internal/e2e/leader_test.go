package e2e

import (
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// TestFault11Leader: the client whose request started the download leaves, or
// stops reading. The others get all of it and not a byte is fetched twice.
func TestFault11Leader(t *testing.T) {
	for _, leaves := range []bool{true, false} {
		name := "leader reads slowly"
		if leaves {
			name = "leader leaves"
		}
		t.Run(name, func(t *testing.T) { deposeLeader(t, leaves) })
	}
}

func deposeLeader(t *testing.T, leaves bool) {
	const size = 64 << 20
	s := newStack(t, "", "")
	want := contentOf(t, regtest.Random(1, size))
	d := s.up.AddBlob("library/ubuntu", regtest.Bytes(want)).Digest
	stall := s.up.On(regtest.Match{Kind: regtest.Blob}, regtest.StallAt(1<<20))
	h := herd{t: t, url: s.url + "/v2/" + blobPath(d), want: want}

	leader := h.open() // it has its headers: the fill is its
	if _, err := compare(io.LimitReader(leader, 1<<16), want[:1<<16]); err != nil {
		t.Fatal(err)
	}
	<-stall.Reached()
	if leaves {
		leader.Close()
	}
	var followers sync.WaitGroup
	for range 5 {
		followers.Go(h.read)
	}
	stall.Release()
	followers.Wait() // while the leader has not read on
	if !leaves {
		if n, err := compare(leader, want[1<<16:]); err != nil {
			t.Errorf("the leader's body after %d bytes: %v", n, err)
		}
		leader.Close()
	}
	if n := s.up.BlobBytes(d); n != size {
		t.Errorf("the upstream sent %d bytes of a blob of %d", n, size)
	}
	if n := s.up.Count(http.MethodGet, regtest.Blob); n != 1 {
		t.Errorf("the upstream was asked %d times, want once", n)
	}
}
