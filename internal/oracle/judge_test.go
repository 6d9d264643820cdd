package oracle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/conf"
)

// A machine is where a configuration lies.
type machine struct {
	dir    string
	system bool // dir is the root of the machine, not the configuration itself
}

// An asker answers for an image. An error means that the client refuses.
type asker func(reference string) (answer, error)

// A judge is one client's own code.
type judge struct {
	name   string
	golden string // the file of fixtures
	format string // as rules/conf calls it
	client string // the dialect
	sees   sight
	// only says which fixtures it judges; nil means all of them.
	only func(c *fixture) bool
	// theirs makes the client read a configuration.
	theirs func(m machine) asker
	// names says that the answer is what a short name stands for.
	names bool
	// whole says that a text is not made smaller: with fewer lines it would be
	// a question about the syntax, in which the judge is none.
	whole bool
	// files makes up a configuration, and reference an image to ask for.
	files     func(g *gen) files
	reference func(g *gen, fs files) string
}

// judges are all of them.
func judges() []judge {
	return []judge{podman(), shortNames(), containerd(), buildkit(), dockerDaemon(), k3s(), regctl()}
}

// ours makes Entrepot read a configuration for the judge's client.
func (j *judge) ours(m machine) (asker, error) {
	d, err := rules.DialectOf(j.client)
	if err != nil {
		return nil, err
	}
	var src conf.Source
	if m.system {
		src, err = conf.System(j.client, conf.Machine{Root: m.dir})
	} else {
		src, err = conf.Open(j.format+"="+m.dir, conf.Machine{})
	}
	if err != nil {
		return nil, err
	}
	cfg, err := conf.Read(src, d)
	if err != nil {
		return nil, err
	}
	set := rules.New(cfg)
	return func(reference string) (answer, error) { return j.plan(set, d, reference) }, nil
}

func (j *judge) plan(set *rules.Set, d rules.Dialect, reference string) (answer, error) {
	var a answer
	refs, err := set.Expand(reference, d)
	if err != nil {
		return a, err
	}
	if j.names {
		if set.Refused() != nil {
			return a, set.Refused()
		}
		for _, r := range refs {
			a.Places = append(a.Places, place{Ref: r.String()})
		}
		return a, nil
	}
	plan := set.Plan(refs[0], rules.Pull, d)
	if plan.Err != nil && len(plan.Tries) == 0 {
		return a, plan.Err
	}
	if plan.Rule != nil {
		a.Rule = plan.Rule.Match.String()
	}
	for i := range plan.Tries {
		a.Places = append(a.Places, placeOf(&plan.Tries[i]))
	}
	for _, s := range plan.Skips {
		a.skip(s.Host, placeOf(&s.Try).Can)
	}
	return a, nil
}

// files are a configuration.
//
//	:: path → text
type files map[string]string

// write puts the files below a directory, and nothing else. "{root}" in them is
// that directory.
func (fs files) write(tb testing.TB, dir string) {
	tb.Helper()
	if err := os.RemoveAll(dir); err != nil {
		tb.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	for name, text := range fs {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(text, "{root}", dir)), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
}
