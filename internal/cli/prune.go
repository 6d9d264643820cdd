package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

type pruneOptions struct {
	inputFlags
	mappingFlags
	sourceFlags
	networkFlags
	keep     []string
	remove   []string
	maps     []string
	yes      bool
	jobs     int
	retry    int
	json     bool
	logLevel string
}

func newPruneCmd(env Env) *cobra.Command {
	var opts pruneOptions
	cmd := &cobra.Command{
		Use:   "prune PREFIX --keep INPUT...",
		Short: "Remove relocated images that nothing names any more",
		Long:  pruneHelp(),
		Example: `  entrepot prune registry.corp/mirror --keep deploy/
  entrepot prune registry.corp/mirror --keep deploy/ --keep next.txt --map relocation-mapping.json --yes
  entrepot prune registry.corp/mirror --keep deploy/ --remove old.yaml --yes --json`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return prune(cmd.Context(), env, opts, args) },
	}
	opts.inputFlags.add(cmd)
	opts.mappingFlags.addNaming(cmd)
	opts.sourceFlags.add(cmd)
	opts.networkFlags.add(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&opts.keep, "keep", nil, "the images that this `INPUT` names stay; may be given several times")
	f.StringArrayVar(&opts.remove, "remove", nil, "remove the images that this `INPUT` names, and no others; may be given several times")
	f.StringArrayVar(&opts.maps, "map", nil, "the repositories are those of the relocation mapping in this `FILE`; may be given several times")
	f.BoolVar(&opts.yes, "yes", false, "remove; without it nothing is removed, and what would be is told")
	f.IntVar(&opts.jobs, "jobs", 0, "look at this `NUMBER` of manifests at once (default 16)")
	f.IntVar(&opts.retry, "retry", 0, "try each request this `NUMBER` of times (default 8)")
	f.BoolVar(&opts.json, "json", false, "print one JSON object a line")
	f.StringVar(&opts.logLevel, "log-level", "warn", "log from this `LEVEL` on: debug, info, warn or error; debug has a line per request")
	return cmd
}

// pruneHelp is the long help of the command.
func pruneHelp() string {
	return `Prune tells what of the images below PREFIX is needed no more, and with --yes
removes it. What the inputs of --keep name stays, under the names that 'entrepot
relocate' with the same flags gives them or that a relocation mapping has, with
the platforms of its indexes, the signatures and whatever else refers to it.
Everything else in the repositories goes; with --remove only what these inputs
name goes, as far as no other tag needs it.

The repositories are those of --map, else those that the registry's catalog has
below PREFIX. A manifest that a tag that stays needs is left, and the other tag
alone removed, where the registry can do that. What has changed when it is its
turn is left alone. Blobs are never removed: that is the affair of the registry's
own garbage collection. A prune that would leave nothing is refused.

` + kindsHelp() + `

` + namingHelp + `

Exit codes: 0 done, 1 it failed, 2 the command line is wrong, 3 something could not
be removed, 5 nothing would be left, or images would meet (nothing was removed),
6 the registry refuses the credentials.`
}

// prune plans, and removes where the flags say so.
func prune(ctx context.Context, env Env, opts pruneOptions, args []string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := opts.checkInputs(args[1:]); err != nil {
		return err
	}
	opts.to = args[0]
	naming, err := opts.mappingFlags.read()
	if err != nil {
		return err
	}
	maps, err := readMappings(opts.maps)
	if err != nil {
		return err
	}
	source, err := readOnly(opts.sourceFlags, opts.networkFlags).open(env)
	if err != nil {
		return err
	}
	defer source.close()
	p := &pruner{env: env, opts: &opts, naming: naming, maps: maps, source: source}
	cfg, err := p.config(ctx)
	if err != nil {
		return err
	}
	target, done, err := opts.target(env)
	if err != nil {
		return err
	}
	defer done()
	cfg.Target = target
	if cfg.Repositories, err = p.repositories(ctx, target); err != nil {
		return err
	}
	return p.run(ctx, cfg)
}

// checkInputs takes in what follows the prefix, as in "--keep a.yaml b.yaml".
func (opts *pruneOptions) checkInputs(more []string) error {
	if len(more) > 0 && len(opts.remove) > 0 {
		return usageError(fmt.Errorf("it is not clear whether %s stays or goes", strings.Join(more, " ")), "put --keep or --remove before each input")
	}
	opts.keep = append(opts.keep, more...)
	switch {
	case len(opts.keep) == 0:
		return usageError(errors.New("--keep is missing"), "say what stays: --keep deploy/")
	case opts.jobs < 0 || opts.retry < 0:
		return usageError(errors.New("--jobs and --retry are not negative"), "")
	}
	return opts.networkFlags.check()
}

