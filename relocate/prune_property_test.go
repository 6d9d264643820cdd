package relocate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// drawStock makes a repository of images, indexes, referrers of any of them,
// cosign's tags, fallback tags and tags to keep.
func drawStock(t *rapid.T, n ref.Name) relocate.Stock {
	s := relocate.Stock{Repository: n, Tags: map[string]oci.Digest{}, Manifests: map[oci.Digest]relocate.Stocked{}}
	var all []oci.Digest
	for i := range rapid.IntRange(1, 12).Draw(t, "manifests") {
		d := oci.FromBytes(fmt.Appendf(nil, "%s %d", n, i), "")
		m := relocate.Stocked{MediaType: oci.TypeImageManifest, Size: 1}
		if len(all) > 0 && rapid.Bool().Draw(t, "is an index") {
			m.MediaType = oci.TypeImageIndex
			m.Parts = rapid.SliceOfN(rapid.SampledFrom(all), 0, 3).Draw(t, "parts")
		}
		if len(all) > 0 && rapid.IntRange(0, 3).Draw(t, "refers") == 0 {
			m.Subject = rapid.SampledFrom(all).Draw(t, "subject")
		}
		s.Manifests[d] = m
		all = append(all, d)
	}
	for i := range rapid.IntRange(1, 8).Draw(t, "tags") {
		d := rapid.SampledFrom(all).Draw(t, "tagged")
		about := strings.Replace(string(rapid.SampledFrom(all).Draw(t, "about")), ":", "-", 1)
		tag := rapid.SampledFrom([]string{fmt.Sprint("v", i), fmt.Sprint("v", i), about, about + ".sig", about + ".att"}).Draw(t, "tag")
		s.Tags[tag] = d
	}
	return s
}

// drawWanted names some tags and digests, there and not.
func drawWanted(t *rapid.T, stocks []relocate.Stock, label string) []relocate.Wanted {
	var all []relocate.Wanted
	for range rapid.IntRange(0, 3).Draw(t, label) {
		s := rapid.SampledFrom(stocks).Draw(t, "repository")
		var tags []string
		for tag := range s.Tags {
			tags = append(tags, tag)
		}
		var digests []oci.Digest
		for d := range s.Manifests {
			digests = append(digests, d)
		}
		slices.Sort(tags)
		slices.Sort(digests)
		r := s.Repository.WithTag(rapid.SampledFrom(append(tags, "none")).Draw(t, "wanted tag"))
		if rapid.Bool().Draw(t, "with a digest") {
			r.Digest = rapid.SampledFrom(digests).Draw(t, "wanted digest")
		}
		all = append(all, relocate.Wanted{Name: r.String(), Target: r})
	}
	return all
}

// reached walks from a manifest to all that a client may ask for who has it, by
// brute force: until nothing is added.
func reached(s relocate.Stock, from ...oci.Digest) map[oci.Digest]bool {
	in := map[oci.Digest]bool{}
	for _, d := range from {
		in[d] = true
	}
	for grown := true; grown; {
		before := len(in)
		for d, m := range s.Manifests {
			if in[d] {
				for _, p := range m.Parts {
					in[p] = true
				}
				if m.Subject != "" {
					in[m.Subject] = true
				}
			}
			if in[m.Subject] {
				in[d] = true
			}
		}
		for tag, d := range s.Tags {
			stem, _, _ := strings.Cut(tag, ".")
			if subject := oci.Digest(strings.Replace(stem, "-", ":", 1)); in[subject] {
				in[d] = true
			}
		}
		grown = len(in) > before
	}
	return in
}

// TestPrunePlanProperty holds of any plan: nothing that a tag that stays leads to
// goes, nothing is missed by what is still there while it is carried out, and what
// nobody needs goes.
func TestPrunePlanProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stocks := []relocate.Stock{drawStock(t, ref.Name{Host: "r.test", Path: "m/a"}), drawStock(t, ref.Name{Host: "r.test", Path: "m/b"})}
		set := relocate.PruneSet{Keep: drawWanted(t, stocks, "keep"), Remove: drawWanted(t, stocks, "remove"), Rest: rapid.Bool().Draw(t, "rest")}
		plan, err := relocate.PlanPrune(stocks, set)
		if (err != nil) != (everything(stocks, plan) && len(plan.Removals) > 0) {
			t.Fatalf("error %v, and the plan removes %d", err, len(plan.Removals))
		}
		for _, s := range stocks {
			checkPlan(t, s, set, plan)
		}
	})
}

// everything reports whether a plan removes every manifest.
func everything(stocks []relocate.Stock, plan relocate.PrunePlan) bool {
	n := 0
	for _, s := range stocks {
		n += len(s.Manifests)
	}
	for _, r := range plan.Removals {
		if r.Manifest {
			n--
		}
	}
	return n == 0
}

func checkPlan(t *rapid.T, s relocate.Stock, set relocate.PruneSet, plan relocate.PrunePlan) {
	tags, at := map[string]bool{}, map[oci.Digest]int{} // that go; when
	for i, r := range plan.Removals {
		if r.Repository != s.Repository.String() {
			continue
		}
		for _, tag := range r.Tags {
			if s.Tags[tag] != r.Digest {
				t.Fatalf("tag %s is removed from %s, it leads to %s", tag, r.Digest, s.Tags[tag])
			}
			tags[tag] = true
		}
		if r.Manifest {
			at[r.Digest] = i
		}
	}
	var stay []oci.Digest
	for tag, d := range s.Tags {
		if !tags[tag] {
			stay = append(stay, d)
		}
	}
	for _, w := range set.Keep {
		if w.Target.Name != s.Repository {
			continue
		}
		if d, ok := s.Tags[w.Target.Tag]; ok {
			if tags[w.Target.Tag] {
				t.Fatalf("the tag %s is to stay, and goes", w.Target.Tag)
			}
			stem, _, _ := strings.Cut(w.Target.Tag, ".")
			stay = append(stay, d, oci.Digest(strings.Replace(stem, "-", ":", 1))) // what it is about, if it is
		}
		if _, ok := s.Manifests[w.Target.Digest]; ok {
			stay = append(stay, w.Target.Digest)
		}
	}
	needed := reached(s, stay...)
	for d, i := range at {
		if needed[d] {
			t.Fatalf("%s goes, and something that stays needs it", d)
		}
		for to := range reached(relocate.Stock{Manifests: onlyParts(s)}, d) {
			if j, goes := at[to]; goes && j < i {
				t.Fatalf("%s goes before %s, which leads to it", to, d)
			}
		}
	}
	if set.Rest {
		for d := range s.Manifests {
			if _, goes := at[d]; !goes && !needed[d] {
				t.Fatalf("nobody needs %s, and it stays", d)
			}
		}
	}
}

// onlyParts is what a stock's indexes lead to.
func onlyParts(s relocate.Stock) map[oci.Digest]relocate.Stocked {
	all := map[oci.Digest]relocate.Stocked{}
	for d, m := range s.Manifests {
		all[d] = relocate.Stocked{Parts: m.Parts}
	}
	return all
}
