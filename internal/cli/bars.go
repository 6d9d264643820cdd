package cli

import (
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/entrepot/entrepot/relocate"
)

// maxBars is how many images have a bar at once; a terminal is no taller.
const maxBars = 8

// Bars are those of a transfer on a terminal: one for all of it, and one for
// each of the images that have been under way for longest. They are not safe for
// concurrent use.
type bars struct {
	set   *mpb.Progress
	total *mpb.Bar
	sum   tally
	shown map[int]*mpb.Bar // :: image → bar
	count map[int]*tally   // :: image that is under way → bytes
}

func newBars(w io.Writer) *bars {
	b := &bars{set: mpb.New(mpb.WithOutput(w), mpb.WithAutoRefresh()), shown: map[int]*mpb.Bar{}, count: map[int]*tally{}}
	b.total = b.bar("all", 1<<30)
	return b
}

func (b *bars) bar(name string, priority int) *mpb.Bar {
	return b.set.AddBar(0,
		mpb.BarPriority(priority),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(name, decor.WC{C: decor.DindentRight | decor.DextraSpace})),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.Name(" "), decor.AverageSpeed(decor.SizeB1024(0), "% .1f")),
	)
}

// observe shows an event of the image of that name.
func (b *bars) observe(e relocate.Event, name string) {
	t := b.count[e.Image]
	if t == nil {
		t = newTally()
		b.count[e.Image] = t
	}
	done, all := t.add(e)
	b.sum.done, b.sum.all = b.sum.done+done, b.sum.all+all
	if all != 0 && b.shown[e.Image] == nil && len(b.shown) < maxBars {
		b.shown[e.Image] = b.bar(name, e.Image)
	}
	if bar := b.shown[e.Image]; bar != nil {
		bar.SetTotal(t.all, false)
		bar.SetCurrent(t.done)
	}
	b.total.SetTotal(b.sum.all, false)
	b.total.SetCurrent(b.sum.done)
	if e.Kind == relocate.ImageCopied {
		b.drop(e.Image)
	}
}

// drop takes the bar of an image away.
func (b *bars) drop(image int) {
	if bar := b.shown[image]; bar != nil {
		bar.Abort(true)
	}
	delete(b.shown, image)
	delete(b.count, image)
}

// finish takes all bars away.
func (b *bars) finish() {
	for image := range b.shown {
		b.drop(image)
	}
	b.total.Abort(true)
	b.set.Wait()
}
