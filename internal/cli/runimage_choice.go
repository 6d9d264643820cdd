package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/runimage"
)

// A choice is the search for a run image.
type choice struct {
	view   *view
	prober *prober
	tries  []imageTry
	found  *imageTry // nil where none can be read
}

// An imageTry is a place that was asked for a candidate, or a candidate that
// has none.
type imageTry struct {
	name   string     // the candidate, as it was written
	plan   *explained // nil where the name is none
	place  *rules.Try // nil where there is none
	answer *probed    // nil where the place was not asked
	err    error      // why nothing was asked; nil where something was
}

// choose asks for the candidates in their order until one can be read.
func (c *choice) choose(ctx context.Context, candidates []runimage.Candidate) {
	for _, candidate := range candidates {
		if candidate.Err != nil {
			c.tries = append(c.tries, imageTry{name: candidate.Name, err: candidate.Err})
			continue
		}
		e := c.view.explain(candidate.Name, rules.Pull)
		if c.ask(ctx, &e) || ctx.Err() != nil {
			return
		}
	}
}

// ask asks the places of one candidate in their order, as long as the client
// would, and reports whether it can be read.
func (c *choice) ask(ctx context.Context, e *explained) bool {
	places := e.tries()
	if len(places) == 0 {
		c.tries = append(c.tries, imageTry{name: e.name, plan: e, err: e.err})
		return false
	}
	for _, place := range places {
		t := imageTry{name: e.name, plan: e, place: place}
		switch {
		case place.Blocked:
			t.err = errors.New("the place is blocked")
		case place.Unusable != "":
			t.err = errors.New(place.Unusable)
		default:
			t.answer = c.prober.try(ctx, place)
		}
		c.tries = append(c.tries, t)
		if t.answer == nil {
			continue
		}
		if t.answer.OK {
			c.found = &t
			return true
		}
		if c.view.dialect.GoesOn&t.answer.Class.failure() == 0 {
			return false
		}
	}
	return false
}

// err returns why there is no run image; nil where there is one.
func (c *choice) err() error {
	if c.found != nil {
		return nil
	}
	asked, refused := 0, 0
	for _, t := range c.tries {
		if t.answer != nil {
			asked++
		}
		if t.answer != nil && t.answer.Class == classAuth {
			refused++
		}
	}
	if refused > 0 && refused == len(c.tries) {
		return &fault{exitAuth, errors.New("no run image can be read: every place refuses the credentials"), "docker login, or CNB_REGISTRY_AUTH, holds those of each registry; a mirror needs its own"}
	}
	hint := ""
	if asked > 0 {
		hint = "'entrepot explain --probe' tells more about each name"
	}
	return failure(runimage.ErrNone, hint)
}

// A runImageJSON is what run-image --json prints.
type runImageJSON struct {
	Image    string         `json:"image"`            // as it was written; "" for none
	From     string         `json:"from"`             // the image as it is called where it was read
	Digest   string         `json:"digest,omitempty"` // of its manifest
	As       string         `json:"as"`
	Tries    []imageTryJSON `json:"tries"` // what was asked, in order
	Problems []problemJSON  `json:"problems"`
	Error    string         `json:"error"`
}

// An imageTryJSON is a place that was asked for a name.
type imageTryJSON struct {
	Image string `json:"image"` // the name, as it was written
	tryJSON
	Error string `json:"error,omitempty"` // why nothing was asked
}

// report prints the result, and returns the error where there is none.
func (c *choice) report(env Env, asJSON bool) error {
	err := c.err()
	if asJSON {
		p := printer{out: env.Stdout}
		return errors.Join(p.writeJSON(c.json(err)), err)
	}
	for i := range c.view.problems {
		fmt.Fprintf(env.Stderr, "entrepot: %s", problemText(&c.view.problems[i]))
	}
	var b strings.Builder
	for i := range c.tries {
		if t := &c.tries[i]; t.answer == nil || !t.answer.OK {
			fmt.Fprintf(&b, "entrepot: not %s: %s\n", t.name, t.text())
		}
	}
	fmt.Fprint(env.Stderr, b.String())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Stdout, "%s\n  from %s\n  %s\n", c.found.name, c.found.plan.reference(c.found.place), c.found.answer.Digest)
	return err
}

// text says where the image is not, and why.
func (t *imageTry) text() string {
	if t.place == nil {
		return t.err.Error()
	}
	at := t.plan.address(t.place) + ": "
	if t.answer == nil {
		return at + t.err.Error()
	}
	return at + t.answer.String()
}

func (c *choice) json(err error) runImageJSON {
	out := runImageJSON{As: c.view.client, Tries: []imageTryJSON{}, Problems: []problemJSON{}}
	if f := c.found; f != nil {
		out.Image, out.From, out.Digest = f.name, f.plan.reference(f.place), f.answer.Digest
	}
	for _, t := range c.tries {
		j := imageTryJSON{Image: t.name}
		if t.place != nil {
			j.tryJSON = t.plan.tryJSON(t.place)
			j.Probe = t.answer
		}
		if t.err != nil {
			j.Error = t.err.Error()
		}
		out.Tries = append(out.Tries, j)
	}
	for i := range c.view.problems {
		out.Problems = append(out.Problems, problemToJSON(&c.view.problems[i]))
	}
	if err != nil {
		out.Error = err.Error()
	}
	return out
}
