package catalog_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"

	"github.com/entrepot/entrepot/catalog"
)

// The model of a random catalog, as it is written into a file.
type (
	jsonEntry struct {
		Name     string   `json:"name"`
		Replaces string   `json:"replaces,omitempty"`
		Skips    []string `json:"skips,omitempty"`
	}
	jsonObject struct {
		Schema         string           `json:"schema"`
		Name           string           `json:"name,omitempty"`
		Package        string           `json:"package,omitempty"`
		DefaultChannel string           `json:"defaultChannel,omitempty"`
		Image          string           `json:"image,omitempty"`
		Entries        []jsonEntry      `json:"entries,omitempty"`
		Properties     []map[string]any `json:"properties,omitempty"`
		RelatedImages  []map[string]any `json:"relatedImages,omitempty"`
	}
)

// draw makes a catalog: packages with channels, each a chain from the newest version
// down with some that are skipped, and bundles that require others.
func draw(t *rapid.T) []jsonObject {
	var all []jsonObject
	names := []string{"alpha", "beta", "gamma"}[:rapid.IntRange(1, 3).Draw(t, "packages")]
	for _, p := range names {
		n := rapid.IntRange(1, 8).Draw(t, "versions")
		channels := rapid.IntRange(1, 3).Draw(t, "channels")
		all = append(all, jsonObject{Schema: "olm.package", Name: p, DefaultChannel: "c0"})
		used := map[int]bool{}
		for c := range channels {
			ch := jsonObject{Schema: "olm.channel", Name: fmt.Sprintf("c%d", c), Package: p}
			ch.Entries = drawEntries(t, p, n, used)
			all = append(all, ch)
		}
		for v := range n {
			if used[v] {
				all = append(all, drawBundle(t, p, v, names))
			}
		}
	}
	return all
}

// drawEntries makes the entries of a channel out of some versions.
func drawEntries(t *rapid.T, p string, n int, used map[int]bool) []jsonEntry {
	var in []int
	for v := range n {
		if v == 0 || rapid.Bool().Draw(t, "in") {
			in = append(in, v)
			used[v] = true
		}
	}
	slices.Reverse(in)
	name := func(v int) string { return fmt.Sprintf("%s.v%d", p, v) }
	var entries []jsonEntry
	last := -1 // the entry of the chain above
	for i, v := range in {
		e := jsonEntry{Name: name(v)}
		entries = append(entries, e)
		if i > 0 && rapid.IntRange(0, 3).Draw(t, "skipped") == 0 {
			entries[last].Skips = append(entries[last].Skips, e.Name)
			if rapid.Bool().Draw(t, "replaces as well") && i+1 < len(in) {
				entries[i].Replaces = name(in[i+1])
			}
			continue
		}
		if last >= 0 {
			entries[last].Replaces = e.Name
		}
		last = i
	}
	if rapid.Bool().Draw(t, "tail replaces what is not there") {
		entries[last].Replaces = p + ".gone"
	}
	return entries
}

func drawBundle(t *rapid.T, p string, v int, names []string) jsonObject {
	b := jsonObject{Schema: "olm.bundle", Name: fmt.Sprintf("%s.v%d", p, v), Package: p, Image: fmt.Sprintf("r.io/%s/bundle:%d", p, v)}
	b.Properties = []map[string]any{
		{"type": "olm.package", "value": map[string]any{"packageName": p, "version": fmt.Sprintf("1.%d.0", v)}},
		{"type": "olm.gvk", "value": map[string]any{"group": p, "version": "v1", "kind": "K"}},
	}
	b.RelatedImages = []map[string]any{{"name": "", "image": b.Image}, {"name": "op", "image": fmt.Sprintf("r.io/%s/op:%d", p, v/2)}}
	if need := rapid.SampledFrom(names).Draw(t, "requires"); need != p {
		r := map[string]any{"type": "olm.gvk.required", "value": map[string]any{"group": need, "version": "v1", "kind": "K"}}
		if rapid.Bool().Draw(t, "by version") {
			r = map[string]any{"type": "olm.package.required", "value": map[string]any{"packageName": need, "versionRange": fmt.Sprintf("<=1.%d.0", rapid.IntRange(0, 6).Draw(t, "below"))}}
		}
		b.Properties = append(b.Properties, r)
	}
	return b
}

