package conf

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzOpenShift(f *testing.F) { fuzzFormat(f, "openshift", "idms.yaml") }

func TestMergeMirrors(t *testing.T) {
	for _, c := range []struct {
		name, lists, want string
		conflict          bool
	}{
		{"one list", "b,a", "b,a", false},
		{"overlap", "b,c a,b", "a,b,c", false},
		{"chain", "a,b,c c,d,e", "a,b,c,d,e", false},
		{"ties by name", "z a m", "a,m,z", false},
		{"breadth first", "a,z b,c", "a,b,z,c", false},
		{"conflict", "b,a a,b", "a,b", true},
		{"source in front", "src,a", "src,a", false},
		{"source at the end", "a,src", "a", false},
		{"source in the middle of a conflict", "src,z z,src", "src,z", true},
		{"twice in a list", "m,m", "m", true},
		{"twice in a list, source first by name", "z,z", "src,z", true},
		{"the cycle is broken once", "c,b,a a,c d,a", "d,a,c,b", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var lists [][]string
			for l := range strings.FieldsSeq(c.lists) {
				lists = append(lists, strings.Split(l, ","))
			}
			got, conflict := mergeMirrors("src", lists)
			if strings.Join(got, ",") != c.want || conflict != c.conflict {
				t.Errorf("got %v, conflict %v; want %s, %v", got, conflict, c.want, c.conflict)
			}
		})
	}
}

func TestInside(t *testing.T) {
	for _, c := range []struct {
		sub, super string
		want       bool
	}{
		{"quay.io", "quay.io", true},
		{"quay.io/a", "quay.io", true},
		{"quay.io:5000", "quay.io", false},
		{"quay.iodine/a", "quay.io", false},
		{"quay.io", "quay.io/a", false},
		{"a.example.com/b", "*.example.com", true},
		{"*.b.example.com", "*.example.com", true},
		{"a.example.com:5000/b", "*.example.com", true},
		{"example.com", "*.example.com", false},
		{"quay.io/b.example.com", "*.example.com", false},
	} {
		if got := inside(c.sub, c.super); got != c.want {
			t.Errorf("inside(%q, %q) = %v", c.sub, c.super, got)
		}
	}
}

const (
	idms = "apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorSet\nmetadata: {name: a}\nspec:\n  imageDigestMirrors:\n"
	itms = "apiVersion: config.openshift.io/v1\nkind: ImageTagMirrorSet\nmetadata: {name: b}\nspec:\n  imageTagMirrors:\n"
	icsp = "apiVersion: operator.openshift.io/v1alpha1\nkind: ImageContentSourcePolicy\nmetadata: {name: c}\nspec:\n  repositoryDigestMirrors:\n"

	registrySources = "apiVersion: config.openshift.io/v1\nkind: Image\nmetadata: {name: cluster}\nspec:\n  registrySources:\n"
)

func TestOpenShiftPlans(t *testing.T) {
	const sum = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, c := range []struct{ name, text, ref, want string }{
		{
			"never contact the source", idms + "  - {source: quay.io/team, mirrors: [m.local/team], mirrorSourcePolicy: NeverContactSource}\n",
			"quay.io/team/app@" + sum, "https://m.local/v2/team/app/manifests/" + sum + "\nblocked",
		},
		{
			"digests of two kinds of object merge",
			icsp + "  - {source: quay.io/team, mirrors: [b.local/x, c.local/x]}\n---\n" + idms + "  - {source: quay.io/team, mirrors: [a.local/x, b.local/x]}\n",
			"quay.io/team/app@" + sum,
			"https://a.local/v2/x/app/manifests/" + sum + "\nhttps://b.local/v2/x/app/manifests/" + sum + "\nhttps://c.local/v2/x/app/manifests/" + sum + "\nhttps://quay.io/v2/team/app/manifests/" + sum,
		},
		{
			"a list of objects",
			"apiVersion: v1\nkind: List\nitems:\n- apiVersion: config.openshift.io/v1\n  kind: ImageTagMirrorSet\n  spec: {imageTagMirrors: [{source: quay.io, mirrors: [m.local]}]}\n",
			"quay.io/a:1", "https://m.local/v2/a/manifests/1\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"the longest source alone",
			itms + "  - {source: quay.io, mirrors: [m.local/q]}\n  - {source: quay.io/a, mirrors: [n.local/a]}\n",
			"quay.io/a/b:1", "https://n.local/v2/a/b/manifests/1\nhttps://quay.io/v2/a/b/manifests/1",
		},
		{
			"insecure scopes reach mirrors and what is inside",
			itms + "  - {source: quay.io/a, mirrors: [m.local/a]}\n---\n" + registrySources + "    insecureRegistries: [quay.io, \"*.local\"]\n",
			"quay.io/a/b:1", "insecure https://m.local/v2/a/b/manifests/1\ninsecure https://quay.io/v2/a/b/manifests/1",
		},
		{
			"a blocked scope inside a source has its mirrors",
			itms + "  - {source: quay.io, mirrors: [m.local/q]}\n---\n" + registrySources + "    blockedRegistries: [quay.io/bad]\n",
			"quay.io/bad/b:1", "https://m.local/v2/q/bad/b/manifests/1\nblocked",
		},
		{
			"a source inside a blocked scope", itms + "  - {source: quay.io/a, mirrors: [m.local/a]}\n---\n" + registrySources + "    blockedRegistries: [quay.io]\n",
			"quay.io/a/b:1", "https://m.local/v2/a/b/manifests/1\nblocked",
		},
		{
			"a blocked mirror", itms + "  - {source: quay.io/a, mirrors: [m.local/a]}\n---\n" + registrySources + "    blockedRegistries: [m.local]\n",
			"quay.io/a/b:1", "blocked\nhttps://quay.io/v2/a/b/manifests/1",
		},
		{
			"another kind of that name", "apiVersion: image.openshift.io/v1\nkind: Image\nspec: {registrySources: {blockedRegistries: [quay.io]}}\n",
			"quay.io/a/b:1", "https://quay.io/v2/a/b/manifests/1",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, client := range []string{"", "openshift"} {
				cfg, d := readOne(t, "openshift", client, c.text)
				if diff := cmp.Diff(c.want, planOne(t, cfg, d, c.ref)); diff != "" {
					t.Errorf("client %q (-want +got):\n%s%s", client, diff, problemLines(cfg))
				}
			}
		})
	}
}

