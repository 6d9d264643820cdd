package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

type saveOptions struct {
	inputFlags
	transferFlags
	output     string
	have       []string // receipts
	since      []string // archives
	volumeSize string   // "" for no limit
}

func newSaveCmd(env Env) *cobra.Command {
	var opts saveOptions
	cmd := &cobra.Command{
		Use:   "save INPUT... --output ARCHIVE",
		Short: "Write the images that documents name into one archive",
		Long:  saveHelp(),
		Example: `  entrepot save deploy/ --output images.tar
  entrepot save bundle.json chart/ --output /media/disk/images.tar --volume-size 4GiB
  entrepot save deploy/ --output update.tar --have receipt.json
  entrepot save deploy/ --output february.tar --since january.tar
  helm template ./chart | entrepot save - --output - | ssh far 'cat > images.tar'`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return save(cmd.Context(), env, opts, args) },
	}
	opts.inputFlags.add(cmd)
	opts.transferFlags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&opts.output, "output", "", "write the archive to this `ARCHIVE`, a file, or - for standard output")
	f.StringArrayVar(&opts.have, "have", nil, "leave out what the far side holds by this `RECEIPT`; may be given several times")
	f.StringArrayVar(&opts.since, "since", nil, "leave out what this `ARCHIVE` holds, and what it leaves out itself; may be given several times")
	f.StringVar(&opts.volumeSize, "volume-size", "", "cut the archive into files of at most so many `BYTES`, as 4GiB: NAME-0001.tar and so on")
	return cmd
}

// saveHelp is the long help of the command.
func saveHelp() string {
	return `Save finds the images that documents name and writes them into an archive, to be
carried where no network leads and loaded there with 'entrepot load': all
platforms and signatures, byte for byte, each blob once. The archive is a tar
with an OCI image layout, which other tools read too, and the same images always
give the same bytes.

` + kindsHelp() + `
A reference of something else is an image by itself.

` + rulesHelp + `

With --have, a receipt that 'entrepot receipt' made on the far side, blobs are
left out that the far side holds already; with --since those that an earlier
archive holds or leaves out, which then has to be loaded first. Manifests are
never left out: they are small. Where everything is there already, the archive has
manifests alone. 'entrepot load' refuses such an archive, before it writes
anything, where what was left out is not there; of several --have or --since all
are left out.

ARCHIVE appears when it is whole, and takes the place of one that was there;
--on-existing fail refuses that. Until then it is called ARCHIVE.partial, and so it
stays where an image could not be read; all others are read nevertheless. The same
command again goes on from there, also where a tag is another image by then.

Exit codes: 0 done, 1 it failed, 2 the command line is wrong, 3 an image could not
be read (there is no archive), 5 with --on-existing fail there is an archive
already, 6 the registries refuse the credentials.`
}

// save writes the images of the inputs into an archive.
func save(ctx context.Context, env Env, opts saveOptions, args []string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	s, err := opts.open(ctx, env, args)
	if err != nil {
		return err
	}
	defer s.x.close()
	done, err := s.set.unpack(s.x)
	defer done()
	if err != nil {
		return err
	}
	return s.save(ctx)
}

// A saving is one run of the command.
type saving struct {
	opts *saveOptions
	env  Env
	set  *inputSet
	x    *transfer
	to   layout.ArchiveConfig
	base map[oci.Digest]relocate.Held
}

// open reads flags and inputs.
func (opts *saveOptions) open(ctx context.Context, env Env, args []string) (*saving, error) {
	to, err := opts.archive(env)
	if err != nil {
		return nil, err
	}
	base, err := opts.base(ctx)
	if err != nil {
		return nil, err
	}
	how, err := opts.options()
	if err != nil {
		return nil, err
	}
	set, x, err := opts.intake(ctx, env, &opts.inputFlags, how, args)
	if err != nil {
		return nil, err
	}
	to.Log = x.cfg.Log
	if opts.volumeSize == "" && to.Stream == nil {
		to.VolumeSize = set.volume // that an image set asks for
	}
	return &saving{opts: opts, env: env, set: set, x: x, to: to, base: base}, nil
}

