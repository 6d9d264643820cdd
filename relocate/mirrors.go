package relocate

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/conf"
)

// Rules returns mirror rules that lead from the original names to the targets.
// Where the naming keeps the paths of a host, there is one rule for the host;
// otherwise there is one for each repository, because anything wider would lead
// images elsewhere that were never relocated. The original stays the last place
// that is tried.
func (s Set) Rules() (rules.Config, error) {
	names, to, reasons := s.byRepository()
	if len(reasons) > 0 {
		return rules.Config{}, &InexpressibleError{Format: "mirror configuration", Reasons: reasons}
	}
	var c rules.Config
	wide := s.wide(names, to)
	done := make(map[string]bool)
	for _, n := range names {
		match, place := rules.Match{Kind: rules.Prefix, Host: n.Host, Path: n.Path}, to[n]
		if wide[n.Host] {
			if done[n.Host] {
				continue
			}
			done[n.Host] = true
			match = rules.Match{Kind: rules.Host, Host: n.Host}
			place, _ = s.Naming.Place(n.Host)
		}
		c.Rules = append(c.Rules, rules.Rule{Match: match, Endpoints: []rules.Endpoint{s.endpoint(match, place)}})
	}
	return c, nil
}

// rulesFor returns the rules as a format can say them.
func (s Set) rulesFor(format string) (rules.Config, error) {
	c, err := s.Rules()
	switch {
	case err != nil:
		return c, err
	case format == "pack": // has one place for a registry, and asks no other
		for i := range c.Rules {
			c.Rules[i].Upstream.Kind = rules.None
		}
	case format == "k3s":
		c.Rules = rewriting(c.Rules)
	}
	return c, nil
}

// rewriting turns the rules for repositories of a host into one for the host
// that rewrites their names, where all lead to one registry.
func rewriting(all []rules.Rule) []rules.Rule {
	var out []rules.Rule
	at := make(map[string]int) // :: host → its rule in out
	for _, r := range all {
		e := r.Endpoints[0]
		i, ok := at[r.Match.Host]
		if r.Match.Kind != rules.Prefix || ok && out[i].Endpoints[0].Host != e.Host {
			out = append(out, r)
			continue
		}
		rewrite := rules.Rewrite{Pattern: regexp.MustCompile("^" + regexp.QuoteMeta(r.Match.Path) + "$"), Replace: e.Repo.Prefix}
		if ok {
			out[i].Endpoints[0].Repo.Rewrites = append(out[i].Endpoints[0].Repo.Rewrites, rewrite)
			continue
		}
		at[r.Match.Host] = len(out)
		e.Repo = rules.Repo{Rewrites: []rules.Rewrite{rewrite}}
		out = append(out, rules.Rule{Match: rules.Match{Kind: rules.Host, Host: r.Match.Host}, Endpoints: []rules.Endpoint{e}})
	}
	return out
}

// wide returns the hosts that one rule is enough for. Two hosts that share a
// place would find each other's images there.
func (s Set) wide(names []ref.Name, to map[ref.Name]ref.Name) map[string]bool {
	wide := make(map[string]bool)
	at := make(map[ref.Name]string) // :: place → host
	if s.Naming == nil {
		return wide
	}
	for _, n := range names {
		place, ok := s.Naming.Place(n.Host)
		if !ok {
			return nil
		}
		if other, taken := at[place]; taken && other != n.Host {
			return nil
		}
		at[place] = n.Host
		wide[n.Host] = true
	}
	for _, n := range names {
		if place, _ := s.Naming.Place(n.Host); to[n] != below(place, n.Path) {
			wide[n.Host] = false
		}
	}
	return wide
}

func below(n ref.Name, path string) ref.Name {
	if n.Path != "" {
		path = n.Path + "/" + path
	}
	return ref.Name{Host: n.Host, Path: path}
}

// endpoint returns the target as a place of mirror rules.
func (s Set) endpoint(m rules.Match, place ref.Name) rules.Endpoint {
	e := rules.Endpoint{Host: place.Host, Repo: rules.Repo{Prefix: place.Path, StripMatched: m.Kind == rules.Prefix}}
	switch {
	case s.Reach.PlainHTTP:
		e.Scheme = rules.HTTP
	case s.Reach.SkipVerify || len(s.Reach.CA) > 0:
		e.Transport = &rules.Transport{SkipVerify: s.Reach.SkipVerify, CA: s.Reach.CA}
	}
	return e
}

