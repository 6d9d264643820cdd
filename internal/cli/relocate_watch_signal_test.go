//go:build unix

package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/relocate"
)

// A watched is relocate --watch in a process of its own, so that it can get
// signals. Its interval is long: a signal asks for each further round.
type watched struct {
	*move
	cmd    *exec.Cmd
	rounds *json.Decoder // of what it prints
	stderr bytes.Buffer  // to be read when it has ended
}

func (m *move) watch(env []string, args ...string) *watched {
	m.t.Helper()
	w := &watched{move: m}
	w.cmd = exec.Command("entrepot", append([]string{"relocate", "--rules", "none", "--retry", "1", "--watch", "1h", "--json"}, args...)...)
	w.cmd.Env = append(os.Environ(), env...)
	w.cmd.Stderr = &w.stderr
	out, err := w.cmd.StdoutPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	w.rounds = json.NewDecoder(out)
	m.t.Cleanup(func() { w.cmd.Process.Kill(); w.cmd.Wait() })
	return w
}

// next waits for the end of a round.
func (w *watched) next() (rep roundReport) {
	w.t.Helper()
	if err := w.rounds.Decode(&rep); err != nil {
		w.cmd.Wait()
		w.t.Fatalf("no round: %v\n%s", err, &w.stderr)
	}
	return rep
}

// again asks for a round, and forgets what was asked of the registries before.
func (w *watched) again() roundReport {
	w.t.Helper()
	w.src.ResetLog()
	w.dst.ResetLog()
	if err := w.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		w.t.Fatal(err)
	}
	return w.next()
}

// end ends it and checks its exit code.
func (w *watched) end(want int) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		w.t.Fatal(err)
	}
	w.cmd.Wait()
	if got := w.cmd.ProcessState.ExitCode(); got != want {
		w.t.Errorf("exit code %d, want %d\n%s", got, want, &w.stderr)
	}
}

// TestRelocateWatch keeps a destination current: with nothing to do each side
// gets one HEAD for each tag, with or without a cache directory.
func TestRelocateWatch(t *testing.T) {
	for name, env := range map[string][]string{"cache": {"XDG_CACHE_HOME=" + t.TempDir()}, "none": {"XDG_CACHE_HOME=", "HOME="}} {
		t.Run(name, func(t *testing.T) {
			m := newMove(t)
			for i, repo := range []string{"a", "b"} {
				m.src.AddImage(repo, regtest.Image{Layers: []int64{100}, Seed: uint64(i)}, "1", "2")
			}
			input := m.file("list.txt", "SRC/a:1\nSRC/a:2\nSRC/b:1\n")
			w := m.watch(env, input, "--to", m.dst.Host(), "--no-referrers", "--naming", "path", "--map", m.path("map.json"), "--report", m.path("report.json"))
			if rep := w.next(); rep.Round != 1 || rep.Error != "" || rep.Images[0].Result != relocate.Copied || len(rep.Outputs) != 1 {
				t.Errorf("the first round: %+v", rep)
			}
			rep := w.again()
			if rep.Round != 2 || rep.Images[2].Result != relocate.Present || len(rep.Outputs) != 0 {
				t.Errorf("with nothing to do: %+v", rep)
			}
			for side, reg := range map[string]*regtest.Registry{"source": m.src, "target": m.dst} {
				if heads, all := reg.Count("HEAD", regtest.Manifest), len(reg.Log()); heads != 3 || all != 3 {
					t.Errorf("%d HEADs of %d requests at the %s, want one for each of 3 tags", heads, all, side)
				}
			}
			m.src.AddImage("b", regtest.Image{Layers: []int64{100}, Seed: 9}, "1")
			rep = w.again()
			if rep.Images[0].Result != relocate.Present || rep.Images[2].Result != relocate.Copied || len(rep.Outputs) != 0 {
				t.Errorf("a tag that moved: %+v", rep)
			}
			var kept roundReport
			if err := json.Unmarshal([]byte(m.read("report.json")), &kept); err != nil || kept.Round != 3 {
				t.Errorf("the report is of round %d, %v", kept.Round, err)
			}
			m.file("list.txt", "SRC/a:1\nSRC/b:2\n")
			if rep = w.again(); len(rep.Images) != 2 || len(rep.Outputs) != 1 || !strings.Contains(m.read("map.json"), "/b:2") {
				t.Errorf("the input changed: %+v, %s", rep, m.read("map.json"))
			}
			w.end(exitDone)
			if got := strings.Count(w.stderr.String(), "entrepot: round "); got != 4 || !strings.Contains(w.stderr.String(), "entrepot: round 4: 2 of 2 images in place") {
				t.Errorf("want a line for each of 4 rounds: %s", &w.stderr)
			}
		})
	}
}

// TestRelocateWatchGoesOn holds that what fails in a round is told and does not
// end it, and that inputs which cannot be read are those of an earlier round.
func TestRelocateWatchGoesOn(t *testing.T) {
	m := newMove(t)
	m.src.AddImage("a", regtest.Image{Layers: []int64{100}}, "1")
	input := m.file("list.txt", "SRC/a:1\nSRC/b:1\n")
	w := m.watch([]string{"XDG_CACHE_HOME=" + t.TempDir()}, input, "--to", m.dst.Host(), "--map", m.path("map.json"))
	if rep := w.next(); rep.Error == "" || rep.Totals.Failed != 1 {
		t.Errorf("an image is missing: %+v", rep)
	}
	m.absent("map.json")
	m.src.AddImage("b", regtest.Image{Layers: []int64{100}}, "1")
	if rep := w.again(); rep.Error != "" || len(rep.Outputs) != 1 {
		t.Errorf("now it is there: %+v", rep)
	}
	m.file("list.txt", "SRC/a:1=\n= no list =\n")
	m.src.AddImage("a", regtest.Image{Layers: []int64{100}, Seed: 2}, "1")
	if rep := w.again(); !strings.Contains(rep.Error, "list.txt:") || len(rep.Images) != 2 || rep.Images[0].Result != relocate.Copied {
		t.Errorf("the input is broken: %+v", rep)
	}
	m.src.Down()
	if rep := w.again(); rep.Totals.Failed != 2 {
		t.Errorf("the source is down: %+v", rep)
	}
	w.end(exitSome)
	if strings.Contains(w.stderr.String(), "run the same command again") {
		t.Errorf("a hint that the next round follows: %s", &w.stderr)
	}
	for _, want := range []string{"rounds go on with what the inputs said last", "the last of 4 rounds failed"} {
		if !strings.Contains(w.stderr.String(), want) {
			t.Errorf("no %q in %s", want, &w.stderr)
		}
	}
}

// TestRelocateWatchBroken has nothing to go on with.
func TestRelocateWatchBroken(t *testing.T) {
	m := newMove(t)
	m.src.AddImage("a", regtest.Image{Layers: []int64{100}}, "1")
	w := m.watch(nil, m.path("list.txt"), "--to", m.dst.Host(), "--report", m.path("report.json"))
	if rep := w.next(); !strings.Contains(rep.Error, "no such file") || rep.Images == nil || rep.Outputs == nil {
		t.Errorf("without inputs: %+v", rep)
	}
	if !strings.Contains(m.read("report.json"), `"round": 1`) {
		t.Errorf("the report is %s", m.read("report.json"))
	}
	m.file("list.txt", "SRC/a:1\n")
	if rep := w.again(); rep.Error != "" {
		t.Errorf("with inputs: %+v", rep)
	}
	w.end(exitDone)
}
