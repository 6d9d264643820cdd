package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"pgregory.net/rapid"
)

// TestGoesOnAnywhere holds design 5.1: whatever breaks where, the reader gets
// each byte once and in order, and each byte is fetched once.
func TestGoesOnAnywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		labels := []string{"a", "b", "original"}[:rapid.IntRange(1, 3).Draw(rt, "places")]
		size := rapid.Int64Range(0, 200_000).Draw(rt, "size")
		off := rapid.Int64Range(0, size).Draw(rt, "offset")
		faults := rapid.SliceOfN(rapid.Custom(drawFault), 0, 7).Draw(rt, "faults") // eight could be too many: at the end there is no progress
		// Outside of the bubble: Draw may panic, and rapid catches it only
		// in its own goroutine.
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(labels...)
			d := w.AddBlob(path, regtest.Random(1, size)).Digest
			for _, f := range faults {
				w.places[f.place%len(labels)].On(f.match, f.trouble)
			}
			got, err := read(t.Context(), w, d, off)
			if err != nil || !bytes.Equal(got, mustRead(regtest.Random(1, size))[off:]) {
				rt.Errorf("%d bytes, %v, want the %d from %d", len(got), err, size-off, off)
			}
			if n := sum(w.sent(d)); n != size-off {
				rt.Errorf("%d bytes were fetched, want %d", n, size-off)
			}
		})
	})
}

type drawnFault struct {
	place   int
	match   regtest.Match
	trouble regtest.Trouble
}

func drawFault(rt *rapid.T) drawnFault {
	return drawnFault{
		rapid.IntRange(0, 2).Draw(rt, "place"),
		regtest.Match{Kind: regtest.Blob, After: rapid.IntRange(0, 2).Draw(rt, "after"), Times: 1},
		regtest.Trouble{
			NoSize: rapid.Bool().Draw(rt, "no size"),
			End:    rapid.SampledFrom([]regtest.End{regtest.EndCut, regtest.EndReset, regtest.EndStall}).Draw(rt, "end"),
			At:     rapid.Int64Range(1, 100_000).Draw(rt, "at"),
		},
	}
}

// TestTenCuts is row 1 of the fault matrix: ten cuts, each byte fetched once,
// at one place and at two.
func TestTenCuts(t *testing.T) {
	for _, labels := range [][]string{{"original"}, {"a", "original"}} {
		synctest.Test(t, func(t *testing.T) {
			const size = 4 << 20
			w := newWorld(labels...)
			d := w.AddBlob(path, regtest.Random(1, size)).Digest
			for range 10 {
				w.places[0].On(regtest.Match{Times: 1}, regtest.Trouble{End: regtest.EndCut, At: 1 + rand.Int64N(size/10)})
			}
			got, err := read(t.Context(), w, d, 0)
			if err != nil || oci.FromBytes(got, d) != d {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if n := sum(w.sent(d)); n != size {
				t.Errorf("%d bytes were fetched for %d", n, size)
			}
			if got, want := w.asked()[0], 11; got != want {
				t.Errorf("the place was asked %d times, want %d: it always gave something", got, want)
			}
			if len(w.events) != 10 || w.events[9].Kind != mirror.Resume || w.events[9].Err == nil {
				t.Errorf("%d events, want 10 resumes", len(w.events))
			}
		})
	}
}

// TestStall is row 2: a stall ends after 30 s, and the other place goes on.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a", "original")
		d := w.AddBlob(path, regtest.Random(1, 100_000)).Digest
		w.all(0, regtest.Trouble{End: regtest.EndStall, At: 1000})
		start := time.Now()
		got, err := read(t.Context(), w, d, 0)
		if err != nil || len(got) != 100_000 {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("it took %v, want the idle time", took)
		}
		if got := w.sent(d); !slices.Equal(got, []int64{1000, 99_000}) {
			t.Errorf("the places gave %v", got)
		}
		if got, err := read(t.Context(), w, d, 0); err != nil || len(got) != 100_000 || w.asked()[0] != 1 {
			t.Errorf("%d bytes, %v, asked %v: want a place that stalled to be asked last", len(got), err, w.asked())
		}
	})
}

// TestStallSeenBelow holds that a stall that the place's own reader noticed
// counts as one: the other place goes on.
func TestStallSeenBelow(t *testing.T) {
	var first, second int
	place := func(asked *int, end error) oci.Reader {
		return readerFunc(func(_ context.Context, off int64) (oci.Blob, error) {
			*asked++
			body := io.MultiReader(bytes.NewReader([]byte("0123456789")[off:off+5]), iotest.ErrReader(end))
			return oci.Blob{Descriptor: oci.Descriptor{Size: 10}, Offset: off, Body: io.NopCloser(body)}, nil
		})
	}
	stalls := place(&first, &oci.Error{Kind: oci.ErrUnavailable, Timeout: true})
	m := mirror.New(mirror.Config{Plan: func(_ mirror.Op, r ref.Ref) ([]mirror.Place, error) {
		return []mirror.Place{{Reader: stalls, Name: r.Name, Label: "a"}, {Reader: place(&second, io.EOF), Name: r.Name, Label: "b"}}, nil
	}})
	got, err := read(t.Context(), m, regtest.DigestOf(regtest.Bytes([]byte("0123456789"))), 0)
	if string(got) != "0123456789" || err != nil || first != 1 || second != 1 {
		t.Errorf("%q, %v, asked %d and %d times", got, err, first, second)
	}
}

