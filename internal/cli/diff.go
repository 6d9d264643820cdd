package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/relocate"
)

type diffOptions struct {
	inputFlags
	transferFlags
}

func newDiffCmd(env Env) *cobra.Command {
	var opts diffOptions
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Tell in which images and blobs two things differ",
		Long:  diffHelp(),
		Example: `  entrepot diff deploy/ images.tar
  entrepot diff images.tar receipt.json --json
  entrepot diff january.tar february.tar`,
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return diff(cmd.Context(), env, opts, args[0], args[1])
		},
	}
	opts.inputFlags.add(cmd)
	opts.sourceFlags.add(cmd)
	opts.networkFlags.add(cmd)
	opts.onExisting = string(relocate.Overwrite)
	f := cmd.Flags()
	f.StringSliceVar(&opts.platforms, "platform", nil, "of a multi-platform image these `PLATFORMS` alone, as linux/amd64")
	f.BoolVar(&opts.trimIndex, "trim-index", false, "with --platform: as an index of these platforms alone, which has another digest")
	f.BoolVar(&opts.noReferrers, "no-referrers", false, "without signatures, attestations and whatever else refers to the images")
	f.IntVar(&opts.jobs, "jobs", 0, "work on at most this `NUMBER` of images at once (default: as many as the registries take)")
	f.IntVar(&opts.retry, "retry", 0, "try each request this `NUMBER` of times (default 8)")
	f.BoolVar(&opts.json, "json", false, "print the difference as JSON")
	f.StringVar(&opts.logLevel, "log-level", "warn", "log from this `LEVEL` on: debug, info, warn or error; debug has a line per request")
	return cmd
}

// diffHelp is the long help of the command.
func diffHelp() string {
	return `Diff compares any two of these, and tells which images, manifests and blobs only
one of them has, and which names are different images:

  a set      the images that a document names, as its registries have them now
  a plan     what 'entrepot relocate --plan --json' printed
  an archive what 'entrepot save' wrote, or another tar with images
  a receipt  what 'entrepot receipt' wrote

What each is, is seen from its content. Images are compared by name; a destination
calls them something else than a document does, and between those two an image is
there when its manifest is. A plan knows no blobs. Of an archive that leaves out
what the far side has, that is not missed.

` + kindsHelp() + `

` + rulesHelp + `

Exit codes, as those of diff: 0 there is no difference, 1 there is one, or it
failed, which is told on standard error; 2 the command line is wrong, 3 an image
could not be read, 6 the registries refuse the credentials.`
}

// A side is one of the things that are compared.
type side struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // set, plan, archive or receipt
	has  relocate.Side
}

// A differenceJSON is what diff --json prints.
type differenceJSON struct {
	A     side `json:"a"`
	B     side `json:"b"`
	Equal bool `json:"equal"`
	relocate.Difference
}

// diff compares two things.
func diff(ctx context.Context, env Env, opts diffOptions, first, second string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if first == "-" && second == "-" {
		return usageError(errors.New("standard input can be one of the two"), "write one of them to a file")
	}
	a, err := opts.side(ctx, env, first)
	if err != nil {
		return err
	}
	b, err := opts.side(ctx, env, second)
	if err != nil {
		return err
	}
	d := differenceJSON{A: a, B: b, Difference: relocate.Diff(a.has, b.has)}
	d.Equal = d.Difference.Equal()
	if opts.json {
		err = (&printer{out: env.Stdout, json: true}).writeJSON(d)
	} else {
		err = d.print(env.Stdout)
	}
	if err == nil && !d.Equal {
		err = errDiffers
	}
	return err
}

// side reads one of the two.
func (opts diffOptions) side(ctx context.Context, env Env, name string) (side, error) {
	s := side{Name: name}
	if opts.kind == "" && isArchive(name) {
		r, base, err := archiveReceipt(ctx, name)
		s.Kind, s.has = "archive", r.Side()
		s.has.Elsewhere = map[oci.Digest]bool{}
		for digest := range base {
			s.has.Elsewhere[digest] = true
		}
		return s, err
	}
	if data, ok := jsonFile(name); ok && opts.kind == "" {
		r, err := relocate.ParseReceipt(data)
		if err == nil {
			s.Kind, s.has = "receipt", r.Side()
			return s, nil
		}
		if !errors.Is(err, relocate.ErrNoReceipt) {
			return s, failure(fmt.Errorf("%s: %w", name, err), "")
		}
		if f, err := relocate.ParseForecast(data); err == nil {
			s.Kind, s.has = "plan", f.Side()
			return s, nil
		}
	}
	var err error
	s.Kind = "set"
	s.has, err = opts.set(ctx, env, name)
	return s, err
}

