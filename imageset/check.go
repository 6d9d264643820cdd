package imageset

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/document"
)

// check says what is wrong between fields that are right by themselves.
func (r *reading) check() {
	c := r.cfg
	p := c.Platform
	if len(p.Platforms) > 0 && len(p.Architectures) > 0 {
		r.bad(p.Place, "platforms choose of the release that has several, architectures are releases of one each", "platforms and architectures exclude each other")
	}
	if p.Release != "" && len(p.Channels) > 0 {
		r.bad(p.ReleaseAt, "leave one of them out, or write two configurations", "with a release the channels would not be looked at")
	}
	if (p.Graph || p.KubeVirt) && p.Release == "" && len(p.Channels) == 0 {
		r.bad(p.Place, "add channels, or a release", "there is no release to go with it")
	}
	r.unique("channel", len(p.Channels), func(i int) (string, Place) { return p.Channels[i].Name, p.Channels[i].Place })
	r.unique("catalog", len(c.Operators), func(i int) (string, Place) { return c.Operators[i].unique(), c.Operators[i].Place })
	for _, o := range c.Operators {
		r.checkOperator(o)
	}
	r.unique("chart repository", len(c.Helm.Repositories), func(i int) (string, Place) {
		return c.Helm.Repositories[i].Name, c.Helm.Repositories[i].Place
	})
	slices.SortStableFunc(r.errs, func(a, b error) int { return cmp.Compare(line(a), line(b)) })
}

func line(err error) int {
	e, ok := errors.AsType[*document.Error](err)
	if !ok {
		return 0
	}
	return e.At.Line
}

func (r *reading) bad(p Place, hint, format string, args ...any) {
	r.errs = append(r.errs, p.err(nil, hint, fmt.Sprintf(format, args...)))
}

// unique says that a name is there twice.
func (r *reading) unique(what string, n int, at func(int) (string, Place)) {
	first := map[string]Place{}
	for i := range n {
		name, p := at(i)
		if name == "" {
			continue
		}
		if before, ok := first[name]; ok {
			r.bad(p, "", "the %s %s is in line %d already", what, name, before.At.Line)
			continue
		}
		first[name] = p
	}
}

// unique is what tells a catalog from the others: where it comes from, or where
// it goes to if it is to go elsewhere.
func (o Operator) unique() string {
	if o.TargetCatalog == "" && o.TargetName == "" && o.TargetTag == "" {
		return o.Catalog
	}
	return strings.Join([]string{o.Catalog, cmp.Or(o.TargetCatalog, o.TargetName), o.TargetTag}, " ")
}

func (r *reading) checkOperator(o Operator) {
	if o.OriginalRef != "" && !strings.HasPrefix(o.Catalog, layoutScheme) {
		r.bad(o.below("originalRef"), "leave it out", "only a catalog on disk has another original name")
	}
	if o.TargetName != "" && strings.Contains(o.TargetName, "/") {
		r.bad(o.below("targetName"), "use targetCatalog", "%q is more than a name", o.TargetName)
	}
	r.unique("package", len(o.Packages), func(i int) (string, Place) { return o.Packages[i].Name, o.Packages[i].Place })
	for _, p := range o.Packages {
		r.unique("channel", len(p.Channels), func(i int) (string, Place) { return p.Channels[i].Name, p.Channels[i].Place })
		for _, c := range p.Channels {
			if (p.Min != "" || p.Max != "") && (c.Min != "" || c.Max != "") {
				r.bad(c.Place, "give them for the channels alone", "versions of the package and of its channel exclude each other")
			}
		}
	}
}