// TestSlowReader holds that a reader that takes its time is no stall of the
// place.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("original")
		d := w.AddBlob(path, regtest.Random(1, 100)).Digest
		b, err := w.Blob(t.Context(), name, d, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Body.Close()
		for range 100 {
			time.Sleep(time.Hour)
			if _, err := b.Body.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.asked(); got[0] != 1 {
			t.Errorf("asked %v, want one request", got)
		}
	})
}

// TestGivesUp holds that a blob is tried eight times in a row without a byte,
// and that what was read before is good.
func TestGivesUp(t *testing.T) {
	for _, labels := range [][]string{{"original"}, {"a", "original"}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(labels...)
			d := w.AddBlob(path, regtest.Random(1, 1000)).Digest
			w.places[0].On(regtest.Match{Times: 1}, regtest.Trouble{End: regtest.EndCut, At: 100})
			for i := range w.places {
				w.all(i, regtest.Down())
			}
			got, err := read(t.Context(), w, d, 0)
			if len(got) != 100 || !errors.Is(err, oci.ErrUnavailable) {
				t.Errorf("%d bytes, %v, want 100 and unavailable", len(got), err)
			}
			n := 0
			for _, asked := range w.asked() {
				n += asked
			}
			if n != 1+8 {
				t.Errorf("%d requests, want 1 and 8 more", n)
			}
		})
	}
}

// TestProgressResets holds that there is no limit to attempts that each bring
// a byte.
func TestProgressResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a", "original")
		d := w.AddBlob(path, regtest.Random(1, 50)).Digest
		for i := range w.places { // three times nothing, then a byte
			for range 100 {
				w.places[i].On(regtest.Match{Times: 3}, regtest.Trouble{End: regtest.EndCut, At: 0})
				w.places[i].On(regtest.Match{Times: 1}, regtest.Trouble{End: regtest.EndCut, At: 1})
			}
		}
		if got, err := read(t.Context(), w, d, 0); err != nil || len(got) != 50 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// TestFirstRetryAtOnce holds that the first attempt after a failure does not
// wait, even at the same place.
func TestFirstRetryAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("original")
		d := w.AddBlob(path, regtest.Random(1, 50)).Digest
		w.places[0].On(regtest.Match{Times: 1}, regtest.Trouble{End: regtest.EndCut, At: 0})
		start := time.Now()
		if got, err := read(t.Context(), w, d, 0); err != nil || len(got) != 50 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// TestPrefersTheOther holds who is asked after a failure.
func TestPrefersTheOther(t *testing.T) {
	cut := func(at int64) regtest.Trouble { return regtest.Trouble{End: regtest.EndCut, At: at} }
	for label, c := range map[string]struct {
		first, second regtest.Trouble // of the first place
		want          []int           // requests
	}{
		"with progress the same":                    {cut(10), regtest.Trouble{}, []int{2, 0}},
		"without progress the other":                {cut(0), regtest.Trouble{}, []int{1, 1}},
		"with progress, then refused":               {cut(10), regtest.Down(), []int{2, 1}},
		"with progress, then nothing":               {cut(10), cut(0), []int{2, 1}},
		"with progress, then it is gone":            {cut(10), fails(oci.ErrNotFound), []int{2, 1}},
		"with progress, then it is another content": {cut(10), regtest.Trouble{Extra: 1}, []int{2, 1}},
		"with progress, then it has other rights":   {cut(10), fails(oci.ErrDenied), []int{2, 1}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld("a", "original")
			d := w.AddBlob(path, regtest.Random(1, 1000)).Digest
			w.places[0].On(regtest.Match{Times: 1}, c.first)
			w.places[0].On(regtest.Match{}, c.second)
			start := time.Now()
			got, err := read(t.Context(), w, d, 0)
			if err != nil || oci.FromBytes(got, d) != d {
				t.Errorf("%s: %d bytes, %v", label, len(got), err)
			}
			expect(t, label, w.asked(), c.want)
			if took := time.Since(start); took != 0 {
				t.Errorf("%s: took %v, want the first attempt at each place at once", label, took)
			}
		})
	}
}

// TestLeftAlone holds that a place that asks to be left alone is, within
// reason, and no reader waits longer than that.
func TestLeftAlone(t *testing.T) {
	for after, want := range map[time.Duration]bool{20 * time.Second: true, 10 * time.Minute: false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld("original")
			d := w.AddBlob(path, regtest.Random(1, 1000)).Digest
			w.places[0].On(regtest.Match{Times: 1}, regtest.Trouble{End: regtest.EndCut, At: 10})
			w.places[0].On(regtest.Match{Times: 1}, busy(after))
			start := time.Now()
			got, err := read(t.Context(), w, d, 0)
			if (err == nil) != want {
				t.Errorf("%v: %d bytes, %v", after, len(got), err)
			}
			if took := time.Since(start); want && took != after || !want && took != 0 {
				t.Errorf("%v: took %v", after, took)
			}
		})
	}
}