// mirrors writes mirror configuration in one of the formats of rules/conf.
// Catalogs and update graphs that a format cannot lead to are left out, with a
// warning: what clusters are told of them has their names at the target.
func (s Set) mirrors(format string) ([]File, []rules.Problem, error) {
	s, _ = s.without(func(p Placed) bool { return p.Role == UpdateGraph }) // made here: it has no original
	s, left := s.without(func(p Placed) bool { return p.Role.Apart() && !p.found() })
	files, warnings, err := s.configuration(format)
	if _, ok := errors.AsType[*InexpressibleError](err); ok {
		rest, more := s.without(func(p Placed) bool { return p.Role.Apart() })
		if len(more) > 0 {
			left = append(left, more...)
			files, warnings, err = rest.configuration(format)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return files, append(left, warnings...), nil
}

// found reports whether an image may be found by its original name: it has the
// same tag and the same digest at the target.
func (p Placed) found() bool {
	d := p.Name().Digest
	return p.keeps() && (d == "" || p.Digest == "" || p.Digest == d)
}

// without returns the set without some images, with a warning for each.
func (s Set) without(these func(Placed) bool) (Set, []rules.Problem) {
	var warnings []rules.Problem
	s.Images = slices.DeleteFunc(slices.Clone(s.Images), func(p Placed) bool {
		if !these(p) {
			return false
		}
		warnings = append(warnings, rules.Problem{Text: fmt.Sprintf("%s is not found by that name, but by %s", p.Name(), p.Target)})
		return true
	})
	return s, warnings
}

// configuration writes mirror configuration for all images.
func (s Set) configuration(format string) ([]File, []rules.Problem, error) {
	c, err := s.rulesFor(format)
	if e, ok := errors.AsType[*InexpressibleError](err); ok {
		e.Format = format
	}
	if err != nil {
		return nil, nil, err
	}
	var refs []ref.Ref
	for _, p := range s.Images {
		refs = append(refs, p.Name())
	}
	written, losses, err := conf.Write(c, format, conf.WriteOptions{References: refs})
	if err != nil {
		return nil, nil, err
	}
	warnings, err := s.accept(losses, format)
	if err != nil {
		return nil, nil, err
	}
	if err := s.Check(written, format); err != nil {
		return nil, nil, err
	}
	if s.Missing > 0 && !takesComments(format) {
		warnings = append(warnings, rules.Problem{Text: fmt.Sprintf("%s cannot say that %d images are missing", format, s.Missing)})
	}
	var files []File
	for _, f := range written {
		data := f.Data
		if takesComments(format) {
			data = append([]byte(s.Comment()), data...)
		}
		files = append(files, File{Name: f.Name, Data: data})
	}
	return files, warnings, nil
}

// accept sorts losses into warnings and reasons not to write the format.
func (s Set) accept(losses []conf.Loss, format string) (warnings []rules.Problem, err error) {
	var reasons []string
	hint := ""
	for _, l := range losses {
		switch {
		case l.Refuse:
			reasons = append(reasons, l.Text)
			hint = l.Hint
		case l.Feature != "ns": // what a client adds to its requests is no matter to a registry that owns the name
			warnings = append(warnings, l.Problem())
		}
	}
	if len(reasons) == 0 {
		return warnings, nil
	}
	if place, ok := s.place(); !ok {
		hint = "names at " + place.Host + " do not keep their paths: use --naming host-path, or a format with rules for repositories, such as registries.conf"
	}
	return nil, &InexpressibleError{Format: format, Reasons: reasons, Hint: hint}
}

// takesComments reports whether a format has lines that start with '#'.
func takesComments(format string) bool {
	switch format {
	case "daemon.json", "regclient", "cnb", "kaniko":
		return false
	}
	return true
}

// place returns where the first image goes, and whether the naming keeps paths.
func (s Set) place() (ref.Name, bool) {
	if len(s.Images) == 0 || s.Naming == nil {
		return ref.Name{}, true
	}
	_, ok := s.Naming.Place(s.Images[0].Name().Host)
	return s.Images[0].Target.Name, ok
}

// A MissedError says that emitted configuration leads an image elsewhere. It is
// a fault of this program.
type MissedError struct {
	Format string
	Image  ref.Ref // what was looked for
	Want   ref.Ref // where it is
	Got    string  // where the configuration leads
}

// Error tells where it leads.
func (e *MissedError) Error() string {
	return fmt.Sprintf("%s leads %s to %s, and it is at %s", e.Format, e.Image, e.Got, e.Want)
}

// Check reads mirror configuration as its client does and follows it for every
// image of the set: the first place that is asked has to be where the image is.
// Where it is not, the error is a [MissedError].
func (s Set) Check(files []conf.File, format string) error {
	clients := conf.Clients(format)
	if len(clients) == 0 {
		return fmt.Errorf("%s is not known", format)
	}
	d, err := rules.DialectOf(clients[0])
	if err != nil {
		return err
	}
	c, err := conf.ReadFiles(files, format, d)
	if err != nil {
		return fmt.Errorf("read %s back: %w", format, err)
	}
	set := rules.New(c)
	for _, p := range s.Images {
		if err := lands(set, d, p.Pair, format); err != nil {
			return err
		}
	}
	return nil
}

// lands follows the rules for one image.
func lands(set *rules.Set, d rules.Dialect, p Pair, format string) error {
	plan := set.Plan(p.Name(), rules.Pull, d)
	missed := &MissedError{Format: format, Image: p.Name(), Want: p.Target, Got: "nowhere"}
	if plan.Err != nil {
		missed.Got = plan.Err.Error()
		return missed
	}
	for i := range plan.Tries {
		t := &plan.Tries[i]
		if t.Blocked || t.Unusable != "" {
			continue
		}
		missed.Got = t.Reference()
		if t.Ref.Name != p.Target.Name || t.Ref.Digest != p.Name().Digest || t.Ref.Digest == "" && t.Ref.Tag != p.Target.Tag {
			return missed
		}
		return nil
	}
	return missed
}
