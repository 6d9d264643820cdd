package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const path = "library/x"

var name = ref.Name{Host: "docker.io", Path: path}

// A world is a few places with the same content, a, b, … and the original last,
// and a mirror over them.
type world struct {
	*regtest.Shelf
	places []*regtest.Memory
	mu     sync.Mutex // guards events
	events []mirror.Event
	*mirror.Mirror
}

func newWorld(labels ...string) *world {
	w := &world{Shelf: regtest.NewShelf()}
	for _, label := range labels {
		w.places = append(w.places, regtest.NewMemory(label, w.Shelf))
	}
	w.Mirror = mirror.New(mirror.Config{
		Plan: func(_ mirror.Op, r ref.Ref) ([]mirror.Place, error) {
			var plan []mirror.Place
			for i, label := range labels {
				plan = append(plan, mirror.Place{Reader: w.places[i], Name: r.Name, Label: label, Tags: !strings.HasPrefix(label, "digests")})
			}
			return plan, nil
		},
		Observe: func(e mirror.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		},
	})
	return w
}

// asked returns how often each place was asked.
func (w *world) asked() []int {
	var n []int
	for _, p := range w.places {
		n = append(n, len(p.Log()))
	}
	return n
}

// all troubles every call of a place.
func (w *world) all(place int, t regtest.Trouble) { w.places[place].On(regtest.Match{}, t) }

func fails(kind error) regtest.Trouble { return regtest.Trouble{Err: &oci.Error{Kind: kind}} }

func busy(after time.Duration) regtest.Trouble {
	return regtest.Trouble{Err: &oci.Error{Kind: oci.ErrUnavailable, Code: oci.CodeTooManyRequests, RetryAfter: after}}
}

// operations are all that a mirror can be asked for an image that is there.
func operations(w *world, img regtest.Built) map[string]func(context.Context) error {
	tag, layer := name.WithTag("v1"), img.Layers[0].Digest
	return map[string]func(context.Context) error{
		"resolve":  func(ctx context.Context) error { _, err := w.Resolve(ctx, tag); return err },
		"manifest": func(ctx context.Context) error { _, err := w.Manifest(ctx, name.WithDigest(img.Digest)); return err },
		"stat":     func(ctx context.Context) error { _, err := w.Stat(ctx, name, layer); return err },
		"blob": func(ctx context.Context) error {
			b, err := w.Blob(ctx, name, layer, 0)
			if err == nil {
				err = b.Body.Close()
			}
			return err
		},
		"tags": func(ctx context.Context) error {
			for tag, err := range w.Tags(ctx, name, "") {
				if tag != "v1" || err != nil {
					return fmt.Errorf("yielded %q: %w", tag, err)
				}
			}
			return nil
		},
		"referrers": func(ctx context.Context) error {
			got, err := w.Referrers(ctx, name, img.Digest, "")
			if err == nil && len(got) != 1 {
				err = fmt.Errorf("%d referrers", len(got))
			}
			return err
		},
	}
}

// TestFallsBack holds that each failure of a mirror goes on to the original,
// for each thing that can be asked (F7).
func TestFallsBack(t *testing.T) {
	troubles := map[string]regtest.Trouble{
		"down":         regtest.Down(),
		"busy":         busy(time.Minute),
		"no registry":  fails(oci.ErrMismatch),
		"unauthorized": fails(oci.ErrUnauthorized),
		"denied":       fails(oci.ErrDenied),
		"lacks it":     fails(oci.ErrNotFound),
		"unsupported":  fails(oci.ErrUnsupported),
		"too large":    fails(oci.ErrTooLarge),
		"unkind":       {Err: errors.New("of no kind")},
		"silent":       {Hold: true},
	}
	for label, trouble := range troubles {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld("a", "original")
			img := w.AddImage(path, regtest.Image{Layers: []int64{10}}, "v1")
			w.AddReferrer(path, img.Descriptor(), "application/x.sig", 1)
			w.all(0, trouble)
			for op, run := range operations(w, img) {
				w.events = nil
				o := new(oci.Outcome)
				if err := run(oci.WithOutcome(t.Context(), o)); err != nil {
					t.Errorf("%s, %s: %v", label, op, err)
				}
				if o.From != "original" {
					t.Errorf("%s, %s: the outcome is from %q", label, op, o.From)
				}
				time.Sleep(time.Hour) // the place is well again
				if len(w.events) != 1 || w.events[0].Kind != mirror.Fallback || w.events[0].From != "a" || w.events[0].To != "original" {
					t.Errorf("%s, %s: events %v", label, op, w.events)
				}
			}
		})
	}
}

