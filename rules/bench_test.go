package rules

import (
	"fmt"
	"testing"

	"github.com/entrepot/entrepot/ref"
)

// many returns a set of n rules, of all kinds.
func many(n int) *Set {
	var c Config
	for i := range n {
		m := Match{Kind: Host, Host: fmt.Sprintf("r%d.example.com:5000", i)}
		switch i % 4 {
		case 1:
			m = Match{Kind: Prefix, Host: "quay.io", Path: fmt.Sprintf("team%d/app", i)}
		case 2:
			m = Match{Kind: HostSuffix, Host: fmt.Sprintf("d%d.example.net", i)}
		case 3:
			m = Match{Kind: Host, Host: fmt.Sprintf("R%d.Example.ORG", i)}
		}
		c.Rules = append(c.Rules, Rule{Match: m, Endpoints: []Endpoint{{Host: "m1.example.net"}, {Host: "m2.example.net"}}})
	}
	return New(c)
}

func mustParse(t testing.TB, s string) ref.Ref {
	t.Helper()
	r, err := ref.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// dialects are the native one and those of the clients.
func dialects(t testing.TB) []Dialect {
	ds := []Dialect{Native()}
	for _, c := range Clients() {
		d, err := DialectOf(c)
		if err != nil {
			t.Fatal(err)
		}
		ds = append(ds, d)
	}
	return ds
}

// TestPlanAllocates holds that the slice of tries is all that a plan without a
// rule allocates, for every client.
func TestPlanAllocates(t *testing.T) {
	set := many(100)
	for _, name := range []string{"ghcr.io/some/where/app:1", "alpine:3.20", "quay.io/other/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"} {
		r := mustParse(t, name)
		for _, d := range dialects(t) {
			if got := testing.AllocsPerRun(100, func() { set.Plan(r, Pull, d) }); got > 1 {
				t.Errorf("client %q, %s: %v allocations, want at most 1", d.Client, name, got)
			}
		}
	}
}

func BenchmarkPlanNoRule(b *testing.B) {
	podman, _ := DialectOf("podman")
	containerd, _ := DialectOf("containerd")
	set := many(100)
	r := mustParse(b, "ghcr.io/some/where/app:1")
	for _, d := range []Dialect{Native(), podman, containerd} {
		b.Run("client="+d.Client, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				set.Plan(r, Pull, d)
			}
		})
	}
}

func BenchmarkPlan10000Rules(b *testing.B) {
	podman, _ := DialectOf("podman")
	containerd, _ := DialectOf("containerd")
	set := many(10_000)
	for _, name := range []string{"r4.example.com:5000/a/b:1", "quay.io/team5/app/x/y:1", "eu.d6.example.net/a/b:1", "ghcr.io/a/b:1"} {
		r := mustParse(b, name)
		for _, d := range []Dialect{Native(), podman, containerd} {
			b.Run(fmt.Sprintf("%s/client=%s", r.Host, d.Client), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					set.Plan(r, Pull, d)
				}
			})
		}
	}
}
