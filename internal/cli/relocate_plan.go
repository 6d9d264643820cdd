package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/relocate"
)

// printPlan tells what a run would do. Images that cannot be read, or not be
// written for want of a right, give the exit code that the run would have.
func (r *relocation) printPlan(ctx context.Context, pairs []relocate.Pair) error {
	f, err := relocate.Foresee(ctx, r.x.cfg, pairs)
	if err != nil {
		return r.x.explain(ctx, relocate.Report{}, err, "")
	}
	if r.opts.json {
		enc := json.NewEncoder(r.x.env.Stdout)
		enc.SetEscapeHTML(false)
		err = enc.Encode(f)
	} else {
		err = planTable(r.x.env.Stdout, f)
	}
	if err != nil {
		return err
	}
	failed, rights := 0, 0
	for _, img := range f.Images {
		if img.Error == "" {
			continue
		}
		failed++
		if slices.Contains([]string{relocate.Class(oci.ErrUnauthorized), relocate.Class(oci.ErrDenied)}, img.Class) {
			rights++
		}
		printError(r.x.env.Stderr, fmt.Errorf("%s: %s", img.Source, img.Error), img.Hint)
	}
	switch {
	case failed == 0:
		return nil
	case failed == rights:
		return &fault{exitAuth, fmt.Errorf("%d of %s may not be read or written", failed, count(len(f.Images), "image")), ""}
	}
	return &fault{exitSome, fmt.Errorf("%d of %s would fail", failed, count(len(f.Images), "image")), ""}
}

// planTable prints the images, then what goes where.
func planTable(w io.Writer, f relocate.Forecast) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, img := range f.Images {
		what := "copy"
		switch {
		case img.Error != "":
			what = "fail"
		case img.Present:
			what = "present"
		case img.Existing != "":
			what = "replace"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", what, img.Source, img.Target, size(img.Bytes))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range f.Sources {
		fmt.Fprintf(t, "from\t%s\tpull %s\n", s.Registry, size(s.Pull))
	}
	for _, s := range f.Targets {
		fmt.Fprintf(t, "to\t%s\tpush %s, mount %s, %s there\n", s.Registry, size(s.Push), size(s.Mount), size(s.Present))
	}
	fmt.Fprintf(t, "in all\t%s\t%s, %s of them different\n", count(len(f.Images), "image"), size(f.ListedBytes), size(f.UniqueBytes))
	if f.Referrers > 0 {
		fmt.Fprintf(t, "with\t%s\t%s\n", count(f.Referrers, "referrer"), size(f.ReferrerBytes))
	}
	return t.Flush()
}

// count prints a number of things: one is singular.
func count[N int | int64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// are is the verb for so many things.
func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// size prints bytes in the largest unit that gives at least 1.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