// TestVerdict holds what is said when no place has an answer.
func TestVerdict(t *testing.T) {
	slow := regtest.Trouble{Err: &oci.Error{Kind: oci.ErrUnavailable, Timeout: true}}
	for label, c := range map[string]struct {
		mirror, original regtest.Trouble
		want             error
		after            time.Duration
		timeout          bool
	}{
		"the original lacks it":           {regtest.Down(), fails(oci.ErrNotFound), oci.ErrNotFound, 0, false},
		"the original denies it":          {fails(oci.ErrNotFound), fails(oci.ErrDenied), oci.ErrDenied, 0, false},
		"the original asks who we are":    {busy(time.Second), fails(oci.ErrUnauthorized), oci.ErrUnauthorized, 0, false},
		"both lack it":                    {fails(oci.ErrNotFound), fails(oci.ErrNotFound), oci.ErrNotFound, 0, false},
		"nobody knows":                    {fails(oci.ErrNotFound), regtest.Down(), oci.ErrUnavailable, 0, false},
		"nobody knows, as it is no place": {fails(oci.ErrNotFound), fails(oci.ErrMismatch), oci.ErrMismatch, 0, false},
		"no registry and down":            {regtest.Down(), fails(oci.ErrMismatch), oci.ErrUnavailable, 0, false},
		"one says when":                   {busy(time.Minute), regtest.Down(), oci.ErrUnavailable, time.Minute, false},
		"the later":                       {busy(time.Minute), busy(time.Hour), oci.ErrUnavailable, time.Hour, false},
		"in time":                         {slow, regtest.Down(), oci.ErrUnavailable, 0, true},
	} {
		w := newWorld("a", "original")
		w.all(0, c.mirror)
		w.all(1, c.original)
		_, err := w.Resolve(t.Context(), name.WithTag("v1"))
		e, ok := errors.AsType[*oci.Error](err)
		if !ok || !errors.Is(err, c.want) || e.RetryAfter != c.after || e.Timeout != c.timeout {
			t.Errorf("%s: %v, want %v, after %v, timeout %v", label, err, c.want, c.after, c.timeout)
		}
	}
}

// TestTagsOnlyWhereTheyMayBe holds that what changes is asked where Tags says
// so, and what a digest names everywhere.
func TestTagsOnlyWhereTheyMayBe(t *testing.T) {
	w := newWorld("digests", "original")
	img := w.AddImage(path, regtest.Image{Layers: []int64{10}}, "v1")
	w.AddReferrer(path, img.Descriptor(), "application/x.sig", 1)
	want := map[string]int{"resolve": 1, "tags": 1, "referrers": 1, "manifest": 0, "stat": 0, "blob": 0}
	for op, run := range operations(w, img) {
		for _, p := range w.places {
			p.ResetLog()
		}
		if err := run(t.Context()); err != nil {
			t.Errorf("%s: %v", op, err)
		}
		if got := slices.Index(w.asked(), 1); got != want[op] {
			t.Errorf("%s was asked at place %d (%v), want %d", op, got, w.asked(), want[op])
		}
	}
	w = newWorld("digests")
	if _, err := w.Resolve(t.Context(), name.WithTag("v1")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("no place for tags: %v, want not found", err)
	}
}

