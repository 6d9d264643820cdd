package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// prune runs the command.
func (m *move) prune(args ...string) {
	m.t.Helper()
	var out, errs bytes.Buffer
	m.code = Main(m.t.Context(), Env{
		Args: append([]string{"prune", "--rules", "none", "--retry", "1"}, args...), Stdin: strings.NewReader(m.stdin), Stdout: &out, Stderr: &errs,
		Getenv: func(string) string { return "" },
	})
	m.out, m.errors = out.String(), errs.String()
}

// tags returns which of some tags a repository of the target has.
func (m *move) tags(repo string, tags ...string) string {
	m.t.Helper()
	var there []string
	for _, tag := range tags {
		resp, err := http.Head(m.dst.URL() + "/v2/" + repo + "/manifests/" + tag)
		if err != nil {
			m.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			there = append(there, tag)
		}
	}
	return strings.Join(there, " ")
}

// relocated puts three tags of one repository at the target, and a list of the
// first into keep.txt.
func (m *move) relocated() (keep string) {
	for i, tag := range []string{"1", "2", "3"} {
		m.src.AddImage("team/app", regtest.Image{Layers: []int64{100}, Seed: uint64(i)}, tag)
	}
	all := m.file("all.txt", "SRC/team/app:1\nSRC/team/app:2\nSRC/team/app:3\n")
	m.run(all, "--to", m.dst.Host()+"/m", "--naming", "path", "--map", m.path("map.json"))
	m.exits(exitDone)
	return m.file("keep.txt", "SRC/team/app:1\n")
}

func TestPrune(t *testing.T) {
	m := newMove(t)
	keep := m.relocated()
	to := m.dst.Host() + "/m"
	before := m.written()
	m.prune(to, "--keep", keep, "--naming", "path")
	m.exits(exitDone)
	if m.written() != before || !strings.Contains(m.out, "remove\t"+to+"/team/app@sha256:") || !strings.Contains(m.out, "(1)\timage "+m.src.Host()+"/team/app:1\n") {
		t.Errorf("a plan:\n%s%s%d requests that are no reading", m.out, m.errors, m.written()-before)
	}
	m.prune(to, "--keep", keep, "--naming", "path", "--remove", m.file("old.txt", "SRC/team/app:2"), "--yes")
	m.exits(exitDone)
	if got := m.tags("m/team/app", "1", "2", "3"); got != "1 3" {
		t.Errorf("with --remove the tags %q are left, want 1 and 3", got)
	}
	m.prune(to, "--naming", "path", "--yes", "--json", "--keep", keep)
	m.exits(exitDone)
	if got := m.tags("m/team/app", "1", "2", "3"); got != "1" {
		t.Errorf("the tags %q are left, want 1", got)
	}
	results := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(m.out)); lines.Scan(); {
		var one struct{ Action, Result, Why string }
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil || one.Why == "" {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		results[one.Action] = one.Result
	}
	if results["remove"] != "removed" || len(results) != 2 {
		t.Errorf("results: %v", results)
	}
	m.prune(to, "--naming", "path", "--yes", "--keep", keep)
	m.exits(exitDone)
	if !strings.Contains(m.errors, "nothing to remove") {
		t.Errorf("a second run says\n%s", m.errors)
	}
}

// TestPruneRepositories takes the repositories from a mapping, also where there is
// no catalog, and the names of what stays too.
func TestPruneRepositories(t *testing.T) {
	m := newMove(t)
	keep := m.relocated()
	m.dst.AddImage("m/other", regtest.Image{Layers: []int64{9}, Seed: 9}, "x")
	m.dst.AddImage("mother", regtest.Image{Layers: []int64{9}, Seed: 9}, "x")
	m.dst.On(regtest.Match{Kind: regtest.Catalog}, regtest.Status(http.StatusNotFound))
	m.prune(m.dst.Host()+"/m", "--keep", keep, "--yes")
	m.exits(exitFailed)
	if !strings.Contains(m.errors, "hint: name them: --map") {
		t.Errorf("without a catalog:\n%s", m.errors)
	}
	m.prune(m.dst.Host()+"/m", "--keep", keep, "--map", m.path("map.json"), "--yes")
	m.exits(exitDone)
	if got := m.tags("m/team/app", "1", "2", "3") + m.tags("m/other", "x"); got != "1x" {
		t.Errorf("with a mapping %q is left, want 1 and the other repository", got)
	}
	m.dst.Clear()
	m.prune(m.dst.Host()+"/m", "--keep", keep, "--naming", "path", "--yes")
	m.exits(exitDone)
	if got := m.tags("m/team/app", "1") + m.tags("m/other", "x") + m.tags("mother", "x"); got != "1x" {
		t.Errorf("by the catalog %q is left, want what is kept, and what is not below the prefix", got)
	}
}

func TestPruneRefuses(t *testing.T) {
	m := newMove(t)
	keep := m.relocated()
	to := m.dst.Host() + "/m"
	m.prune(to, "--keep", keep, "--yes")
	m.exits(exitConflict)
	if !strings.Contains(m.errors, "warning: "+m.src.Host()+"/team/app:1 is to stay, and ") || !strings.Contains(m.errors, "hint: no image of --keep is there: give the same --naming") {
		t.Errorf("with another naming:\n%s", m.errors)
	}
	m.dst.On(regtest.Match{Method: http.MethodDelete}, regtest.Status(http.StatusMethodNotAllowed))
	m.prune(to, "--keep", keep, "--naming", "path", "--yes")
	m.exits(exitFailed)
	if !strings.Contains(m.errors, "does not delete") || !strings.Contains(m.errors, "REGISTRY_STORAGE_DELETE_ENABLED") {
		t.Errorf("a registry that does not delete:\n%s", m.errors)
	}
	m.dst.Clear()
	m.dst.On(regtest.Match{Method: http.MethodDelete}, regtest.Status(http.StatusForbidden))
	m.prune(to, "--keep", keep, "--naming", "path", "--yes")
	m.exits(exitAuth)
	if got := m.tags("m/team/app", "1", "2", "3"); got != "1 2 3" {
		t.Errorf("the tags %q are left, want all", got)
	}
	for _, args := range [][]string{
		{to}, {to, "--keep", keep, "--remove", keep, "more.txt"}, {"m", "--keep", keep}, {to, "--keep", keep, "--jobs", "-1"},
	} {
		m.prune(args...)
		m.exits(exitUsage)
	}
	m.prune(to, "--keep", m.file("none.yaml", "kind: ConfigMap\napiVersion: v1\n"))
	m.exits(exitFailed)
}