// maxSide is the largest file that is looked at whether it is a receipt or a
// plan, in bytes.
const maxSide = 1 << 30

// jsonFile returns what may be a receipt or a plan: a file that begins as JSON
// does.
func jsonFile(name string) ([]byte, bool) {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxSide {
		return nil, false
	}
	data, err := os.ReadFile(name)
	return data, err == nil && strings.HasPrefix(strings.TrimLeft(string(data[:min(len(data), 100)]), " \t\r\n"), "{")
}

// set finds out what an input names. opts are a copy: what the input says of
// registries holds for it alone.
func (opts diffOptions) set(ctx context.Context, env Env, input string) (has relocate.Side, err error) {
	how, err := opts.options()
	if err != nil {
		return has, err
	}
	set, x, err := opts.intake(ctx, env, &opts.inputFlags, how, []string{input})
	if err != nil {
		return has, err
	}
	defer x.close()
	done, err := set.unpack(x)
	defer done()
	if err != nil {
		return has, err
	}
	mentions, err := set.mentions(ctx, x.cfg.Source)
	if err != nil {
		return has, err
	}
	pairs, err := relocate.Originals(mentions)
	if err != nil {
		return has, usageError(err, "")
	}
	draft, err := relocate.Discover(ctx, x.cfg, pairs, nil)
	if err != nil {
		return has, unread(ctx, env, draft.Report(), err)
	}
	return draft.Side(), nil
}

// unread tells which images could not be read.
func unread(ctx context.Context, env Env, rep relocate.Report, err error) error {
	if ctx.Err() != nil {
		return failure(errors.New("interrupted"), "")
	}
	if rep.Totals.Failed == 0 {
		return err
	}
	for _, img := range rep.Images {
		if img.Result == relocate.Failed {
			printError(env.Stderr, fmt.Errorf("%s: %s", img.Source, img.Error), img.Hint)
		}
	}
	return &fault{exitOf(rep), fmt.Errorf("%d of %s could not be read", rep.Totals.Failed, count(rep.Totals.Images, "image")), ""}
}

// print prints the difference, a line for each thing, and what it comes to.
func (d *differenceJSON) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "A\t%s\t%s\nB\t%s\t%s\n", d.A.Kind, d.A.Name, d.B.Kind, d.B.Name)
	for _, i := range d.Images.OnlyA {
		fmt.Fprintf(t, "only A\timage\t%s\t%s\n", i.Name, i.Digest)
	}
	for _, i := range d.Images.OnlyB {
		fmt.Fprintf(t, "only B\timage\t%s\t%s\n", i.Name, i.Digest)
	}
	for _, i := range d.Images.Changed {
		fmt.Fprintf(t, "changed\timage\t%s\t%s → %s\n", i.Name, i.A, i.B)
	}
	for _, c := range []struct {
		what string
		relocate.ContentDifference
	}{{"manifest", d.Manifests}, {"blob", d.Blobs}} {
		for _, one := range c.OnlyA {
			fmt.Fprintf(t, "only A\t%s\t%s\t%s\n", c.what, one.Digest, size(one.Size))
		}
		for _, one := range c.OnlyB {
			fmt.Fprintf(t, "only B\t%s\t%s\t%s\n", c.what, one.Digest, size(one.Size))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, d.sum())
	return err
}

// sum is the last line.
func (d *differenceJSON) sum() string {
	if d.Equal {
		return "no difference"
	}
	i := d.Images
	s := fmt.Sprintf("images: %d only in A, %d only in B, %d changed", len(i.OnlyA), len(i.OnlyB), len(i.Changed))
	if !d.Blobs.Compared {
		return s
	}
	return s + fmt.Sprintf("; blobs: %s only in A, %s only in B", size(d.Blobs.OnlyABytes), size(d.Blobs.OnlyBBytes))
}
