package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/relocate"
)

type relocateOptions struct {
	inputFlags
	mappingFlags
	outputFlags
	transferFlags
	plan     bool
	watching bool          // in rounds
	watch    time.Duration // from one to the next
}

func newRelocateCmd(env Env) *cobra.Command {
	var opts relocateOptions
	cmd := &cobra.Command{
		Use:   "relocate INPUT... --to PREFIX",
		Short: "Copy the images that documents name to another registry, and lead there",
		Long:  relocateHelp(),
		Example: `  entrepot relocate deploy/ --to registry.corp/mirror --output private/
  entrepot relocate bundle.json --to registry.corp/apps --map relocation-mapping.json
  entrepot relocate images.txt --to registry.corp --naming host-path --emit hosts.toml=certs.d
  entrepot relocate images.txt --to registry.corp/mirror --watch 15m --report state.json
  helm template ./chart | entrepot relocate - --to registry.corp/mirror --plan`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.watching = cmd.Flags().Changed("watch")
			return relocateSet(cmd.Context(), env, &opts, args)
		},
	}
	opts.inputFlags.add(cmd)
	opts.mappingFlags.add(cmd)
	opts.outputFlags.add(cmd)
	opts.transferFlags.add(cmd)
	cmd.Flags().BoolVar(&opts.plan, "plan", false, "tell what would be done, and write nothing")
	cmd.Flags().DurationVar(&opts.watch, "watch", 0, "do it again every `INTERVAL`, as 15m, until it is stopped")
	return cmd
}

// relocateHelp is the long help of the command.
func relocateHelp() string {
	return `Relocate finds the images that documents name, names them below PREFIX, proves
that no two of them meet there, copies them with all platforms and signatures,
byte for byte, and writes what leads to them: the documents with the new names,
a relocation mapping, mirror configuration for clients. Files are written when
the whole set is in place, all or none; mirror configuration is followed for
every image first.

` + kindsHelp() + `
A reference of something else is an image by itself. The images of a thick bundle
are taken from it.

` + namingHelp + `

` + emitHelp() + `

` + rulesHelp + `

With --plan nothing is written: it tells what would be. Whether the registry would
take it is asked as a push asks, by an upload that is begun and cancelled: once
for each repository that is there, and once for all new ones of a namespace.

` + watchHelp + `

Exit codes: 0 done, 1 it failed, 2 the command line is wrong, 3 an image could not
be copied (no tag has moved, no file was written, unless --partial), 4 a format
cannot express the set, 5 images would meet (nothing was written), 6 the
registries refuse the credentials.`
}