func TestOpenShiftProblems(t *testing.T) {
	checkProblems(t, "openshift", "openshift", []problemCase{
		{"syntax", "a: [", "error f:1:5: did not", true},
		{"no object", "- a\n", "error f:1:1: the document is a list", true},
		{"no kind", "spec: {}\n", "error f:1:1: the object has no kind", true},
		{"kind misspelt", "apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorset\n", `error f:1:1: there is no kind "ImageDigestMirrorset"`, true},
		{"wrong group", "apiVersion: operator.openshift.io/v1alpha1\nkind: ImageTagMirrorSet\n", "error f:1:1: there is no ImageTagMirrorSet in", true},
		{"wrong type", idms + "  - {source: quay.io, mirrors: m.local}\n", "error f:6:32: mirrors is a string and should be a list", true},
		{"no source", idms + "  - {mirrors: [m.local]}\n", `error f:6:5: invalid format for source ""`, true},
		{"wildcard with a path", idms + "  - {source: \"*.a.b/c\", mirrors: [m.local]}\n", "error f:6:14: invalid format for source", true},
		{"IPv6", idms + "  - {source: \"[::1]:5000\", mirrors: [m.local]}\n", "error f:6:14: invalid format for source", true},
		{"digest in a mirror", idms + "  - {source: quay.io, mirrors: [\"m.local/a@sha256:0\"]}\n", "error f:6:33: invalid format for mirror", true},
		{"capitals in a mirror's path", idms + "  - {source: quay.io, mirrors: [m.local/Team]}\n", "error f:6:33: invalid format for mirror", true},
		{"unknown policy", idms + "  - {source: quay.io, mirrors: [m.local], mirrorSourcePolicy: Never}\n", "error f:6:63: mirrorSourcePolicy is", true},
		{
			"policies differ without a mirror", idms + "  - {source: quay.io, mirrors: [m.local]}\n  - {source: quay.io, mirrorSourcePolicy: NeverContactSource}\n",
			`error f:7:14: conflicting mirrorSourcePolicy for the source "quay.io", which is in f:6`, true,
		},
		{"source alone", idms + "  - {source: quay.io, mirrors: [quay.io]}\n", "error f:6:14: the entry for", false},
		{"source in front", idms + "  - {source: quay.io, mirrors: [quay.io, m.local]}\n", "warning f:6:33: the source is in front", false},
		{"no registry", idms + "  - {source: library/alpine, mirrors: [m.local]}\n", "error f:6:14: source \"library/alpine\" names no registry", false},
		{"one-label mirror", idms + "  - {source: quay.io, mirrors: [harbor/a]}\n", "error f:6:33: mirror \"harbor/a\" is no registry's name", false},
		{"other name of Docker Hub", idms + "  - {source: index.docker.io, mirrors: [m.local]}\n", "error f:6:14: source \"index.docker.io\" matches nothing", false},
		{"twice", idms + "  - {source: quay.io, mirrors: [m.local, m.local]}\n", "error f:6:42: mirror \"m.local\" is in the list twice", false},
		{"conflicting orders", idms + "  - {source: quay.io, mirrors: [a.local, b.local]}\n  - {source: quay.io, mirrors: [b.local, a.local]}\n", "error f:7:14: the lists of mirrors of", false},
		{"no mirror for tags", idms + "  - {source: quay.io, mirrors: [a.local], mirrorSourcePolicy: NeverContactSource}\n", "warning f:6:14: the source \"quay.io\" is never contacted and has no mirror for references with a tag", false},
		{"list of another kind", strings.Replace(idms, "imageDigestMirrors", "repositoryDigestMirrors", 1) + "  - {source: quay.io, mirrors: [a.local]}\n", "error f:5:3: key \"repositoryDigestMirrors\" is swallowed", false},
		{"policy in an ICSP", icsp + "  - {source: quay.io, mirrors: [a.local], mirrorSourcePolicy: NeverContactSource}\n", "error f:6:43: key \"mirrorSourcePolicy\" is swallowed", false},
		{"unknown key", idms + "  - {source: quay.io, mirror: [a.local]}\n", "warning f:6:23: unknown key \"mirror\"", false},
		{"wildcard scope", registrySources + "    blockedRegistries: [\"*.a.b:5000\"]\n", "error f:6:25: invalid entry in blockedRegistries", true},
		{
			"inside a wildcard source", idms + "  - {source: \"*.a.b\", mirrors: [m.local]}\n---\n" + registrySources + "    blockedRegistries: [x.a.b]\n",
			"error f:13:25: the operator fails on x.a.b", true,
		},
		{"allowed registries", registrySources + "    allowedRegistries: [quay.io]\n", "warning f:6:5: allowedRegistries is no mirror rule", false},
	})
}
