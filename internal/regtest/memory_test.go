package regtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

var name = ref.Name{Host: "docker.io", Path: repoPath}

func TestMemoryHonest(t *testing.T) {
	m := NewMemory("a", nil)
	img := m.AddImage(repoPath, Image{Layers: []int64{100_000}}, "v1")
	sig := m.AddReferrer(repoPath, img.Descriptor(), "application/x.sig", 1)
	got, err := m.Manifest(t.Context(), name.WithTag("v1"))
	if err != nil || got.Digest != img.Digest {
		t.Errorf("Manifest = %v, %v", got.Digest, err)
	}
	if _, err := m.Resolve(t.Context(), name.WithTag("v2")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Resolve of an unknown tag: %v", err)
	}
	layer := img.Layers[0]
	b, err := m.Blob(t.Context(), name, layer.Digest, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, b.Body); err != nil || n != layer.Size-1000 || b.From != "a" {
		t.Errorf("%d bytes from %s, %v", n, b.From, err)
	}
	b.Body.Close()
	m.Idle()
	refs, err := m.Referrers(t.Context(), name, img.Digest, "")
	if err != nil || len(refs) != 1 || refs[0].Digest != sig.Digest {
		t.Errorf("Referrers = %v, %v", refs, err)
	}
	for tag, err := range m.Tags(t.Context(), name, "") {
		if tag != "v1" || err != nil {
			t.Errorf("Tags yields %s, %v", tag, err)
		}
	}
	if n := m.Count("GET", Blob); n != 1 || m.BlobBytes(layer.Digest) != layer.Size-1000 {
		t.Errorf("%d requests, %d bytes", n, m.BlobBytes(layer.Digest))
	}
}

func TestMemoryTrouble(t *testing.T) {
	for label, c := range map[string]struct {
		t    Trouble
		want string
	}{
		"cut":   {Trouble{End: EndCut, At: 4}, "0123 unexpected EOF"},
		"reset": {Trouble{End: EndReset, At: 4}, "0123 connection reset by peer"},
		"short": {Trouble{End: EndCut, At: 4, Short: true}, "0123 nil"},
		"flip":  {Trouble{Flip: FlipFirst}, "\xcf123456789 nil"},
		"extra": {Trouble{Extra: 1}, "0123456789\x00 nil"},
		"stall": {Trouble{End: EndStall, At: 4}, "0123 too late"},
		"slow":  {Trouble{Drip: Drip{1, 4 * time.Second}}, "01 too late"},
		"hold":  {Trouble{Hold: true}, " too late"},
		"delay": {Trouble{Delay: time.Hour}, " too late"},
		"error": {Down(), " connection refused"},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := NewMemory("a", nil)
			d := m.AddBlob(repoPath, Bytes([]byte("0123456789"))).Digest
			m.On(Match{}, c.t)
			ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("too late"))
			defer cancel()
			var got []byte
			b, err := m.Blob(ctx, name, d, 0)
			if err == nil {
				got, err = io.ReadAll(b.Body)
				b.Body.Close()
			}
			if s := fmt.Sprintf("%s %v", got, cause(err)); s != c.want {
				t.Errorf("%s: %q, want %q", label, s, c.want)
			}
			m.Idle()
		})
	}
}

func cause(err error) any {
	if err == nil {
		return "nil"
	}
	for _, known := range []error{io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.ECONNREFUSED} {
		if errors.Is(err, known) {
			return known
		}
	}
	return err
}
