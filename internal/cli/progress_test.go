package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// events are those of two images, one of which fails; a part of a blob is read
// twice.
func events(t *testing.T) ([]relocate.Pair, []relocate.Event) {
	t.Helper()
	var pairs []relocate.Pair
	for _, s := range []string{"alpine:3.20", "quay.io/a/b:v1"} {
		r, err := ref.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, relocate.Pair{Source: r})
	}
	return pairs, []relocate.Event{
		{Kind: relocate.ImageStarted, Image: 0},
		{Kind: relocate.ImageFound, Image: 0, Bytes: 300},
		{Kind: relocate.ImageStarted, Image: 1},
		{Kind: relocate.BlobProgress, Image: 0, Digest: "a", Bytes: 60},
		{Kind: relocate.BlobProgress, Image: 0, Digest: "a", Bytes: 100},
		{Kind: relocate.BlobDone, Image: 0, Digest: "a", Bytes: 100},
		{Kind: relocate.BlobDone, Image: 0, Digest: "b", Bytes: 200},
		{Kind: relocate.ImageCopied, Image: 1, Err: errors.New("no")},
		{Kind: relocate.ImageCopied, Image: 0},
	}
}

func TestProgressLines(t *testing.T) {
	pairs, all := events(t)
	var out bytes.Buffer
	p := newProgress(Env{Stderr: &out}, false, pairs, ref.Ref.Familiar)
	for _, e := range all {
		p.observe(e)
	}
	p.finish(relocate.Report{Totals: relocate.Totals{Images: 2, Failed: 1}})
	want := "entrepot: 1/2 quay.io/a/b:v1: failed\nentrepot: 2/2 alpine:3.20: in place\nentrepot: 1 of 2 images in place; "
	if !strings.HasPrefix(out.String(), want) {
		t.Errorf("got %q, want it to begin with %q", out.String(), want)
	}
	out.Reset()
	p = newProgress(Env{Stderr: &out}, true, pairs, ref.Ref.Familiar)
	for _, e := range all {
		p.observe(e)
	}
	p.finish(relocate.Report{})
	if out.Len() > 0 {
		t.Errorf("with --quiet: %q", out.String())
	}
}

// TestTally holds that all of an image is counted once.
func TestTally(t *testing.T) {
	_, all := events(t)
	sum := newTally()
	for _, e := range all {
		sum.add(e)
	}
	if sum.done != 300 || sum.all != 300 || len(sum.reading) != 0 {
		t.Errorf("%d of %d bytes, %v under way, want 300 of 300 and nothing", sum.done, sum.all, sum.reading)
	}
}

// TestBars holds that bars end with their images, and all of them at last.
func TestBars(t *testing.T) {
	pairs, all := events(t)
	var out bytes.Buffer
	b := newBars(&out)
	for i := range 3 * maxBars {
		b.observe(relocate.Event{Kind: relocate.ImageFound, Image: 10 + i, Bytes: 10}, "other")
	}
	if len(b.shown) != maxBars {
		t.Errorf("%d bars, want %d", len(b.shown), maxBars)
	}
	for _, e := range all {
		b.observe(e, pairs[e.Image].Source.Familiar())
	}
	b.finish()
	if len(b.shown) != 0 || b.sum.done != 300 || b.sum.all != 300+3*maxBars*10 {
		t.Errorf("%d bars left, %d of %d bytes", len(b.shown), b.sum.done, b.sum.all)
	}
}

// TestCount holds that one thing is singular, wherever things are counted.
func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 images are", 1: "1 image is", 2: "2 images are"} {
		if got := count(n, "image") + " " + are(n); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	var out bytes.Buffer
	newProgress(Env{Stderr: &out}, false, nil, ref.Ref.Familiar).finish(relocate.Report{Totals: relocate.Totals{Images: 1, Mounted: 1}})
	if got, want := out.String(), "entrepot: 1 of 1 image in place; read 0 B, pushed 0 B, mounted 1 blob, in 0.0 s\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
