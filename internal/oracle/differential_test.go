package oracle

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	configurations = 400 // of each judge, where no -duration is given
	references     = 6   // for each configuration
	reports        = 8   // differences that are printed for a judge
)

// TestDifferential holds that each client and Entrepot agree about random
// configurations.
func TestDifferential(t *testing.T) {
	authority := newAuthority(t)
	for _, j := range judges() {
		t.Run(j.name, func(t *testing.T) {
			d := &differential{judge: &j, dir: filepath.Join(t.TempDir(), "c"), authority: authority}
			end := time.Now().Add(*duration)
			for n := *from; d.differences < reports && (*duration > 0 && time.Now().Before(end) || *duration == 0 && n < *from+configurations); n++ {
				d.configuration(t, n)
			}
			t.Logf("%s: seed %d, %d configurations, %d plans, %d of them refused, %d differences",
				j.name, *seed, d.configurations, d.plans, d.refused, d.differences)
		})
	}
}

// A differential counts what one judge was asked.
type differential struct {
	judge     *judge
	dir       string
	authority authority

	configurations, plans, refused, differences int
}

// configuration makes one and asks for a few images.
func (d *differential) configuration(t *testing.T, n uint64) {
	g := newGen(*seed, n, d.authority)
	fs := d.judge.files(g)
	theirs, ours := d.load(t, fs)
	d.configurations++
	for range references {
		name := d.judge.reference(g, fs)
		d.plans++
		diff, refused := d.compare(theirs, ours, name)
		if refused {
			d.refused++
		}
		if diff != "" {
			d.differences++
			d.report(t, n, fs, name)
			return
		}
	}
}

// load lets both read a configuration.
func (d *differential) load(t *testing.T, fs files) (theirs, ours asker) {
	fs.write(t, d.dir)
	m := machine{dir: d.dir}
	ours, err := d.judge.ours(m)
	if err != nil {
		t.Fatal(err)
	}
	return d.judge.theirs(m), ours
}

// compare asks both. It returns what differs, "" for nothing, and whether the
// client refuses.
func (d *differential) compare(theirs, ours asker, name string) (diff string, refused bool) {
	sees := d.judge.sees & differentialSight
	want, wantErr := theirs(name)
	got, err := ours(name)
	if wantErr != nil || err != nil {
		if (wantErr == nil) == (err == nil) {
			return "", true
		}
		return fmt.Sprintf("%s: %v %+v\nentrepot: %v %+v\n", d.judge.name, wantErr, want.only(sees), err, got.only(sees)), wantErr != nil
	}
	return cmp.Diff(want.only(sees), got.only(sees)), false
}

// differs reports what differs for a configuration as a whole.
func (d *differential) differs(t *testing.T, fs files, name string) string {
	theirs, ours := d.load(t, fs)
	diff, _ := d.compare(theirs, ours, name)
	return diff
}

// report prints the smallest configuration that still shows a difference.
func (d *differential) report(t *testing.T, n uint64, fs files, name string) {
	fs = d.minimise(t, fs, name)
	var b strings.Builder
	for _, file := range slices.Sorted(maps.Keys(fs)) {
		if !strings.HasPrefix(fs[file], "-----BEGIN") {
			fmt.Fprintf(&b, "--- %s\n%s\n", file, fs[file])
		}
	}
	t.Errorf("-seed %d -from %d: %q\n%s(-%s +entrepot)\n%s", *seed, n, name, &b, d.judge.name, d.differs(t, fs, name))
}

// minimise drops files, lines and then bytes while a difference is left.
func (d *differential) minimise(t *testing.T, fs files, name string) files {
	fs = maps.Clone(fs)
	for _, file := range slices.Sorted(maps.Keys(fs)) {
		text := fs[file]
		if delete(fs, file); d.differs(t, fs, name) != "" {
			continue
		}
		if !d.judge.whole && !strings.HasPrefix(text, "-----BEGIN") {
			for _, unit := range []string{"\n", ""} {
				text = shrink(text, unit, func(s string) bool {
					fs[file] = s
					return d.differs(t, fs, name) != ""
				})
			}
		}
		fs[file] = text
	}
	return fs
}

// shrink drops ever smaller runs of units, lines or bytes, while holds holds.
func shrink(text, unit string, holds func(string) bool) string {
	units := strings.SplitAfter(text, unit)
	for size := len(units) / 2; size > 0; size /= 2 {
		for i := 0; i+size <= len(units); {
			rest := slices.Delete(slices.Clone(units), i, i+size)
			if holds(strings.Join(rest, "")) {
				units = rest
			} else {
				i += size
			}
		}
	}
	return strings.Join(units, "")
}

// TestShrink holds that what is printed is as small as it can be.
func TestShrink(t *testing.T) {
	got := shrink("a = 1\nb = 2\nc = 3\nd = 4\n", "\n", func(s string) bool { return strings.Contains(s, "c = 3") })
	if want := "c = 3\n"; got != want {
		t.Errorf("shrunk to %q, want %q", got, want)
	}
}