// drawFilter makes a filter for a catalog of draw.
func drawFilter(t *rapid.T, c *catalog.Catalog) catalog.Filter {
	f := catalog.Filter{Full: rapid.IntRange(0, 4).Draw(t, "full") == 0, SkipDependencies: rapid.Bool().Draw(t, "skip dependencies")}
	version := func() string {
		if f.Full || rapid.Bool().Draw(t, "no limit") {
			return ""
		}
		return fmt.Sprintf("1.%d.0", rapid.IntRange(0, 7).Draw(t, "limit"))
	}
	for _, p := range c.Summary() {
		if !rapid.Bool().Draw(t, "take") {
			continue
		}
		k := pf{Name: p.Name}
		if rapid.Bool().Draw(t, "range") {
			k.Min, k.Max = version(), version()
		}
		for _, ch := range p.Channels {
			if rapid.Bool().Draw(t, "name the channel") {
				each := cf{Name: ch.Name}
				if k.Min == "" && k.Max == "" {
					each.Min, each.Max = version(), version()
				}
				k.Channels = append(k.Channels, each)
			}
		}
		if len(k.Channels) > 0 && rapid.Bool().Draw(t, "default") {
			k.DefaultChannel = k.Channels[0].Name
		}
		f.Packages = append(f.Packages, k)
	}
	return f
}

func write(t *rapid.T, all []jsonObject) *catalog.Catalog {
	var b strings.Builder
	for _, o := range all {
		raw, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(raw)
	}
	c, err := catalog.Read(fstest.MapFS{"c.json": {Data: []byte(b.String())}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFilterKeepsCatalogsWhole holds of random catalogs and filters that what is
// kept is a catalog: each channel has one head, from which all its entries are
// reached, and each entry has its bundle; the default channel is there; images are
// among those of the whole; heads and versions that were asked for are in it; what
// the kept bundles require is, where the whole has it; and filtering again changes
// nothing.
func TestFilterKeepsCatalogsWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		objects := draw(t)
		c := write(t, objects)
		f := drawFilter(t, c)
		kept, problems, err := c.Filter(f)
		if err != nil {
			return // a default channel that is left out, a range without a version
		}
		files := kept.Files()
		again := read(t2(t), fsOf(files))
		if got := again.Files(); !slices.EqualFunc(got, files, func(a, b catalog.File) bool { return a.Path == b.Path && string(a.Data) == string(b.Data) }) {
			t.Error("what is written is read as something else")
		}
		checkChannels(t, files)
		all, _ := c.Images()
		some, wrong := kept.Images()
		for _, i := range some {
			if !slices.ContainsFunc(all, func(w catalog.Related) bool { return w.Ref == i.Ref && w.Bundle == i.Bundle }) {
				t.Errorf("%s is no image of the whole", i.Ref)
			}
		}
		if len(wrong) > 0 {
			t.Errorf("problems: %v", wrong)
		}
		checkAsked(t, objects, f, kept)
		if !f.SkipDependencies {
			checkRequired(t, objects, kept, problems)
		}
		same, _, err := kept.Filter(catalog.Filter{Full: true, SkipDependencies: true, Packages: named(kept)})
		if err != nil {
			t.Fatal(err)
		}
		if a, b := inside(t2(t), kept), inside(t2(t), same); !slices.Equal(a, b) {
			t.Errorf("filtered in full it is another: %v, %v", a, b)
		}
	})
}

func named(c *catalog.Catalog) (all []pf) {
	for _, name := range c.Packages() {
		all = append(all, pf{Name: name})
	}
	return all
}

func fsOf(files []catalog.File) fstest.MapFS {
	dir := fstest.MapFS{}
	for _, f := range files {
		dir[f.Path] = &fstest.MapFile{Data: f.Data}
	}
	return dir
}

// objectsOf reads files by other means than the package's.
func objectsOf(t *rapid.T, files []catalog.File) (all []jsonObject) {
	for _, f := range files {
		for dec := json.NewDecoder(strings.NewReader(string(f.Data))); dec.More(); {
			var o jsonObject
			if err := dec.Decode(&o); err != nil {
				t.Fatal(err)
			}
			all = append(all, o)
		}
	}
	return all
}

// checkChannels holds that a catalog is whole.
func checkChannels(t *rapid.T, files []catalog.File) {
	bundles, channels, used := map[string]bool{}, map[string]bool{}, map[string]bool{}
	all := objectsOf(t, files)
	for _, o := range all {
		switch o.Schema {
		case "olm.bundle":
			bundles[o.Name] = true
		case "olm.channel":
			channels[o.Package+"/"+o.Name] = true
			checkGraph(t, o)
			for _, e := range o.Entries {
				used[e.Name] = true
			}
		}
	}
	for _, o := range all {
		if o.Schema == "olm.package" && !channels[o.Name+"/"+o.DefaultChannel] {
			t.Errorf("package %s has no default channel %s", o.Name, o.DefaultChannel)
		}
	}
	for name := range used {
		if !bundles[name] {
			t.Errorf("the entry %s has no bundle", name)
		}
	}
	for name := range bundles {
		if !used[name] {
			t.Errorf("the bundle %s is in no channel", name)
		}
	}
}