// archive says where and how the archive is written, by the flags.
func (opts *saveOptions) archive(env Env) (layout.ArchiveConfig, error) {
	to := layout.ArchiveConfig{Path: opts.output, Replace: true, Jobs: savedAtOnce}
	if opts.jobs > 0 {
		to.Jobs = opts.jobs
	}
	if err := opts.check(env); err != nil {
		return to, err
	}
	if opts.volumeSize != "" {
		n, err := parseSize(opts.volumeSize)
		if err == nil && n < 1 {
			err = errors.New("a volume has a byte at least")
		}
		if err != nil {
			return to, usageError(fmt.Errorf("--volume-size: %w", err), "write for example 4GiB or 700MB")
		}
		to.VolumeSize = n
	}
	if opts.output == "-" {
		to.Path, to.Stream = "", env.Stdout
	}
	return to, nil
}

// savedAtOnce is how many blobs are under way at once where --jobs does not say:
// enough to fill a wire with small ones. Each needs a buffer of 1 MiB.
const savedAtOnce = 24

// check refuses flags that an archive cannot follow.
func (opts *saveOptions) check(env Env) error {
	switch relocate.OnExisting(opts.onExisting) {
	case relocate.Keep, relocate.Backup:
		return usageError(fmt.Errorf("--on-existing %s: it is about tags, and an archive is made anew", opts.onExisting), "use overwrite or fail")
	}
	switch {
	case opts.output == "":
		return usageError(errors.New("--output is missing"), "say where the archive goes: --output images.tar")
	case opts.partial:
		return usageError(errors.New("--partial: an archive is whole, or it is none"), "leave the images that cannot be read out of the inputs")
	case opts.output == "-" && opts.json:
		return usageError(errors.New("--json and the archive cannot both go to standard output"), "use --report FILE")
	case opts.output == "-" && opts.volumeSize != "":
		return usageError(errors.New("--volume-size: a stream is one volume"), "write to a file, or cut the stream with split(1)")
	case opts.output == "-" && isTerminal(env.Stdout):
		return usageError(errors.New("an archive is nothing for a terminal"), "write to a file, or into a pipe")
	}
	if opts.output != "-" {
		return opts.checkPlace()
	}
	return nil
}

// checkPlace finds before anything is read what the archive cannot replace.
func (opts *saveOptions) checkPlace() error {
	info, err := os.Stat(opts.output)
	switch {
	case err == nil && info.IsDir():
		return usageError(fmt.Errorf("--output: %s is a directory", opts.output), "name the file: --output "+filepath.Join(opts.output, "images.tar"))
	case err == nil && !info.Mode().IsRegular():
		return usageError(fmt.Errorf("--output: %s is no file", opts.output), "use --output - to write a stream")
	case err == nil && relocate.OnExisting(opts.onExisting) == relocate.Fail:
		return &fault{exitConflict, fmt.Errorf("%s is there already", opts.output), "choose another name, or --on-existing overwrite"}
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	if dir := filepath.Dir(opts.output); !isDir(dir) {
		return usageError(fmt.Errorf("--output: there is no directory %s", dir), "make it first")
	}
	return nil
}

// base returns what the far side holds, by the flags.
func (opts *saveOptions) base(ctx context.Context) (map[oci.Digest]relocate.Held, error) {
	base := map[oci.Digest]relocate.Held{}
	add := func(more map[oci.Digest]relocate.Held) {
		for digest, h := range more {
			all := append(slices.Clone(base[digest].Repositories), h.Repositories...)
			slices.Sort(all)
			base[digest] = relocate.Held{Size: h.Size, Repositories: slices.Compact(all)}
		}
	}
	for _, name := range opts.have {
		r, err := readReceipt(name)
		if err != nil {
			return nil, err
		}
		add(r.Held())
	}
	for _, name := range opts.since {
		if filepath.Clean(name) == filepath.Clean(opts.output) {
			return nil, usageError(fmt.Errorf("--since: %s would be replaced by what builds on it", name), "write to another file")
		}
		r, left, err := archiveReceipt(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("--since: %w", err)
		}
		add(left)
		add(r.Held())
	}
	return base, nil
}

// readReceipt reads a receipt for --have.
func readReceipt(name string) (relocate.Receipt, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return relocate.Receipt{}, usageError(fmt.Errorf("--have: %w", err), "make one on the far side: entrepot receipt PREFIX --output "+filepath.Base(name))
	}
	r, err := relocate.ParseReceipt(data)
	if err != nil {
		return r, usageError(fmt.Errorf("--have: %s: %w", name, err), "it has to be what 'entrepot receipt' wrote")
	}
	return r, nil
}

