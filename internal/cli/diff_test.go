package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// diff runs the command.
func (m *move) diff(args ...string) {
	m.t.Helper()
	m.command(append([]string{"diff", "--rules", "none", "--retry", "1"}, args...)...)
}

// TestDiff compares a set with its archive, with another set, with a plan of it and
// with a receipt of where it went.
func TestDiff(t *testing.T) {
	m := newMove(t)
	m.src.AddImage("a", regtest.Image{Layers: []int64{1000, 2000}, Seed: 1}, "1")
	m.src.AddImage("b", regtest.Image{Layers: []int64{1000, 5000}, Seed: 1}, "1")
	one, both := m.file("one.txt", "SRC/a:1\n"), m.file("both.txt", "SRC/a:1\nSRC/b:1\n")
	m.save(both, "--output", m.path("both.tar"))
	m.exits(exitDone)
	m.save(both, "--output", m.path("update.tar"), "--since", m.path("both.tar"))
	m.exits(exitDone)
	m.run(both, "--to", m.dst.Host()+"/m", "--plan", "--json")
	plan := m.file("plan.json", m.out)
	m.run(both, "--to", m.dst.Host()+"/m")
	m.exits(exitDone)
	m.receipt(m.dst.Host() + "/m")
	for _, other := range []string{both, m.path("both.tar"), m.path("update.tar"), plan, m.path("receipt.json")} {
		m.diff(both, other)
		m.exits(exitDone)
		if !strings.HasSuffix(m.out, "\nno difference\n") || m.errors != "" {
			t.Errorf("%s: %s%s", other, m.out, m.errors)
		}
		m.diff(one, other, "--json")
		m.exits(exitFailed)
		var d differenceJSON
		if err := json.Unmarshal([]byte(m.out), &d); err != nil || m.errors != "" {
			t.Fatalf("%s: %v, %s%s", other, err, m.out, m.errors)
		}
		if d.Equal || d.A.Kind != "set" || len(d.Images.OnlyA) != 0 || len(d.Images.OnlyB) != 1 || len(d.Images.Changed) != 0 {
			t.Errorf("%s: %s", other, m.out)
		}
		if d.Blobs.Compared != (other != plan) || other == both && (len(d.Blobs.OnlyB) != 1 || d.Blobs.OnlyBBytes != 5000) {
			t.Errorf("%s: blobs %+v", other, d.Blobs)
		}
	}
	m.diff(m.path("both.tar"), m.path("receipt.json"))
	m.exits(exitDone)
	m.src.AddImage("a", regtest.Image{Layers: []int64{3000}, Seed: 1}, "1")
	m.diff(one, m.path("both.tar"))
	m.exits(exitFailed)
	for _, want := range []string{"changed  image     " + m.src.Host() + "/a:1", "only B   image     " + m.src.Host() + "/b:1", "only A   blob", "images: 0 only in A, 1 only in B, 1 changed; blobs: "} {
		if !strings.Contains(m.out, want) {
			t.Errorf("%q is not in\n%s", want, m.out)
		}
	}
}

func TestDiffRefuses(t *testing.T) {
	m := newMove(t)
	m.src.AddImage("a", regtest.Image{Layers: []int64{1000}, Seed: 1}, "1")
	one := m.file("one.txt", "SRC/a:1\n")
	for name, c := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"stdin":     {[]string{"-", "-"}, exitUsage, "can be one of the two"},
		"none":      {[]string{one, m.path("none")}, exitFailed, "no such file"},
		"a receipt": {[]string{one, m.file("bad.json", `{"version":1,"repositories":[{"name":"x y"}]}`)}, exitFailed, "repositories[0].name"},
		"gone":      {[]string{one, m.file("gone.txt", "SRC/gone:1\n")}, exitSome, "1 of 1 image could not be read"},
	} {
		m.diff(c.args...)
		if m.code != c.code || !strings.Contains(m.errors, c.stderr) {
			t.Errorf("%s: exit code %d, want %d; %s%s", name, m.code, c.code, m.out, m.errors)
		}
	}
}
