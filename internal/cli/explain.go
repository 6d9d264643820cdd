package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/rules"
)

type explainOptions struct {
	sourceFlags
	networkFlags
	purpose string
	probe   bool
	json    bool
}

func newExplainCmd(env Env) *cobra.Command {
	var opts explainOptions
	cmd := &cobra.Command{
		Use:   "explain REF...",
		Short: "Tell from which places a client would take an image, and why",
		Long: `Explain reads the mirror configuration of a client and tells for each image which
rule is for it, which places are asked in which order, which are left out and
why, and what the client does when a place fails. Nothing is contacted, unless
--probe asks each place for the image, with the user's own credentials for it,
and tells which one would win.

Without --rules it reads what the client reads on this machine; without --as
and --rules it answers for every client that has configuration here, and tells
where they disagree. With --rules and without --as the files are read strictly,
as what they mean rather than as what one client makes of them.

` + formatsHelp() + `

Exit codes: 0 every image has a place, 1 nothing can serve one of them, 2 the
command line is wrong.`,
		Example: `  entrepot explain alpine:3.20
  entrepot explain --as podman --rules registries.conf=/etc/containers quay.io/team/app:v1
  entrepot explain --as containerd --root /mnt/node --json alpine:3.20`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return explain(cmd.Context(), env, opts, args) },
	}
	opts.sourceFlags.add(cmd)
	opts.networkFlags.add(cmd)
	cmd.Flags().StringVar(&opts.purpose, "for", "pull", "plan for this `PURPOSE`: pull, resolve or push")
	cmd.Flags().BoolVar(&opts.probe, "probe", false, "ask each place whether it has the image")
	cmd.Flags().BoolVar(&opts.json, "json", false, "print one JSON object a line")
	return cmd
}

// explain prints what every view says about every reference.
func explain(ctx context.Context, env Env, opts explainOptions, names []string) error {
	want, ok := rules.CanNamed(opts.purpose)
	if !ok || want == rules.Referrers {
		return usageError(fmt.Errorf("--for: %q is no purpose", opts.purpose), "use pull, resolve or push")
	}
	if opts.probe && want == rules.Push {
		return usageError(errors.New("--probe reads, it does not try to push"), "leave out --for push")
	}
	if err := opts.networkFlags.check(); err != nil {
		return err
	}
	views, err := opts.views(env)
	if err != nil {
		return err
	}
	p := printer{out: env.Stdout, json: opts.json}
	served := 0
	for _, name := range names {
		all, err := opts.each(ctx, env, views, name, want)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(e explained) bool { return e.err != nil }) {
			served++
		}
		if err := p.reference(name, all); err != nil {
			return err
		}
	}
	if err := p.problems(views); err != nil {
		return err
	}
	if served < len(names) {
		return failure(fmt.Errorf("nothing can serve %d of %s", len(names)-served, count(len(names), "image")), "")
	}
	return nil
}

// each explains a reference in every view.
func (o *explainOptions) each(ctx context.Context, env Env, views []*view, name string, want rules.Can) ([]explained, error) {
	var all []explained
	for _, v := range views {
		e := v.explain(name, want)
		if o.probe {
			pr, err := o.prober(v.client, o.fileRoot(), env)
			if err != nil {
				return nil, err
			}
			e.probe(ctx, pr)
		}
		all = append(all, e)
	}
	return all, nil
}

// An explained is what a view says about a reference.
type explained struct {
	view  *view
	name  string // as the user wrote it
	plans []rules.Plan
	err   error // why nothing can serve it
	// problems are those of the reference; those of the files are in the view.
	problems []rules.Problem
	// probes are the answers of the tries, in their order: nil for a place that
	// is not asked, and where nothing is asked at all.
	probes  []*probed
	outcome outcome // of the probes
}

// explain plans for a reference. A short name may mean several images; they are
// tried one after the other.
func (v *view) explain(name string, want rules.Can) explained {
	e := explained{view: v, name: name}
	d := v.dialect
	if d.ShortNames && !v.set.ShortNames().Configured() {
		// What they mean is then not the rules' affair.
		d.ShortNames = false
		e.warnShort()
	}
	refs, err := v.set.Expand(name, d)
	if err != nil {
		e.err = err
		return e
	}
	usable := false
	for _, r := range refs {
		plan := v.set.Plan(r, want, d)
		usable = usable || plan.Err == nil
		if e.err == nil {
			e.err = plan.Err
		}
		e.plans = append(e.plans, plan)
	}
	if usable {
		e.err = nil
	}
	return e
}

// warnShort notes that the client may refuse a short name that nothing is said
// about, and that it is taken for one of Docker Hub's.
func (e *explained) warnShort() {
	if e.view.dialect.Strict() || !rules.IsShort(e.name) {
		return
	}
	e.problems = append(e.problems, rules.Problem{
		Text: fmt.Sprintf("%q names no registry and no registries to search are configured; it is taken for Docker Hub's, %s itself refuses it", e.name, e.view.client),
		Hint: "write the whole name, or set unqualified-search-registries",
	})
}

// normalized returns the reference as the client writes it, "" where it is
// none.
func (e *explained) normalized() string {
	if len(e.plans) == 0 {
		return ""
	}
	return e.view.dialect.Format(e.plans[0].Ref)
}

// rule returns the rule that was chosen, nil for none.
func (e *explained) rule() *rules.Rule {
	for i := range e.plans {
		if r := e.plans[i].Rule; r != nil {
			return r
		}
	}
	return nil
}

// others returns the rules that match and lose.
func (e *explained) others() []*rules.Rule {
	var all []*rules.Rule
	for i := range e.plans {
		all = append(all, e.plans[i].Others...)
	}
	return all
}

// tries returns the places of all plans, in the order in which they are tried.
func (e *explained) tries() []*rules.Try {
	var all []*rules.Try
	for i := range e.plans {
		for j := range e.plans[i].Tries {
			all = append(all, &e.plans[i].Tries[j])
		}
	}
	return all
}

// skips returns the places that are left out.
func (e *explained) skips() []*rules.Skip {
	var all []*rules.Skip
	for i := range e.plans {
		for j := range e.plans[i].Skips {
			all = append(all, &e.plans[i].Skips[j])
		}
	}
	return all
}

// reference returns what a place calls the image.
func (e *explained) reference(t *rules.Try) string {
	if e.view.dialect.KeepSpelling && t.Original {
		return e.name
	}
	return t.Reference()
}

// writeJSON prints one object on a line of its own.
func (p *printer) writeJSON(v any) error {
	enc := json.NewEncoder(p.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
