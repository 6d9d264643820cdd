package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/ref"
)

// verified runs verify on the mapping of a move.
func (m *move) verified(args ...string) {
	m.t.Helper()
	var out, errs bytes.Buffer
	m.code = Main(m.t.Context(), Env{
		Args: append([]string{"verify", m.dst.Host() + "/m", "--map", m.path("map.json"), "--retry", "1"}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(string) string { return "" },
	})
	m.out, m.errors = out.String(), errs.String()
}

// TestVerify damages a registry and looks what is noticed.
func TestVerify(t *testing.T) {
	m := newMove(t)
	m.run(m.standard(), "--to", m.dst.Host()+"/m", "--naming", "host-path", "--map", m.path("map.json"))
	m.exits(exitDone)
	for _, args := range [][]string{nil, {"--deep"}, {"--json"}} {
		m.verified(args...)
		m.exits(exitDone)
		if strings.Count(m.out, "\n") != 2 || strings.Contains(m.out, "error") {
			t.Errorf("%v: got %s", args, m.out)
		}
	}
	repo := "m/" + strings.ReplaceAll(m.src.Host(), ":", "_") + "/team/app"
	m.dst.On(regtest.Match{Kind: regtest.Blob, Method: "GET"}, regtest.Fault{Flip: regtest.FlipMiddle})
	m.verified()
	m.exits(exitDone)
	m.verified("--deep")
	m.exits(exitLossy)
	if !strings.Contains(m.errors, "was expected") {
		t.Errorf("got %s", m.errors)
	}
	m.dst.Clear()
	m.dst.AddImage(repo, regtest.Image{Layers: []int64{7}, Seed: 9}, "1")
	m.file("map.json", `{"SRC/team/app:1": "`+m.dst.Host()+"/"+repo+":1@"+"sha256:"+strings.Repeat("a", 64)+`", "x": "other.io/x"}`)
	m.verified()
	m.exits(exitLossy)
	for _, want := range []string{"the tag 1 is sha256:", "other.io/x: it is not below ", "2 of 2 images are not whole"} {
		if !strings.Contains(m.errors, want) {
			t.Errorf("no %s in %s", want, m.errors)
		}
	}
	m.dst.SetAuth(regtest.Auth{Scheme: "Basic", Username: "u", Password: "p"})
	m.file("map.json", `{"x": "`+m.dst.Host()+`/m/x"}`)
	m.verified()
	m.exits(exitAuth)
}

// TestMapped takes the digest of a key for its target too.
func TestMapped(t *testing.T) {
	m := newMove(t)
	maps, err := readMappings([]string{m.file("map.json", `{"a:1": "r.io/m/a:1", "docker.io/library/a:1": "r.io/m/a:1", "b": "r.io/mm/b"}`)})
	if err != nil {
		t.Fatal(err)
	}
	refs, strangers := mapped(maps, ref.Name{Host: "r.io", Path: "m"})
	if len(refs) != 1 || refs[0].String() != "r.io/m/a:1" || len(strangers) != 1 {
		t.Errorf("got %v and %v", refs, strangers)
	}
}
