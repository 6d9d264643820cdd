package relocate

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/entrepot/entrepot/oci"
)

// TestGateLargestFirst holds that of those who wait the heaviest goes first,
// and of equals who came first.
func TestGateLargestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		leave, err := g.enter(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		var order []int64
		for _, weight := range []int64{5, 9, 1, 7} {
			go func() {
				leave, err := g.enter(t.Context(), weight)
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, weight)
				leave()
			}()
			synctest.Wait()
		}
		leave()
		synctest.Wait()
		if !slices.Equal(order, []int64{9, 7, 5, 1}) {
			t.Errorf("order %v", order)
		}
	})
}

// TestGateAfterCancel holds that who gives up takes nobody's place away.
func TestGateAfterCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		leave, err := g.enter(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var got error
		go func() { _, got = g.enter(ctx, 1) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if !errors.Is(got, context.Canceled) {
			t.Errorf("got %v, want the context's end", got)
		}
		leave()
		if leave, ok := g.try(); !ok {
			t.Error("the place is lost")
		} else {
			leave()
		}
	})
}

func TestFrontier(t *testing.T) {
	content := []byte("abcdefgh")
	d := oci.Descriptor{Digest: oci.FromBytes(content, ""), Size: int64(len(content))}
	for name, c := range map[string]struct {
		pieces []string // "offset" digit, then bytes
		bad    bool     // a verdict, and it is wrong
	}{
		"in one":          {[]string{"0abcdefgh"}, false},
		"twice":           {[]string{"0abcd", "0abcdefgh"}, false},
		"overlapping":     {[]string{"0abcd", "2cdefgh"}, false},
		"wrong":           {[]string{"0abcdefgX"}, true},
		"wrong second":    {[]string{"0abcd", "4efgX"}, true},
		"after a gap":     {[]string{"4efgX"}, false}, // the target judges
		"wrong reread":    {[]string{"0abcd", "0XXXXefgh"}, false},
		"wrong from then": {[]string{"0Xbcd", "4efgh"}, true},
	} {
		f := newFrontier(d)
		var verdict error
		for _, p := range c.pieces {
			off := int64(p[0] - '0')
			f.write(off, []byte(p[1:]))
			verdict = f.verdict(off + int64(len(p)-1))
		}
		if (verdict != nil) != c.bad {
			t.Errorf("%s: verdict %v, want bad = %v", name, verdict, c.bad)
		}
	}
}
