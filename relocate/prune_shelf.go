package relocate

import (
	"maps"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
)

// A shelf is one repository on which it is decided what stays.
type shelf struct {
	Stock
	set      PruneSet
	tagged   map[oci.Digest][]string     // :: manifest → its tags, sorted
	refers   map[oci.Digest][]oci.Digest // :: manifest → those that have it as their subject
	subject  map[string]oci.Digest       // :: tag that is about another manifest → that manifest
	about    map[oci.Digest][]string     // :: manifest → the tags that are about it
	kept     map[oci.Digest]string       // :: manifest that stays → why
	named    map[string]string           // :: tag that is removed by name → by which input
	keptTags map[string]bool
	doomed   map[oci.Digest]string // :: manifest that goes if nothing needs it → why
}

// shelf decides about one repository.
func (set PruneSet) shelf(s Stock) *shelf {
	f := &shelf{
		Stock: s, set: set,
		tagged: make(map[oci.Digest][]string), refers: make(map[oci.Digest][]oci.Digest),
		subject: make(map[string]oci.Digest), about: make(map[oci.Digest][]string),
		kept: make(map[oci.Digest]string), named: make(map[string]string), keptTags: make(map[string]bool),
		doomed: make(map[oci.Digest]string),
	}
	for _, tag := range slices.Sorted(maps.Keys(s.Tags)) {
		f.tagged[s.Tags[tag]] = append(f.tagged[s.Tags[tag]], tag)
	}
	for _, d := range f.digests() {
		if to := s.Manifests[d].Subject; to != "" {
			f.refers[to] = append(f.refers[to], d)
		}
	}
	f.findAbout()
	if !set.Rest {
		f.doom()
	}
	f.keep()
	return f
}

// digests returns all manifests, sorted.
func (f *shelf) digests() []oci.Digest { return slices.Sorted(maps.Keys(f.Manifests)) }

// findAbout notes the tags that are about a manifest: cosign's, the list of
// referrers, and others that are made of its digest. A tag that leads to the
// manifest itself is none.
func (f *shelf) findAbout() {
	stems := make(map[string]oci.Digest)
	for d := range f.Manifests {
		stems[oci.FallbackTag(d)] = d
	}
	for _, tag := range slices.Sorted(maps.Keys(f.Tags)) {
		stem, _, _ := strings.Cut(tag, ".")
		if d, ok := stems[stem]; ok && f.Tags[tag] != d {
			f.subject[tag] = d
			f.about[d] = append(f.about[d], tag)
		}
	}
}

// doom finds what the images to remove lead to: their manifests, what these need,
// and what refers to any of it.
func (f *shelf) doom() {
	for _, w := range f.set.Remove {
		if w.Target.Name != f.Repository {
			continue
		}
		d, ok := f.Tags[w.Target.Tag]
		if ok && (w.Target.Digest == "" || w.Target.Digest == d) {
			f.named[w.Target.Tag] = w.Name
			f.walk(f.doomed, d, "named by "+w.Name, f.hangsOn)
		}
		if _, ok := f.Manifests[w.Target.Digest]; ok {
			f.walk(f.doomed, w.Target.Digest, "named by "+w.Name, f.hangsOn)
		}
	}
}

// hangsOn yields what goes with a manifest: its parts, and what refers to it.
func (f *shelf) hangsOn(d oci.Digest, yield func(oci.Digest, string)) {
	for _, part := range f.Manifests[d].Parts {
		yield(part, "part of "+string(d))
	}
	for _, r := range f.refers[d] {
		yield(r, "refers to "+string(d))
	}
	for _, tag := range f.about[d] {
		yield(f.Tags[tag], "is about "+string(d))
	}
}

// needs yields what has to stay with a manifest: what hangs on it, and its
// subject.
func (f *shelf) needs(d oci.Digest, yield func(oci.Digest, string)) {
	f.hangsOn(d, yield)
	if s := f.Manifests[d].Subject; s != "" {
		yield(s, "subject of "+string(d))
	}
}

// walk marks a manifest and all that edges lead to from it.
func (f *shelf) walk(marks map[oci.Digest]string, from oci.Digest, why string, edges func(oci.Digest, func(oci.Digest, string))) {
	type step struct {
		to  oci.Digest
		why string
	}
	for next := []step{{from, why}}; len(next) > 0; {
		at := next[0]
		next = next[1:]
		_, there := f.Manifests[at.to]
		if _, done := marks[at.to]; done || !there {
			continue
		}
		marks[at.to] = at.why
		edges(at.to, func(to oci.Digest, why string) { next = append(next, step{to, why}) })
	}
}

// keep finds what stays.
func (f *shelf) keep() {
	for _, w := range f.set.Keep {
		if w.Target.Name == f.Repository {
			f.keepImage(w)
		}
	}
	if f.set.Rest {
		return
	}
	for _, tag := range slices.Sorted(maps.Keys(f.Tags)) {
		d := f.Tags[tag]
		_, named := f.named[tag]
		_, follows := f.doomed[f.subject[tag]]
		if !named && !follows {
			f.walk(f.kept, d, "tag "+tag, f.needs)
		}
	}
}

// keepImage keeps what an image leads to.
func (f *shelf) keepImage(w Wanted) {
	why := "image " + w.Name
	if d, ok := f.Tags[w.Target.Tag]; ok {
		f.keptTags[w.Target.Tag] = true
		f.walk(f.kept, d, why, f.needs)
		if s, ok := f.subject[w.Target.Tag]; ok {
			f.walk(f.kept, s, why, f.needs)
		}
	}
	if _, ok := f.Manifests[w.Target.Digest]; ok {
		f.walk(f.kept, w.Target.Digest, why, f.needs)
	}
}

