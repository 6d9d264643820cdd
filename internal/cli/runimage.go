package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/conf"
	"github.com/entrepot/entrepot/rules/runimage"
)

type runImageOptions struct {
	sourceFlags
	networkFlags
	run     string   // a run.toml
	image   string   // a name; with run, which entry
	mirrors []string // further names
	target  string   // what is built
	json    bool
}

func newRunImageCmd(env Env) *cobra.Command {
	var opts runImageOptions
	cmd := &cobra.Command{
		Use:   "run-image --run RUN.TOML|--image REF --mirror REF... --target REF",
		Short: "Choose the run image of a buildpacks build",
		Long: `Run-image chooses among the names of a run image as the buildpacks lifecycle does:
the first that is in the target's registry and can be read, else the first that
can be read. Whether a name can be read is asked through mirror rules: of each
of its places in turn, the image's own registry last, each with its own
credentials. The result is the name as it is written, and the place where it
was read.

Names come from a run.toml (its first entry, or with --image the one that has
that name), or from --image and --mirror. With --as pack the mirrors that pack's
user has added go first.

Without --rules and --as the rules are those of $CNB_REGISTRY_MIRRORS, and
credentials those of $CNB_REGISTRY_AUTH, then docker's and podman's files.

` + formatsHelp() + `

Exit codes: 0 a run image was chosen, 1 none can be read, 2 the command line or
a file is wrong, 6 every place refuses the credentials.`,
		Example: `  entrepot run-image --run /cnb/run.toml --target registry.corp/team/app
  entrepot run-image --image paketobuildpacks/run --mirror gcr.io/paketo/run --target gcr.io/team/app --json
  CNB_REGISTRY_MIRRORS='docker.io=https://mirror.corp' entrepot run-image --image paketobuildpacks/run --target app`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runImage(cmd.Context(), env, opts) },
	}
	opts.sourceFlags.add(cmd)
	opts.networkFlags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&opts.run, "run", "", "take the names from this `RUN.TOML`")
	f.StringVar(&opts.image, "image", "", "the run image, a `REF`; with --run, the entry that has this name")
	f.StringArrayVar(&opts.mirrors, "mirror", nil, "another name of the run image, a `REF`; may be given several times")
	f.StringVar(&opts.target, "target", "", "what is built, a `REF`, or its registry")
	f.BoolVar(&opts.json, "json", false, "print one JSON object")
	return cmd
}

// runImage chooses a run image and prints it.
func runImage(ctx context.Context, env Env, opts runImageOptions) error {
	img, err := opts.names(env)
	if err != nil {
		return err
	}
	registry, err := runimage.Registry(opts.target)
	if err != nil {
		return usageError(fmt.Errorf("--target: %w", err), "give the name of the image that is built")
	}
	if err := opts.networkFlags.check(); err != nil {
		return err
	}
	v, err := opts.rulesView(env, &img)
	if err != nil {
		return err
	}
	if p := v.set.Refused(); p != nil {
		return usageError(p, p.Hint)
	}
	pr, err := opts.prober(v.client, opts.fileRoot(), env)
	if err != nil {
		return err
	}
	pr.loopback = true
	c := choice{view: v, prober: pr}
	c.choose(ctx, img.Candidates(registry))
	return c.report(env, opts.json)
}

// names returns the names of the run image.
func (o *runImageOptions) names(env Env) (runimage.Image, error) {
	hint := "see 'entrepot run-image --help'"
	switch {
	case o.target == "":
		return runimage.Image{}, usageError(errors.New("--target is missing"), hint)
	case o.run == "" && o.image == "":
		return runimage.Image{}, usageError(errors.New("--run or --image is missing"), hint)
	}
	img := runimage.Image{Image: o.image}
	if o.run != "" {
		text, err := readText(o.run, env.Stdin)
		if err != nil {
			return img, usageError(fmt.Errorf("--run: %w", err), "")
		}
		images, err := conf.RunImages(o.run, text)
		if err != nil {
			return img, usageError(err, problemHint(err))
		}
		img = images[0]
		if o.image != "" {
			img = runimage.Find(images, o.image)
		}
	}
	img.Mirrors = append(img.Mirrors, o.mirrors...)
	return img, nil
}

// readText reads a file, or standard input for "-".
func readText(name string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return io.ReadAll(io.LimitReader(in, conf.MaxFile+1))
}

// problemHint returns the hint of a problem.
func problemHint(err error) string {
	if p, ok := errors.AsType[*rules.Problem](err); ok {
		return p.Hint
	}
	return ""
}

// rulesView reads the rules: the lifecycle's, where the flags do not say. It
// adds the mirrors that the user of pack has for the image.
func (o *runImageOptions) rulesView(env Env, img *runimage.Image) (*view, error) {
	if o.as == "" && len(o.rules) == 0 {
		o.as = "lifecycle"
	}
	m := conf.Machine{Root: o.root, Stdin: env.Stdin, Getenv: env.Getenv}
	v, err := o.view(m)
	if err != nil {
		return nil, err
	}
	sources, err := o.packSources(m)
	if err != nil {
		return nil, err
	}
	for _, src := range sources {
		local, err := conf.LocalRunImages(src)
		if err != nil {
			return nil, err
		}
		for _, l := range local {
			if l.Image != "" && (runimage.Image{Image: l.Image}).Contains(img.Image) {
				img.Preferred = append(img.Preferred, l.Mirrors...)
			}
		}
	}
	return v, nil
}

// packSources returns the files of pack's configuration that are read.
func (o *runImageOptions) packSources(m conf.Machine) ([]conf.Source, error) {
	if len(o.rules) == 0 && o.as == "pack" {
		src, err := conf.System("pack", m)
		return []conf.Source{src}, err
	}
	var sources []conf.Source
	for _, arg := range o.rules {
		if !strings.HasPrefix(arg, "pack=") || arg == "pack=-" {
			continue // standard input was read already
		}
		src, err := openRules(arg, m)
		if err != nil {
			return nil, err
		}
		sources = append(sources, src)
	}
	return sources, nil
}
