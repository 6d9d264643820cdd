package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/relocate"
)

// run looks, and removes where that is wanted.
func (p *pruner) run(ctx context.Context, cfg relocate.PruneConfig) error {
	pruning, err := relocate.Look(ctx, cfg)
	if pruning == nil {
		return pruneError(err)
	}
	p.warn(&pruning.Plan)
	if err != nil {
		return errors.Join(p.print(&pruning.Plan), nothingLeft(&pruning.Plan, err))
	}
	if p.opts.yes {
		err = pruning.Run(ctx)
	}
	if bad := p.print(&pruning.Plan); bad != nil {
		return bad
	}
	if err == nil || errors.Is(err, relocate.ErrPruneIncomplete) {
		p.summary(&pruning.Plan)
	}
	if ctx.Err() != nil {
		return failure(errors.New("interrupted"), "run the same command again: it removes what is left")
	}
	if errors.Is(err, relocate.ErrPruneIncomplete) {
		return p.incomplete(&pruning.Plan, err)
	}
	return pruneError(err)
}

// nothingLeft refuses to remove everything.
func nothingLeft(plan *relocate.PrunePlan, err error) error {
	hint := "all that is there goes: to delete a repository use the registry's own means"
	if len(plan.Missing) > 0 {
		hint = "no image of --keep is there: give the same --naming, --keep-tag or --map as when it was relocated"
	}
	return &fault{exitConflict, fmt.Errorf("%w; nothing was removed", err), hint}
}

// pruneError gives errors of a prune their exit codes and hints.
func pruneError(err error) error {
	if err == nil {
		return nil
	}
	if no, ok := errors.AsType[*relocate.DeletesError](err); ok {
		return failure(fmt.Errorf("%w; nothing was removed", no), "let the registry delete (distribution: storage.delete.enabled, or REGISTRY_STORAGE_DELETE_ENABLED=true), and run the same command again")
	}
	if errors.Is(err, oci.ErrUnauthorized) || errors.Is(err, oci.ErrDenied) {
		return &fault{exitAuth, err, "the account needs the right to delete"}
	}
	return err
}

// incomplete tells what could not be removed. The error has the exit code.
func (p *pruner) incomplete(plan *relocate.PrunePlan, err error) error {
	code := exitAuth
	for _, r := range plan.Removals {
		if r.Result != relocate.Failed {
			continue
		}
		printError(p.env.Stderr, fmt.Errorf("%s: %s", removalName(&r), r.Error), "")
		if r.Class != relocate.Class(oci.ErrUnauthorized) && r.Class != relocate.Class(oci.ErrDenied) {
			code = exitSome
		}
	}
	return &fault{code, err, "run the same command again: what is removed is no failure"}
}

// warn tells of images that the inputs name and nobody has.
func (p *pruner) warn(plan *relocate.PrunePlan) {
	for _, w := range plan.Missing {
		fmt.Fprintf(p.env.Stderr, "entrepot: warning: %s is to stay, and %s is not there\n", w.Name, w.Target)
	}
	for _, w := range plan.Absent {
		fmt.Fprintf(p.env.Stderr, "entrepot: warning: %s is to go, and %s is not there\n", w.Name, w.Target)
	}
}

// removalName writes what a removal removes.
func removalName(r *relocate.Removal) string {
	if !r.Manifest {
		return r.Repository + ":" + r.Tags[0]
	}
	name := r.Repository + "@" + string(r.Digest)
	if len(r.Tags) > 0 {
		name += " (" + strings.Join(r.Tags, ", ") + ")"
	}
	return name
}

// print prints a plan, or what became of it, a line for each.
func (p *pruner) print(plan *relocate.PrunePlan) error {
	out := printer{out: p.env.Stdout, json: p.opts.json}
	for _, s := range plan.Stays {
		var err error
		switch {
		case p.opts.json:
			err = out.writeJSON(struct {
				Action string `json:"action"`
				relocate.Stay
			}{"keep", s})
		case len(s.Tags) > 0:
			_, err = fmt.Fprintf(p.env.Stdout, "keep\t%s@%s (%s)\t%s\n", s.Repository, s.Digest, strings.Join(s.Tags, ", "), s.Why)
		}
		if err != nil {
			return err
		}
	}
	for i := range plan.Removals {
		r := &plan.Removals[i]
		var err error
		if p.opts.json {
			err = out.writeJSON(struct {
				Action string `json:"action"`
				*relocate.Removal
			}{"remove", r})
		} else {
			_, err = fmt.Fprintf(p.env.Stdout, "%s\t%s\t%s\n", removalWord(r), removalName(r), r.Why)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// removalWord says in a word what becomes of something.
func removalWord(r *relocate.Removal) string {
	if r.Result == relocate.Planned {
		return "remove"
	}
	return r.Result
}

// summary says how much it is.
func (p *pruner) summary(plan *relocate.PrunePlan) {
	manifests, tags := 0, 0
	for _, r := range plan.Removals {
		switch {
		case r.Result != relocate.Planned && r.Result != relocate.Removed:
		case r.Manifest:
			manifests++
			tags += len(r.Tags)
		default:
			tags++
		}
	}
	what := count(manifests, "manifest") + " and " + count(tags, "tag")
	switch {
	case len(plan.Removals) == 0:
		fmt.Fprintln(p.env.Stderr, "entrepot: there is nothing to remove")
		return
	case p.opts.yes:
		fmt.Fprintf(p.env.Stderr, "entrepot: %s removed; the registry's garbage collection frees up to %s\n", what, size(plan.Bytes))
	default:
		fmt.Fprintf(p.env.Stderr, "entrepot: %s would go, up to %s; nothing was removed, --yes does it\n", what, size(plan.Bytes))
	}
	for _, n := range plan.Emptied {
		fmt.Fprintf(p.env.Stderr, "entrepot: nothing is left of %s\n", n)
	}
}
