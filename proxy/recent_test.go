package proxy

import (
	"fmt"
	"testing"
	"time"

	"github.com/entrepot/entrepot/oci"
	"pgregory.net/rapid"
)

// What is used is not forgotten first, and never more is kept than there is
// room for.
func TestRecent(t *testing.T) {
	k := func(i int) tagKey { return tagKey{tag: fmt.Sprint(i)} }
	r := newRecent[tagKey, int](10)
	for i := range 100 {
		r.put(k(i), i)
		if v, ok := r.get(k(0)); !ok || v != 0 {
			t.Fatalf("after %d: the one in use is forgotten", i)
		}
	}
	if len(r.entries) != 10 || len(r.ring) != 10 {
		t.Errorf("%d entries, %d in the ring, want 10", len(r.entries), len(r.ring))
	}
}

// The ring and the map hold the same, whatever is done.
func TestRecentModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRecent[tagKey, int](5)
		model := map[tagKey]int{} // what was put last; some of it is forgotten
		for i := range 100 {
			k := tagKey{tag: rapid.StringMatching(`[a-h]`).Draw(t, "tag")}
			switch rapid.IntRange(0, 2).Draw(t, "do") {
			case 0:
				r.put(k, i)
				model[k] = i
			case 1:
				r.delete(k)
				delete(model, k)
			}
			if v, ok := r.get(k); ok && v != model[k] {
				t.Fatalf("got %d, want %d", v, model[k])
			} else if _, known := model[k]; ok && !known {
				t.Fatalf("got what was deleted")
			}
			for slot, e := range r.ring {
				if e.slot != slot || r.entries[e.key] != e {
					t.Fatalf("slot %d holds %+v", slot, e)
				}
			}
			if len(r.ring) != len(r.entries) || len(r.ring) > 5 {
				t.Fatalf("%d in the ring, %d entries", len(r.ring), len(r.entries))
			}
		}
	})
}

// Hosts that clients make up do not fill the memory.
func TestHealthIsBounded(t *testing.T) {
	h, now := newHealth(), time.Now()
	for i := range 10 * maxLanes {
		h.note(lane{scope: fmt.Sprint(i)}, oci.ErrUnavailable, now)
		now = now.Add(time.Second)
	}
	if len(h.lanes) > maxLanes {
		t.Errorf("%d lanes are remembered, want at most %d", len(h.lanes), maxLanes)
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 59 * time.Second: "59s", 90 * time.Second: "1m",
		3 * time.Hour: "3h", 47 * time.Hour: "47h", 9 * 24 * time.Hour: "9d"} {
		if got := short(d); got != want {
			t.Errorf("short(%v) = %q, want %q", d, got, want)
		}
	}
}