// target makes what asks the registry; done ends it.
func (opts *pruneOptions) target(env Env) (r registries, done func(), err error) {
	log, err := (&transferFlags{logLevel: opts.logLevel}).logger(env.Stderr)
	if err != nil {
		return r, nil, err
	}
	net, err := opts.network(plainView(), networkConfig{jobs: opts.jobs, retry: opts.retry, log: log}, env)
	if err != nil {
		return r, nil, err
	}
	return registries{net}, func() { net.client.Close() }, nil
}

// A pruner is one run of the command.
type pruner struct {
	env    Env
	opts   *pruneOptions
	naming *relocate.Naming
	maps   []document.Mapping
	source *transfer // for inputs that are in registries
}

// config reads the inputs.
func (p *pruner) config(ctx context.Context) (relocate.PruneConfig, error) {
	cfg := relocate.PruneConfig{Jobs: p.opts.jobs, Set: relocate.PruneSet{Naming: p.naming, Rest: len(p.opts.remove) == 0}}
	keep, err := p.pairs(ctx, "--keep", p.opts.keep)
	if err != nil {
		return cfg, err
	}
	for _, pair := range keep {
		cfg.Set.Keep = append(cfg.Set.Keep, p.wanted(pair, true)...)
	}
	if cfg.Set.Rest {
		return cfg, nil
	}
	remove, err := p.pairs(ctx, "--remove", p.opts.remove)
	for _, pair := range remove {
		cfg.Set.Remove = append(cfg.Set.Remove, p.wanted(pair, false)...)
	}
	return cfg, err
}

// pairs names the images of inputs at the target.
func (p *pruner) pairs(ctx context.Context, flag string, inputs []string) ([]relocate.Pair, error) {
	how, err := p.opts.options()
	if err != nil {
		return nil, err
	}
	p.opts.fetch = func(r ref.Ref) (document.Input, error) {
		in, err := document.FetchBundle(ctx, p.source.cfg.Source, r)
		if errors.Is(err, document.ErrUnknown) {
			return document.Input{Name: r.String(), Path: imageAlone, Kind: document.List, Data: []byte(r.String() + "\n")}, nil
		}
		return in, err
	}
	p.opts.catalog = func(arg string) (*catalogInput, error) { return catalogImageOf(ctx, p.source.cfg.Source, arg) }
	p.opts.use = copySets
	if flag == "--remove" {
		p.opts.use = anySets
	}
	set, err := p.opts.inputFlags.read(p.env, inputs, how)
	if err == nil {
		err = p.source.flags.expand(ctx, set, &p.opts.inputFlags, how, p.source)
	}
	if err != nil {
		return nil, err
	}
	mentions, err := set.mentions(ctx, p.source.cfg.Source)
	if err != nil {
		return nil, err
	}
	pairs, err := relocate.Pairs(mentions, p.naming)
	if err != nil {
		return nil, planError(err)
	}
	if len(pairs) == 0 {
		return nil, failure(fmt.Errorf("the inputs of %s name no image", flag), "")
	}
	return pairs, nil
}

// wanted returns where an image is at the target: where the mappings say, else,
// or with both as well, where the naming puts it.
func (p *pruner) wanted(pair relocate.Pair, both bool) []relocate.Wanted {
	var all []relocate.Wanted
	add := func(to ref.Ref) {
		w := relocate.Wanted{Name: pair.Name().String(), Target: to}
		if !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	for _, m := range p.maps {
		for from, target := range m {
			original, err := ref.Parse(from)
			if err != nil || original.WithDefaultTag() != pair.Name() {
				continue
			}
			if to, err := ref.Parse(target); err == nil {
				if to.Digest == "" {
					to.Digest = original.Digest
				}
				add(to.WithDefaultTag())
			}
		}
	}
	if both || len(all) == 0 {
		add(pair.Target)
	}
	return all
}

// repositories returns what is looked at.
func (p *pruner) repositories(ctx context.Context, target registries) ([]ref.Name, error) {
	prefix := p.naming.Prefix()
	if len(p.maps) == 0 {
		all, err := target.repositories(ctx, prefix)
		if err == nil {
			return all, nil
		}
		return nil, noCatalog(prefix, err)
	}
	refs, strangers := mapped(p.maps, prefix)
	for _, s := range strangers {
		fmt.Fprintf(p.env.Stderr, "entrepot: warning: %s is not below %s and is left alone\n", s, prefix)
	}
	var all []ref.Name
	for _, r := range refs {
		all = append(all, r.Name)
	}
	slices.SortFunc(all, func(a, b ref.Name) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(all), nil
}