func TestNameOfThePlace(t *testing.T) {
	far := regtest.NewMemory("far", nil)
	img := far.AddImage("proxy/library/x", regtest.Image{Layers: []int64{10}}, "v1")
	m := mirror.New(mirror.Config{Plan: func(_ mirror.Op, r ref.Ref) ([]mirror.Place, error) {
		return []mirror.Place{{Reader: far, Name: ref.Name{Host: "far", Path: "proxy/" + r.Path}, Label: "far", Tags: true}}, nil
	}})
	if got, err := m.Resolve(t.Context(), name.WithTag("v1")); err != nil || got.Digest != img.Digest {
		t.Errorf("Resolve = %v, %v", got, err)
	}
	if got, err := m.Stat(t.Context(), name, img.Layers[0].Digest); err != nil || got.Size != 10 {
		t.Errorf("Stat = %v, %v", got, err)
	}
}

func TestPlanFails(t *testing.T) {
	broken := errors.New("no plan")
	m := mirror.New(mirror.Config{Plan: func(mirror.Op, ref.Ref) ([]mirror.Place, error) { return nil, broken }})
	if _, err := m.Blob(t.Context(), name, regtest.DigestOf(regtest.Bytes(nil)), 0); !errors.Is(err, broken) {
		t.Errorf("Blob: %v, want the plan's error", err)
	}
	for _, err := range m.Tags(t.Context(), name, "") {
		if !errors.Is(err, broken) {
			t.Errorf("Tags: %v, want the plan's error", err)
		}
	}
}

// TestCallerLeaves holds that nobody else is asked for a caller who has gone.
func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a", "original")
		img := w.AddImage(path, regtest.Image{Layers: []int64{10}}, "v1")
		w.all(0, regtest.Trouble{Hold: true})
		for op, run := range operations(w, img) {
			gone := errors.New("gone")
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, gone)
			if err := run(ctx); !errors.Is(err, gone) {
				t.Errorf("%s: %v, want the cause of the context", op, err)
			}
			cancel()
		}
		if got := w.asked(); got[1] != 0 {
			t.Errorf("asked %v, want the original to be left alone", got)
		}
	})
}

// TestHealth holds that a place that failed is asked last for 30 s, and that a
// place that lacks something has not failed.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a", "original")
		img := w.AddImage(path, regtest.Image{})
		ask := func() []int {
			for _, p := range w.places {
				p.ResetLog()
			}
			w.Manifest(t.Context(), name.WithDigest(img.Digest))
			return w.asked()
		}
		sick := w.places[0].On(regtest.Match{}, regtest.Trouble{Delay: 5 * time.Second, Err: oci.ErrUnavailable})
		expect(t, "first", ask(), []int{1, 1})
		expect(t, "within 30 s", ask(), []int{0, 1})
		down := w.places[1].On(regtest.Match{}, regtest.Down())
		expect(t, "the original is down too", ask(), []int{1, 1})
		down.Remove()
		sick.Remove()
		time.Sleep(31 * time.Second)
		expect(t, "later", ask(), []int{1, 0})

		lacks := w.places[0].On(regtest.Match{}, fails(oci.ErrNotFound))
		expect(t, "lacks it", ask(), []int{1, 1})
		expect(t, "lacks it again", ask(), []int{1, 1})
		lacks.Remove()
		w.places[0].On(regtest.Match{Times: 1}, busy(time.Hour))
		expect(t, "busy", ask(), []int{1, 1})
		time.Sleep(4 * time.Minute)
		expect(t, "still busy", ask(), []int{0, 1})
		time.Sleep(2 * time.Minute)
		expect(t, "no longer than 5 min", ask(), []int{1, 0})
	})
}

func expect(t *testing.T, what string, got, want []int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: asked %v, want %v", what, got, want)
	}
}

