package catalog_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/catalog"
)

type (
	pf = catalog.PackageFilter
	cf = catalog.ChannelFilter
)

func TestFilter(t *testing.T) {
	for _, test := range []struct {
		name     string
		filter   catalog.Filter
		want     []string
		problems []string
	}{
		{
			name:   "the heads of everything",
			filter: catalog.Filter{SkipDependencies: true},
			want: []string{
				"amq-streams/amq-streams-2.4.x: amqstreams.v2.4.0-1", "amq-streams/stable*: amqstreams.v2.5.0-0",
				"quay/stable-3.8: quay.v3.8.2", "quay/stable-3.9*: quay.v3.9.3", "serverless/stable*: serverless.v1.31.0",
			},
		},
		{
			name:   "a package's heads",
			filter: catalog.Filter{Packages: []pf{{Name: "quay"}}},
			want:   []string{"quay/stable-3.8: quay.v3.8.2", "quay/stable-3.9*: quay.v3.9.3"},
		},
		{
			name:   "a package in full",
			filter: catalog.Filter{Full: true, Packages: []pf{{Name: "amq-streams"}}},
			want: []string{
				"amq-streams/amq-streams-2.4.x: amqstreams.v2.4.0-1 amqstreams.v2.4.0-0",
				"amq-streams/stable*: amqstreams.v2.5.0-0 amqstreams.v2.4.0-1 amqstreams.v2.4.0-0",
			},
		},
		{
			name:   "a channel's head",
			filter: catalog.Filter{Packages: []pf{{Name: "quay", Channels: []cf{{Name: "stable-3.9"}}}}},
			want:   []string{"quay/stable-3.9*: quay.v3.9.3"},
		},
		{
			name:   "another default channel",
			filter: catalog.Filter{Packages: []pf{{Name: "quay", DefaultChannel: "stable-3.8", Channels: []cf{{Name: "stable-3.8"}}}}},
			want:   []string{"quay/stable-3.8*: quay.v3.8.2"},
		},
		{
			name:   "from a version on, with what is skipped",
			filter: catalog.Filter{Packages: []pf{{Name: "quay", Channels: []cf{{Name: "stable-3.9", Min: "3.9.1"}}}}},
			want:   []string{"quay/stable-3.9*: quay.v3.9.3 quay.v3.9.2 quay.v3.9.1"},
		},
		{
			name:   "a version that is skipped alone needs the one that skips it",
			filter: catalog.Filter{Packages: []pf{{Name: "quay", Channels: []cf{{Name: "stable-3.9", Min: "3.9.2", Max: "3.9.2"}}}}},
			want:   []string{"quay/stable-3.9*: quay.v3.9.3 quay.v3.9.2"},
			problems: []string{
				`package quay: channel stable-3.9: bundle quay.v3.9.3: kept although it is not in the range ">=3.9.2 <=3.9.2": the upgrades between those that are need it`,
			},
		},
		{
			name:   "a range over the whole package",
			filter: catalog.Filter{Packages: []pf{{Name: "quay", Min: "3.8.1", Max: "3.9.0"}}},
			want:   []string{"quay/stable-3.8: quay.v3.8.2 quay.v3.8.1", "quay/stable-3.9*: quay.v3.9.0 quay.v3.8.2 quay.v3.8.1"},
		},
		{
			name:     "a channel that ends up empty",
			filter:   catalog.Filter{Packages: []pf{{Name: "quay", Min: "3.9.0"}}},
			want:     []string{"quay/stable-3.9*: quay.v3.9.3 quay.v3.9.2 quay.v3.9.1 quay.v3.9.0"},
			problems: []string{`package quay: channel stable-3.8: no version is in the range ">=3.9.0", there is 3.8.0, 3.8.1, 3.8.2; the channel is left out`},
		},
		{
			name:   "a package twice, its channels together",
			filter: catalog.Filter{Packages: []pf{{Name: "quay", Channels: []cf{{Name: "stable-3.8"}}}, {Name: "quay", Channels: []cf{{Name: "stable-3.9"}}}}},
			want:   []string{"quay/stable-3.8: quay.v3.8.2", "quay/stable-3.9*: quay.v3.9.3"},
		},
		{
			name:   "a version before a release counts where the range names one",
			filter: catalog.Filter{Packages: []pf{{Name: "amq-streams", Channels: []cf{{Name: "stable", Min: "2.4.0-1"}}}}},
			want:   []string{"amq-streams/stable*: amqstreams.v2.5.0-0 amqstreams.v2.4.0-1"},
		},
		{
			name:   "what a bundle requires",
			filter: catalog.Filter{Packages: []pf{{Name: "serverless"}}},
			want:   []string{"amq-streams/stable*: amqstreams.v2.5.0-0", "quay/stable-3.9*: quay.v3.8.2", "serverless/stable*: serverless.v1.31.0"},
			problems: []string{
				"package amq-streams: channel stable: bundle amqstreams.v2.5.0-0: added because serverless.v1.31.0 requires Kafka of kafka.example.com/v1beta2",
				"package quay: channel stable-3.9: bundle quay.v3.8.2: added because serverless.v1.31.0 requires package quay in a version >=3.8.0 <3.9.0",
				"package serverless: bundle serverless.v1.31.0: it requires package service-mesh, which the catalog does not have",
			},
		},
		{
			name:   "what a bundle requires of a package that is kept in part",
			filter: catalog.Filter{Packages: []pf{{Name: "serverless"}, {Name: "amq-streams"}, {Name: "quay", Channels: []cf{{Name: "stable-3.9", Min: "3.9.1"}}}}},
			want: []string{
				"amq-streams/amq-streams-2.4.x: amqstreams.v2.4.0-1", "amq-streams/stable*: amqstreams.v2.5.0-0",
				"quay/stable-3.9*: quay.v3.9.3 quay.v3.9.2 quay.v3.9.1 quay.v3.9.0 quay.v3.8.2", "serverless/stable*: serverless.v1.31.0",
			},
			problems: []string{
				"package quay: channel stable-3.9: bundle quay.v3.8.2: added because serverless.v1.31.0 requires package quay in a version >=3.8.0 <3.9.0",
				"package serverless: bundle serverless.v1.31.0: it requires package service-mesh, which the catalog does not have",
			},
		},
		{
			name:   "no dependencies",
			filter: catalog.Filter{SkipDependencies: true, Packages: []pf{{Name: "serverless"}}},
			want:   []string{"serverless/stable*: serverless.v1.31.0"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			kept, problems := filter(t, test.filter)
			if diff := cmp.Diff(test.want, inside(t, kept)); diff != "" {
				t.Error(diff)
			}
			var said []string
			for _, p := range problems {
				said = append(said, p.String())
			}
			if diff := cmp.Diff(test.problems, said); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFilterErrors(t *testing.T) {
	for _, test := range []struct {
		name   string
		filter catalog.Filter
		want   string
	}{
		{"no such package", catalog.Filter{Packages: []pf{{Name: "key"}}}, `package "key" is not in the catalog, which has amq-streams, quay, serverless`},
		{"no name", catalog.Filter{Packages: []pf{{}}}, "packages[0] has no name"},
		{"no such channel", catalog.Filter{Packages: []pf{{Name: "quay", Channels: []cf{{Name: "beta"}}}}}, `package "quay" has no channel "beta", it has stable-3.8, stable-3.9`},
		{"the default channel is gone", catalog.Filter{Packages: []pf{{Name: "quay", Channels: []cf{{Name: "stable-3.8"}}}}}, `package "quay": the default channel "stable-3.9" was filtered out, a new default channel must be configured for this package`},
		{"the new default channel is none", catalog.Filter{Packages: []pf{{Name: "quay", DefaultChannel: "fast"}}}, `package "quay": the default channel "fast" that is asked for does not exist in the filtered output`},
		{"no such version", catalog.Filter{Packages: []pf{{Name: "quay", Min: "4.0.0"}}}, `package "quay": channel "stable-3.9": no version is in the range ">=4.0.0", there is 3.8.1, 3.8.2, 3.9.0, 3.9.1, 3.9.2, 3.9.3; the package's default channel cannot be empty`},
		{"not a version", catalog.Filter{Packages: []pf{{Name: "quay", Max: "new"}}}, `package "quay": the range of versions "<=new"`},
		{"two ranges", catalog.Filter{Packages: []pf{{Name: "quay", Min: "3.8.0", Channels: []cf{{Name: "stable-3.9", Max: "3.9.0"}}}}}, "not for both"},
		{"full and a range", catalog.Filter{Full: true, Packages: []pf{{Name: "quay", Min: "3.8.0"}}}, "full cannot be mixed"},
		{"both are told", catalog.Filter{Packages: []pf{{Name: "a"}, {Name: "b"}}}, `package "b" is not in the catalog`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := whole(t).Filter(test.filter)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestFullIsTheCatalogItself(t *testing.T) {
	c := whole(t)
	if kept, problems, err := c.Filter(catalog.Filter{Full: true}); kept != c || len(problems) > 0 || err != nil {
		t.Errorf("got %v, %v, %v", kept, problems, err)
	}
}

// TestFilterLeavesBytesAlone holds that only what is changed is written again, and
// of that only what changes.
func TestFilterLeavesBytesAlone(t *testing.T) {
	kept, _ := filter(t, catalog.Filter{Packages: []pf{{Name: "quay", DefaultChannel: "stable-3.8", Channels: []cf{{Name: "stable-3.8", Min: "3.8.1"}}}}})
	files := map[string]string{}
	for _, f := range kept.Files() {
		files[f.Path] = string(f.Data)
	}
	came := map[string]string{}
	for _, f := range whole(t).Files() {
		came[f.Path] = string(f.Data)
	}
	if files["catalog.json"] != came["catalog.json"] {
		t.Errorf("the objects of no package: %s", files["catalog.json"])
	}
	want := strings.Replace(came["quay/catalog.json"], `"defaultChannel": "stable-3.9"`, `"defaultChannel": "stable-3.8"`, 1)
	want = cutOut(t, want, ",\n        {\n            \"name\": \"quay.v3.8.0\"\n        }", "")
	want = cutOut(t, want, "{\n    \"schema\": \"olm.channel\",\n    \"name\": \"stable-3.9\"", "{\n    \"schema\": \"olm.bundle\"")
	for _, v := range []string{"3.8.0", "3.9.0", "3.9.1", "3.9.2"} {
		want = cutOut(t, want, "{\n    \"schema\": \"olm.bundle\",\n    \"name\": \"quay.v"+v, "{\n    \"schema\": \"olm.bundle\"")
	}
	want = cutOut(t, want, "{\n    \"schema\": \"olm.bundle\",\n    \"name\": \"quay.v3.9.3", "{\n    \"schema\": \"olm.deprecations\"")
	want = cutOut(t, want, ",\n        {\n            \"reference\": {\n                \"schema\": \"olm.bundle\"", "\n    ]")
	if diff := cmp.Diff(want, files["quay/catalog.json"]); diff != "" {
		t.Error(diff)
	}
	if len(files) != 2 {
		t.Errorf("%d files, want those of quay and of no package", len(files))
	}
}

// cutOut removes the text from one on and before another; all of the first where
// that is "".
func cutOut(t *testing.T, text, from, to string) string {
	t.Helper()
	a := strings.Index(text, from)
	if a < 0 {
		t.Fatalf("no %q", from)
	}
	b := a + len(from)
	if to != "" {
		b += strings.Index(text[b:], to)
	}
	return text[:a] + text[b:]
}