// staysTag reports whether a tag stays, of a manifest that does.
func (f *shelf) staysTag(tag string) bool {
	if f.keptTags[tag] {
		return true
	}
	d := f.Tags[tag]
	subject, about := f.subject[tag]
	if about {
		if _, kept := f.kept[subject]; kept {
			return true
		}
		_, doomed := f.doomed[subject]
		return !f.set.Rest && !doomed
	}
	if f.set.Rest {
		return f.isKeeper(tag, d)
	}
	_, named := f.named[tag]
	return !named
}

// isKeeper reports whether a tag is made of the digest of what it leads to: to
// keep an image that is named by its digest. It does nothing else, so it stays as
// long as its manifest.
func (f *shelf) isKeeper(tag string, d oci.Digest) bool {
	if stem, _, _ := strings.Cut(tag, "."); stem == oci.FallbackTag(d) {
		return true
	}
	if f.set.Naming == nil {
		return false
	}
	keeper, err := f.set.Naming.keep.tag(d)
	return err == nil && tag == keeper
}

// goes returns the manifests that go.
func (f *shelf) goes() map[oci.Digest]bool {
	goes := make(map[oci.Digest]bool)
	for d := range f.Manifests {
		_, kept := f.kept[d]
		_, doomed := f.doomed[d]
		if !kept && (f.set.Rest || doomed) {
			goes[d] = true
		}
	}
	return goes
}

// removals returns what goes: tags first, then each manifest before those that
// it needs and its subject.
func (f *shelf) removals() []Removal {
	var all []Removal
	for _, d := range f.digests() {
		why, kept := f.kept[d]
		if !kept {
			continue
		}
		for _, tag := range f.tagged[d] {
			if !f.staysTag(tag) {
				all = append(all, f.removal(d, []string{tag}, "the manifest stays: "+why))
			}
		}
	}
	for _, d := range f.order(f.goes()) {
		why := f.doomed[d]
		if f.set.Rest {
			why = "nothing that is kept needs it"
		}
		r := f.removal(d, f.tagged[d], why)
		r.Manifest = true
		all = append(all, r)
	}
	return all
}

func (f *shelf) removal(d oci.Digest, tags []string, why string) Removal {
	if tags == nil {
		tags = []string{}
	}
	return Removal{
		Repository: f.Repository.String(), Digest: d, MediaType: f.Manifests[d].MediaType,
		Tags: tags, Why: why, Result: Planned, name: f.Repository,
	}
}

// order sorts manifests so that each one comes before what it leads to: an index
// before its parts, a referrer before its subject. What a tag is about gives way
// where both cannot be had, since tags can go round in a circle.
func (f *shelf) order(goes map[oci.Digest]bool) []oci.Digest {
	hard, soft := make(map[oci.Digest]int), make(map[oci.Digest]int) // :: manifest → what leads there and is not in the order yet
	all := slices.Sorted(maps.Keys(goes))
	for _, d := range all {
		f.count(d, hard, soft, 1)
	}
	var order, ready []oci.Digest
	done := make(map[oci.Digest]bool)
	offer := func(some []oci.Digest) {
		for _, d := range some {
			if goes[d] && !done[d] && hard[d] == 0 && soft[d] == 0 {
				ready = append(ready, d)
				done[d] = true
			}
		}
	}
	for offer(all); len(order) < len(all); {
		if len(ready) == 0 { // a circle
			i := slices.IndexFunc(all, func(d oci.Digest) bool { return !done[d] && hard[d] == 0 })
			if i < 0 { // which no hash can be part of
				i = slices.IndexFunc(all, func(d oci.Digest) bool { return !done[d] })
			}
			ready, done[all[i]] = append(ready, all[i]), true
		}
		d := ready[0]
		ready, order = ready[1:], append(order, d)
		f.count(d, hard, soft, -1)
		offer(f.leadsTo(d))
	}
	return order
}

// count adds to the counts of what a manifest leads to.
func (f *shelf) count(d oci.Digest, hard, soft map[oci.Digest]int, n int) {
	for _, to := range f.Manifests[d].Parts {
		hard[to] += n
	}
	if s := f.Manifests[d].Subject; s != "" {
		hard[s] += n
	}
	for _, tag := range f.tagged[d] {
		soft[f.subject[tag]] += n
	}
}

// leadsTo returns what a manifest names: its parts, its subject, and what its
// tags are about.
func (f *shelf) leadsTo(d oci.Digest) []oci.Digest {
	to := slices.Clone(f.Manifests[d].Parts)
	if s := f.Manifests[d].Subject; s != "" {
		to = append(to, s)
	}
	for _, tag := range f.tagged[d] {
		if s, ok := f.subject[tag]; ok {
			to = append(to, s)
		}
	}
	return to
}

// stays returns what stays, and why.
func (f *shelf) stays() []Stay {
	var all []Stay
	for _, d := range f.digests() {
		why, kept := f.kept[d]
		if !kept {
			continue
		}
		s := Stay{Repository: f.Repository.String(), Digest: d, Tags: []string{}, Why: why}
		for _, tag := range f.tagged[d] {
			if f.staysTag(tag) {
				s.Tags = append(s.Tags, tag)
			}
		}
		all = append(all, s)
	}
	return all
}