// checkGraph holds that a channel has one head and that it leads to all entries: by
// what OLM says of channels, along what replaces each other, and to what is skipped.
func checkGraph(t *rapid.T, ch jsonObject) {
	entries, lead := map[string]jsonEntry{}, map[string]bool{}
	for _, e := range ch.Entries {
		entries[e.Name] = e
		for _, to := range append(slices.Clone(e.Skips), e.Replaces) {
			lead[to] = true
		}
	}
	var heads []string
	reached := map[string]bool{}
	for name, e := range entries {
		if !lead[name] {
			heads = append(heads, name)
		}
		for _, s := range e.Skips {
			reached[s] = true
		}
	}
	if len(heads) != 1 {
		t.Fatalf("%s/%s has the heads %v: %v", ch.Package, ch.Name, heads, ch.Entries)
	}
	for name := heads[0]; name != ""; name = entries[name].Replaces {
		reached[name] = true
	}
	for name := range entries {
		if !reached[name] {
			t.Errorf("%s/%s: %s is stranded: %v", ch.Package, ch.Name, name, ch.Entries)
		}
	}
}

// checkAsked holds that what a filter asks for is kept: all versions in a range, else
// the head.
func checkAsked(t *rapid.T, objects []jsonObject, f catalog.Filter, kept *catalog.Catalog) {
	have := strings.Join(inside(t2(t), kept), "\n") + "\n"
	has := func(p, ch, entry string) bool {
		for line := range strings.Lines(have) {
			name, entries, _ := strings.Cut(strings.TrimSpace(line), ": ")
			if strings.TrimSuffix(name, "*") == p+"/"+ch && slices.Contains(strings.Fields(entries), entry) {
				return true
			}
		}
		return false
	}
	for _, o := range objects {
		i := slices.IndexFunc(f.Packages, func(k pf) bool { return k.Name == o.Package })
		if o.Schema != "olm.channel" || len(f.Packages) > 0 && i < 0 {
			continue
		}
		var lo, hi string
		if i >= 0 {
			k := f.Packages[i]
			lo, hi = k.Min, k.Max
			n := slices.IndexFunc(k.Channels, func(c cf) bool { return c.Name == o.Name })
			if n < 0 && len(k.Channels) > 0 {
				continue
			} else if n >= 0 && k.Channels[n].Min+k.Channels[n].Max != "" {
				lo, hi = k.Channels[n].Min, k.Channels[n].Max
			}
		}
		for at, e := range o.Entries {
			v := "1." + e.Name[strings.LastIndexByte(e.Name, 'v')+1:] + ".0" // of one digit, so that texts compare
			asked := at == 0
			if lo+hi != "" {
				asked = (lo == "" || v >= lo) && (hi == "" || v <= hi)
			}
			if (asked || f.Full) && !has(o.Package, o.Name, e.Name) {
				t.Errorf("%s/%s: %s is asked for by %+v and not kept:\n%s", o.Package, o.Name, e.Name, f, have)
			}
		}
	}
}

// checkRequired holds that each requirement of a kept bundle is met, or told.
func checkRequired(t *rapid.T, objects []jsonObject, kept *catalog.Catalog, problems []catalog.Problem) {
	have := map[string]bool{}
	for _, p := range kept.Summary() {
		for _, ch := range p.Channels {
			for _, e := range ch.Entries {
				have[e] = true
			}
		}
	}
	meets := func(kind string, value map[string]any, b jsonObject) bool {
		if kind == "olm.gvk.required" {
			return b.Package == value["group"]
		}
		limit := strings.TrimPrefix(value["versionRange"].(string), "<=")
		return b.Package == value["packageName"] && "1."+b.Name[strings.LastIndexByte(b.Name, 'v')+1:]+".0" <= limit
	}
	for _, o := range objects {
		if o.Schema != "olm.bundle" || !have[o.Name] {
			continue
		}
		for _, p := range o.Properties[2:] {
			met := false
			for _, b := range objects {
				met = met || b.Schema == "olm.bundle" && have[b.Name] && meets(p["type"].(string), p["value"].(map[string]any), b)
			}
			told := slices.ContainsFunc(problems, func(q catalog.Problem) bool { return q.Bundle == o.Name && strings.Contains(q.Text, "does not have") })
			if !met && !told {
				t.Errorf("%s requires %v, and nothing kept is that", o.Name, p)
			}
		}
	}
}

// t2 lets helpers of tests take a rapid.T.
func t2(t *rapid.T) testing.TB { return failing{t: t} }

type failing struct {
	testing.TB
	t *rapid.T
}

func (f failing) Helper()           {}
func (f failing) Fatal(args ...any) { f.t.Fatal(args...) }