// save finds out what there is, and writes it.
func (s *saving) save(ctx context.Context) error {
	mentions, err := s.set.mentions(ctx, s.x.cfg.Source)
	if err != nil {
		return err
	}
	pairs, err := relocate.Originals(mentions)
	if err != nil {
		return usageError(err, "")
	}
	if len(pairs) == 0 {
		return failure(errors.New("the inputs name no image"), "")
	}
	bars := newProgress(s.env, s.opts.quiet, pairs, s.x.from.label)
	cfg := s.x.cfg
	cfg.Observe = bars.observe
	draft, err := relocate.Discover(ctx, cfg, pairs, s.base)
	w := layout.Written{}
	if s.to.Incomplete = err != nil; err == nil || ctx.Err() == nil && s.to.Stream == nil {
		s.to.Observe = draft.Wrote
		w, err = layout.WriteArchive(ctx, s.to, contents(draft, pairs, mentions, s.set.extras))
	}
	rep := draft.Report()
	for i := range rep.Images {
		rep.Images[i].Target = s.called(pairs[i].Name())
	}
	bars.stop()
	if err == nil {
		rep.Outputs = append(rep.Outputs, w.Paths...)
		s.sum(rep, w)
	}
	return errors.Join(s.explain(ctx, rep, err), s.print(rep, err == nil))
}

// called is what an image of the archive is called: as skopeo takes it.
func (s *saving) called(name ref.Ref) string {
	if s.to.Stream != nil {
		return name.String()
	}
	return "oci-archive:" + s.opts.output + ":" + name.String()
}

// print writes the report where the flags want it. Only of an archive that is
// there are the images listed.
func (s *saving) print(rep relocate.Report, whole bool) error {
	aside := *s.x
	switch {
	case s.to.Stream != nil:
		aside.env.Stdout = s.env.Stderr // the archive is what goes to standard output
	case !whole && !s.opts.json:
		aside.env.Stdout = io.Discard
	}
	return aside.print(rep)
}

// sum says in a line what the archive came to.
func (s *saving) sum(rep relocate.Report, w layout.Written) {
	if s.opts.quiet {
		return
	}
	where := "to standard output"
	if n := len(w.Paths); n == 1 {
		where = "to " + w.Paths[0]
	} else if n > 1 {
		where = fmt.Sprintf("to %s, %s to %s", count(n, "file"), w.Paths[0], w.Paths[n-1])
	}
	fmt.Fprintf(s.env.Stderr, "entrepot: %s, %s %s; read %s, left out %s, in %.1f s\n",
		count(rep.Totals.Images, "image"), size(w.Bytes), where, size(rep.Totals.SourceBytes), size(rep.Totals.LeftBytes), rep.Totals.Seconds)
}

// explain gives the error of a run its exit code and hint.
func (s *saving) explain(ctx context.Context, rep relocate.Report, err error) error {
	if err == nil {
		return nil
	}
	again := "run the same command again"
	if _, bad := os.Stat(s.opts.output + ".partial.journal"); bad == nil {
		again += ": it goes on from " + s.opts.output + ".partial"
	}
	if s.to.Stream != nil {
		again = "what was written is no archive; with a file instead of a stream it could be gone on with"
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return failure(err, "make room, and "+again)
	case ctx.Err() != nil:
		return failure(errors.New("interrupted"), again)
	case rep.Totals.Failed > 0:
		for _, img := range rep.Images {
			if img.Result == relocate.Failed {
				printError(s.env.Stderr, fmt.Errorf("%s: %s", img.Source, img.Error), img.Hint)
			}
		}
		return &fault{exitOf(rep), fmt.Errorf("%d of %s could not be read; there is no archive", rep.Totals.Failed, count(rep.Totals.Images, "image")), again}
	}
	return failure(err, again)
}