// TestOneProbe holds that when the time of a dead place is over, one request
// tries it and the others do not wait.
func TestOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a", "original")
		img := w.AddImage(path, regtest.Image{})
		ask := func() {
			if _, err := w.Manifest(t.Context(), name.WithDigest(img.Digest)); err != nil {
				t.Error(err)
			}
		}
		w.all(0, regtest.Trouble{Delay: 5 * time.Second, Err: oci.ErrUnavailable})
		ask()
		time.Sleep(31 * time.Second)
		w.places[0].ResetLog()
		w.places[1].ResetLog()
		var all sync.WaitGroup
		for range 10 {
			all.Go(ask)
		}
		synctest.Wait()
		expect(t, "ten at once", w.asked(), []int{1, 9})
		all.Wait()
		expect(t, "and the probe fell back", w.asked(), []int{1, 10})
	})
}

// TestEmptyReferrers holds that a mirror without signatures does not hide
// those of the original, and that nothing is called none that nobody knows.
func TestEmptyReferrers(t *testing.T) {
	bare := regtest.NewMemory("a", nil)
	full := regtest.NewMemory("original", nil)
	img := full.AddImage(path, regtest.Image{})
	m := mirror.New(mirror.Config{Plan: func(_ mirror.Op, r ref.Ref) ([]mirror.Place, error) {
		return []mirror.Place{{Reader: bare, Name: r.Name, Label: "a", Tags: true}, {Reader: full, Name: r.Name, Label: "original", Tags: true}}, nil
	}})
	if got, err := m.Referrers(t.Context(), name, img.Digest, ""); err != nil || len(got) != 0 {
		t.Errorf("none: %v, %v", got, err)
	}
	full.AddReferrer(path, img.Descriptor(), "application/x.sig", 1)
	if got, err := m.Referrers(t.Context(), name, img.Digest, ""); err != nil || len(got) != 1 {
		t.Errorf("one at the original: %v, %v", got, err)
	}
	full.On(regtest.Match{}, regtest.Down())
	if _, err := m.Referrers(t.Context(), name, img.Digest, ""); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("the original is down: %v, want unavailable", err)
	}
}

// TestReferrersAlone holds that behind an air gap the word of a mirror counts,
// of one without the API too, and that this is told once.
func TestReferrersAlone(t *testing.T) {
	bare, gone := regtest.NewMemory("a", nil), regtest.NewMemory("original", nil)
	gone.On(regtest.Match{}, regtest.Down())
	img := gone.AddImage(path, regtest.Image{})
	var said bytes.Buffer
	m := mirror.New(mirror.Config{Alone: true, Log: slog.New(slog.NewTextHandler(&said, nil)), Plan: func(_ mirror.Op, r ref.Ref) ([]mirror.Place, error) {
		return []mirror.Place{{Reader: bare, Name: r.Name, Label: "a", Tags: true}, {Reader: gone, Name: r.Name, Label: "original", Tags: true}}, nil
	}})
	for range 2 {
		if got, err := m.Referrers(t.Context(), name, img.Digest, ""); err != nil || len(got) != 0 {
			t.Errorf("none at the mirror: %v, %v", got, err)
		}
		if _, err := m.Subjects(t.Context(), name, img.Digest); !errors.Is(err, oci.ErrUnsupported) {
			t.Errorf("no API at the mirror: %v, want unsupported", err)
		}
	}
	if n := strings.Count(said.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, &said)
	}
}

func TestTagsGoOnAfter(t *testing.T) {
	w := newWorld("a", "original")
	w.AddImage(path, regtest.Image{}, "v1", "v2", "v3")
	w.all(0, regtest.Down())
	var got []string
	for tag, err := range w.Tags(t.Context(), name, "v1") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, tag)
		break // an early end must leave nothing behind
	}
	if !slices.Equal(got, []string{"v2"}) {
		t.Errorf("tags %v", got)
	}
}
