package relocate

import (
	"errors"
	"fmt"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/conf"
)

// setRules makes the naming of a registries.conf: an image goes where podman
// with that file would look for it first. The longest prefix that matches is
// replaced by the first mirror's location, or by the location itself where the
// rule has no mirror. So the file that clients have already says where its
// images belong.
func (n *Naming) setRules(file string, read func(string) ([]byte, error)) error {
	if read == nil {
		return errors.New("rules: there is no way to read a file")
	}
	text, err := read(file)
	if err != nil {
		return fmt.Errorf("read rules: %w", err)
	}
	d, err := rules.DialectOf("podman")
	if err != nil {
		return err
	}
	c, err := conf.Read(conf.Source{Format: "registries.conf", Name: file, Text: text}, d)
	if err != nil {
		return fmt.Errorf("read rules: %w", err)
	}
	for i := range c.Problems {
		if p := &c.Problems[i]; p.Level == rules.Error || c.Refused != nil {
			return p
		}
	}
	set := rules.New(c)
	n.name = func(r ref.Ref) (ref.Name, error) { return firstPlace(set.Plan(r, rules.Pull, d), file) }
	return nil
}

// firstPlace returns the repository at the first place of a plan that is not
// the image's own.
func firstPlace(p rules.Plan, file string) (ref.Name, error) {
	if p.Rule == nil {
		return ref.Name{}, fmt.Errorf("%s: no rule in %s is for it", p.Ref.Name, file)
	}
	for i := range p.Tries {
		if t := &p.Tries[i]; t.Ref.Name != p.Ref.Name && t.Unusable == "" {
			return t.Ref.Name, nil
		}
	}
	if p.Err != nil {
		return ref.Name{}, fmt.Errorf("%s: %w", p.Ref.Name, p.Err)
	}
	return ref.Name{}, fmt.Errorf("%s: the rule for %s at %s leads to no other place", p.Ref.Name, p.Rule.Match, p.Rule.Origin)
}
