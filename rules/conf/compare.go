package conf

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// A diffKind says in what two plans for an image differ.
type diffKind uint8

const (
	diffPlaces   diffKind = 1 << iota // other places
	diffOriginal                      // the original comes last in addition
	diffOrder                         // the same places in another order
	diffNS
	diffReach
	diffCerts
	diffHeader
	diffDial
)

// A difference is one between the plans for an image by the source and by the
// result.
type difference struct {
	kind diffKind
	rule int     // the source's rule for the image; -1 where there is none
	ref  ref.Ref // the image
	host string  // of the place; empty where it is about all of them
	text string
}

// inNet reports whether the place is an address in a network.
func (d *difference) inNet(n netip.Prefix) bool {
	host := withoutPort(d.host)
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && n.Contains(addr)
}

// withoutPort drops the port of host[:port].
func withoutPort(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return host[:i]
	}
	return host
}

// source returns the dialect in which the source is planned.
func (w *writing) source() rules.Dialect { return comparable(w.opts.Source) }

// comparable lets a dialect make one try of each place.
func comparable(d rules.Dialect) rules.Dialect {
	d.SplitFallback = false
	return d
}

// compare reads the files back as their client does, and holds the plans that
// they make against the source's. What differs and no loss explains is a loss
// of its own.
func (w *writing) compare(files []File) {
	strict, err := readBack(files, w.format, rules.Native())
	if err == nil {
		err = firstError(strict)
	}
	result, err2 := readBack(files, w.format, w.target)
	if err = cmp.Or(err, err2); err == nil && result.Refused != nil {
		err = result.Refused
	}
	if err != nil {
		w.lose(Loss{Feature: featureInvalid, Refuse: true, Text: fmt.Sprintf("the result is not valid: %v", err)}, func(difference) bool { return false })
		return
	}
	c := comparison{
		from: w.from, to: rules.New(result), fromDialect: w.source(), toDialect: comparable(w.target),
		rules: map[*rules.Rule]int{}, configs: []*rules.Config{&w.cfg, &result},
	}
	for i := range c.from.Rules() {
		c.rules[&c.from.Rules()[i]] = i
	}
	for _, r := range w.references(result) {
		for _, d := range c.reference(r) {
			w.unexplained(d)
		}
	}
}

func firstError(cfg rules.Config) error {
	for i := range cfg.Problems {
		if p := &cfg.Problems[i]; p.Level == rules.Error {
			return p
		}
	}
	return nil
}

// readBack reads files that were written.
func readBack(files []File, f format, d rules.Dialect) (rules.Config, error) {
	r := &reading{src: Source{Format: f.name, Elsewhere: true}, d: d, fold: f.fold}
	if WritesDirectory(f.name) {
		for _, one := range files {
			dir, _, _ := strings.Cut(one.Name, "/")
			h := hostDir{reading: r, file: &file{name: one.Name, data: one.Data, size: len(one.Data)}, match: hostsMatch(dir)}
			r.cfg.Rules = append(r.cfg.Rules, h.rule())
		}
		return r.cfg, nil
	}
	if len(files) == 0 {
		return rules.Config{}, nil
	}
	r.src.Name, r.src.Text = files[0].Name, files[0].Data
	err := f.read(r)
	return r.cfg, err
}

// unexplained notes a difference that no loss explains.
func (w *writing) unexplained(d difference) {
	if slices.ContainsFunc(w.losses, func(l loss) bool { return l.explains(d) }) ||
		slices.ContainsFunc(w.accepted, func(accepts func(difference) bool) bool { return accepts(d) }) {
		return
	}
	l := Loss{Feature: featureDifference, Refuse: true, Text: fmt.Sprintf("%s: %s", d.ref.Familiar(), d.text)}
	if d.rule >= 0 {
		l.At = w.cfg.Rules[d.rule].Origin
	}
	w.lose(l, func(o difference) bool { return d.rule >= 0 && o.rule == d.rule && o.kind == d.kind })
}

// references returns the images that are compared: some that each rule of the
// source, or of the result, is for, some that it is not for, and those that the
// caller names.
func (w *writing) references(result rules.Config) []ref.Ref {
	names := []ref.Name{{Host: ref.DockerHub, Path: "library/sample"}, {Host: ref.DockerHub, Path: "sample/image"}, {Host: "registry.example.org", Path: "sample/image"}}
	for _, host := range w.opts.Hosts {
		names = append(names, ref.Name{Host: canonicalHub(host), Path: "sample/image"})
	}
	for _, cfg := range []rules.Config{w.cfg, result} {
		for i := range cfg.Rules {
			if m := cfg.Rules[i].Match; m.Kind != rules.Never {
				names = append(names, namesFor(m)...)
			}
		}
	}
	for host := range w.cfg.Hosts {
		names = append(names, ref.Name{Host: canonicalHub(host), Path: "sample/image"})
	}
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	var refs []ref.Ref
	seen := map[ref.Name]bool{}
	for _, n := range names {
		if w.opts.Source.FoldCase {
			n.Host = strings.ToLower(n.Host)
		}
		if seen[n] || !ref.ValidHost(n.Host) || !ref.ValidPath(n.Path) || isOneLabel(n.Host) {
			continue
		}
		seen[n] = true
		refs = append(refs, n.WithTag("v1"), n.WithDigest(digest), ref.Ref{Name: n, Tag: "v1", Digest: digest})
	}
	slices.SortStableFunc(refs[9:], func(a, b ref.Ref) int { return strings.Compare(a.String(), b.String()) })
	return append(refs, w.opts.References...)
}

// namesFor returns names that a match is for, and some that it is not for.
func namesFor(m rules.Match) []ref.Name {
	m.Host = canonicalHub(m.Host)
	n := sample(m)
	names := []ref.Name{n}
	switch m.Kind {
	case rules.Any:
		names = append(names, ref.Name{Host: "other.example.net:5000", Path: "a/b/c"})
	case rules.HostSuffix:
		names = append(names, ref.Name{Host: m.Host, Path: "sample/image"}, ref.Name{Host: "a.b." + m.Host, Path: "sample/image"})
	case rules.Host:
		names = append(names, ref.Name{Host: n.Host, Path: "library/sample"}, ref.Name{Host: n.Host, Path: "a/b/c"})
	case rules.Prefix:
		names = append(names, ref.Name{Host: n.Host, Path: m.Path + "x/sample"}, ref.Name{Host: n.Host, Path: "sample/image"})
		if strings.Contains(m.Path, "/") {
			names = append(names, ref.Name{Host: n.Host, Path: m.Path})
		}
	}
	return names
}
