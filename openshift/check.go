package openshift

import (
	"bytes"
	"cmp"
	"fmt"
	"path"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/conf"
)

// Check reads files as the machine-config operator does and follows the
// registries.conf that it makes of them, for every image of the set that mirror
// sets are for: the first place that has the image, or something else by its
// name, has to be where the image is. Where it is not, the error is a
// [relocate.MissedError], or a [relocate.InexpressibleError] where no mirror set
// could do better.
func Check(s relocate.Set, files []relocate.File) error {
	d, err := rules.DialectOf(Format)
	if err != nil {
		return err
	}
	var all bytes.Buffer // the operator takes all objects, and knows no files
	for _, f := range files {
		if path.Ext(f.Name) == ".yaml" {
			all.WriteString("---\n")
			all.Write(f.Data)
		}
	}
	c, err := conf.ReadFiles([]conf.File{{Name: Format + ".yaml", Data: all.Bytes()}}, Format, d)
	if err != nil {
		return fmt.Errorf("read %s back: %w", Format, err)
	}
	f := follower{set: rules.New(c), dialect: d, held: held(s)}
	for _, p := range s.Images {
		if p.Role.Apart() {
			continue
		}
		for _, r := range lookedFor(p) {
			if err := f.lands(r, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// held returns what is at the target.
//
//	:: name there, by tag or by digest → the image
func held(s relocate.Set) map[ref.Ref]relocate.Placed {
	m := make(map[ref.Ref]relocate.Placed)
	for _, p := range s.Images {
		m[p.Target.Name.WithTag(p.Target.Tag)] = p
		if d := cmp.Or(p.Digest, p.Target.Digest); d != "" {
			m[p.Target.Name.WithDigest(d)] = p
		}
	}
	return m
}

// lookedFor returns the references by which a cluster may look for an image.
func lookedFor(p relocate.Placed) []ref.Ref {
	var all []ref.Ref
	n := p.Name()
	byDigest, byTag := led(p)
	if byTag {
		all = append(all, n.Name.WithTag(n.Tag))
	}
	if d := n.Digest; d != "" && !remade(p) {
		all = append(all, n.Name.WithDigest(d), n)
	} else if d == "" && byDigest && p.Digest != "" {
		all = append(all, n.Name.WithDigest(p.Digest))
	}
	return all
}

// A follower follows mirror rules to the target.
type follower struct {
	set     *rules.Set
	dialect rules.Dialect
	held    map[ref.Ref]relocate.Placed
}

// lands follows the rules for one reference to an image.
func (f *follower) lands(r ref.Ref, p relocate.Placed) error {
	missed := &relocate.MissedError{Format: Format, Image: r, Want: p.Target, Got: "nowhere"}
	plan := f.set.Plan(r, rules.Pull, f.dialect)
	if plan.Err != nil {
		missed.Got = plan.Err.Error()
		return missed
	}
	for i := range plan.Tries {
		t := &plan.Tries[i]
		if t.Blocked || t.Unusable != "" {
			continue
		}
		at := t.Ref
		if at.Digest != "" {
			at.Tag = ""
		}
		there, ok := f.held[at]
		switch {
		case at.Name == p.Target.Name && ok:
			return nil
		case ok && at.Digest != "": // a copy of it
			return nil
		case !ok && !t.Original: // it is not there, and the next place is asked
			continue
		case ok:
			return &relocate.InexpressibleError{
				Format:  Format,
				Reasons: []string{fmt.Sprintf("%s would be looked for as %s first, which is %s", r, t.Reference(), there.Name())},
				Hint:    "give all images of " + r.Name.String() + " one target",
			}
		}
		missed.Got = t.Reference()
		return missed
	}
	return missed
}