// relocateSet relocates the images of the inputs, once or in rounds.
func relocateSet(ctx context.Context, env Env, opts *relocateOptions, args []string) error {
	if err := opts.checkWatch(args); err != nil {
		return err
	}
	if opts.watching {
		signals := make(chan os.Signal, 4)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer signal.Stop(signals)
		return opts.keepCurrent(ctx, env, args, signals)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r, err := opts.open(ctx, env, args)
	if err != nil {
		return err
	}
	defer r.x.close()
	return r.relocate(ctx)
}

// A relocation is one run of the command.
type relocation struct {
	opts    *relocateOptions
	x       *transfer
	naming  *relocate.Naming
	out     *results
	changed bool // files are written where one of them has changed
	closed  bool // all images have to be among those that inputs bring along
}

// open reads flags and inputs.
func (opts *relocateOptions) open(ctx context.Context, env Env, args []string) (*relocation, error) {
	naming, err := opts.mappingFlags.read()
	if err != nil {
		return nil, err
	}
	emits, err := opts.emissions()
	if err != nil {
		return nil, err
	}
	how, err := opts.options()
	if err != nil {
		return nil, err
	}
	how.Annotate = opts.annotate
	set, x, err := opts.intake(ctx, env, &opts.inputFlags, how, args)
	if err != nil {
		return nil, err
	}
	return &relocation{
		opts: opts, x: x, naming: naming,
		out: &results{env: env, flags: &opts.outputFlags, set: set, args: args, emits: emits},
	}, nil
}

// relocate plans, copies, writes and tells.
func (r *relocation) relocate(ctx context.Context) error {
	if r.opts.plan {
		pairs, done, err := r.prepare(ctx)
		defer done()
		if err != nil {
			return err
		}
		return r.printPlan(ctx, pairs)
	}
	rep, err := r.move(ctx)
	if len(rep.Images) == 0 {
		return err
	}
	return errors.Join(err, r.x.print(rep))
}

// prepare finds out what goes where, and whether all files of it can be
// written. What is done is called when the images are no longer needed.
func (r *relocation) prepare(ctx context.Context) (pairs []relocate.Pair, done func(), err error) {
	if done, err = r.out.set.unpack(r.x); err != nil {
		return nil, done, err
	}
	if a := r.out.set.archives; a != nil {
		r.x.cfg.Base = a.base(ctx, r.naming)
	}
	if pairs, err = r.pairs(ctx); err != nil {
		return nil, done, err
	}
	files, err := r.out.files(r.planned(pairs), false)
	if err == nil {
		err = checkPlaces(files)
	}
	return pairs, done, err
}

// move copies and writes. The report is empty where nothing was begun.
func (r *relocation) move(ctx context.Context) (relocate.Report, error) {
	pairs, done, err := r.prepare(ctx)
	defer done()
	if err != nil {
		return relocate.Report{}, err
	}
	rep, err := r.x.run(ctx, pairs)
	if err == nil || r.opts.partial && errors.Is(err, relocate.ErrIncomplete) {
		bad := r.write(pairs, &rep)
		err = errors.Join(err, bad)
	}
	return rep, err
}

// pairs names the images of all inputs at the target.
func (r *relocation) pairs(ctx context.Context) ([]relocate.Pair, error) {
	mentions, err := r.out.set.mentions(ctx, r.x.cfg.Source)
	if err != nil {
		return nil, err
	}
	if r.closed {
		if err := r.checkBrought(ctx, mentions); err != nil {
			return nil, err
		}
	}
	pairs, err := relocate.Pairs(mentions, r.naming)
	if err != nil {
		return nil, planError(err)
	}
	if len(pairs) == 0 {
		return nil, failure(errors.New("the inputs name no image"), "")
	}
	r.x.reachOut(pairs)
	return pairs, nil
}

// planned is the set before anything is copied.
func (r *relocation) planned(pairs []relocate.Pair) relocate.Set {
	s := relocate.Set{Naming: r.naming, Reach: r.reach(pairs)}
	for _, p := range pairs {
		s.Images = append(s.Images, relocate.Placed{Pair: p, Digest: p.Target.Digest})
	}
	return s
}

// placed is the set after a run.
func (r *relocation) placed(pairs []relocate.Pair, rep relocate.Report) relocate.Set {
	s := relocate.Set{Naming: r.naming, Reach: r.reach(pairs)}
	for i, p := range pairs {
		if rep.Images[i].Result == relocate.Failed {
			s.Missing++
			continue
		}
		s.Images = append(s.Images, relocate.Placed{Pair: p, Digest: rep.Images[i].Digest})
	}
	return s
}

// reach is how clients are told to speak to the target: as we do.
func (r *relocation) reach(pairs []relocate.Pair) relocate.Reach {
	host := r.naming.Prefix().Host
	if len(pairs) > 0 {
		host = pairs[0].Target.Host
	}
	return r.x.target.reach(host)
}

// write writes the files of a run, all or none.
func (r *relocation) write(pairs []relocate.Pair, rep *relocate.Report) error {
	files, err := r.out.files(r.placed(pairs, *rep), true)
	if err == nil && r.changed && areThere(files) {
		return nil
	}
	if err == nil {
		err = writeAll(files, true)
	}
	if err == nil {
		rep.Outputs = names(files)
	}
	return err
}

// mentions returns what the documents name, where each image is now, with the
// images that selectors find at their registries.
func (s *inputSet) mentions(ctx context.Context, source any) ([]relocate.Mention, error) {
	all := s.ofSets()
	for _, d := range s.docs {
		images := d.Images()
		for _, sel := range d.Selectors() {
			found, err := expand(ctx, source, sel)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", sel.At, sel.Repository, err)
			}
			images = append(images, found...)
		}
		for _, i := range images {
			all = append(all, s.archives.said(d, s.mention(d, i))...)
		}
	}
	return append(all, s.ofCatalogs()...), nil
}

func (s *inputSet) mention(d *document.Document, i document.Image) relocate.Mention {
	m := relocate.Mention{Written: i.Ref, Target: i.Target, Digest: i.Digest, At: i.At.String()}
	if i.Digest != "" {
		m.Differs = i.CheckDigest
	}
	if from := s.from(d, i.Ref); from != i.Ref {
		m.From = from
	}
	return m
}
