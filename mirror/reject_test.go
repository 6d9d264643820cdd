package mirror_test

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/oci"
)

// TestReject holds that wrong bytes are not asked for twice where there is
// another place (decision 6).
func TestReject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a", "original")
		d := w.AddBlob(path, regtest.Random(1, 1000)).Digest
		w.all(0, regtest.Trouble{Flip: regtest.FlipMiddle})
		try := func() (bad, again bool) {
			t.Helper()
			b, err := w.Blob(t.Context(), name, d, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Body.Close()
			if _, err := io.ReadAll(oci.VerifyReader(b.Body, d, b.Size)); err == nil {
				return false, false
			}
			return true, b.Body.(oci.Rejecter).Reject()
		}
		if bad, again := try(); !bad || !again {
			t.Errorf("first: bad %v, again %v", bad, again)
		}
		if bad, _ := try(); bad {
			t.Error("the second came from the same place")
		}
		expect(t, "two reads", w.asked(), []int{1, 1})
		w.all(1, regtest.Trouble{Flip: regtest.FlipLast})
		if bad, again := try(); !bad || again {
			t.Errorf("both are bad: bad %v, again %v", bad, again)
		}
		if bad, _ := try(); !bad || w.asked()[0] != 2 {
			t.Errorf("asked %v, want the first to be asked again when all were rejected", w.asked())
		}
		w.places[0].Clear()
		time.Sleep(11 * time.Minute)
		if bad, _ := try(); bad {
			t.Error("bad for ever")
		}
	})
}

// TestRejectBlamesTheMirror holds that where both gave bytes, the original is
// not the one that is left out.
func TestRejectBlamesTheMirror(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a", "original")
		d := w.AddBlob(path, regtest.Random(1, 1000)).Digest
		w.all(0, regtest.Trouble{End: regtest.EndStall, At: 10})
		b, err := w.Blob(t.Context(), name, d, 0)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, b.Body)
		b.Body.Close()
		if !b.Body.(oci.Rejecter).Reject() {
			t.Error("both gave bytes: want the mirror to be blamed alone")
		}
		if last := w.events[len(w.events)-1]; last.Kind != mirror.Rejected || last.From != "a" {
			t.Errorf("last event %v", last)
		}
	})
}
