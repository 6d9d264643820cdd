//go:build unix

package cli

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// A steered is a server in this process whose rules lead example.com to one of
// two mirrors; example.com itself is never there.
type steered struct {
	*running
	toml, rules string // files
	mirrors     []*regtest.Registry
}

func startSteered(t *testing.T, shelf *regtest.Shelf) *steered {
	t.Helper()
	dir := t.TempDir()
	s := &steered{toml: filepath.Join(dir, "entrepot.toml"), rules: filepath.Join(dir, "mirrors.conf")}
	for range 2 {
		s.mirrors = append(s.mirrors, regtest.New(t, regtest.Config{Shelf: shelf}))
	}
	s.leadTo(t, 0)
	s.write(t, s.toml, fmt.Sprintf("rules = [%q]\n[[upstream]]\nname = 'example.com'\ntag_ttl = '0'\n", "cnb="+s.rules))
	s.running = startArgs(t, nil, "--config", s.toml, "--storage", filepath.Join(dir, "store"))
	return s
}

func (s *steered) write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// leadTo makes the rules lead to a mirror, from the next reload on.
func (s *steered) leadTo(t *testing.T, i int) {
	t.Helper()
	s.write(t, s.rules, "example.com="+s.mirrors[i].URL())
}

// hangUp sends this process a SIGHUP and waits until the log has one more line
// with a text.
func (s *steered) hangUp(t *testing.T, text string) {
	t.Helper()
	before := strings.Count(s.out.String(), text)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.out.waitCount(t, text, before+1)
}

const reloaded = `msg="mirror rules reloaded"`

// TestReloadUnderLoad holds that rules that change again and again, while many
// clients pull, make no request fail; that both mirrors are used; and that
// nothing is left behind (start looks for goroutines).
func TestReloadUnderLoad(t *testing.T) {
	shelf := regtest.NewShelf()
	const images = 150
	for i := range images {
		shelf.AddImage(fmt.Sprintf("team/app%d", i), regtest.Image{Layers: []int64{70_000, 3000}, Seed: uint64(i)}, "v1")
	}
	s := startSteered(t, shelf)
	var next, failed atomic.Int64
	var pulls sync.WaitGroup
	for range 6 {
		pulls.Go(func() {
			for i := next.Add(1) - 1; i < images; i = next.Add(1) - 1 {
				if err := pullAll(s.client, fmt.Sprintf("%s/v2/example.com/team/app%d", s.url, i)); err != nil {
					failed.Add(1)
					t.Error(err)
				}
			}
		})
	}
	reloads := 0
	for ; next.Load() < images || reloads < 20; reloads++ {
		s.leadTo(t, (reloads+1)%2)
		s.hangUp(t, reloaded)
	}
	pulls.Wait()
	for i, m := range s.mirrors {
		if n := m.Count("GET", regtest.Blob); n == 0 {
			t.Errorf("mirror %d was never asked in %d reloads", i, reloads)
		}
	}
	if n := failed.Load(); n > 0 {
		t.Errorf("%d pulls failed", n)
	}
	_, _, metrics := s.get(s.admin + "/metrics")
	if want := fmt.Sprintf(`entrepot_reloads_total{result="done"} %d`, reloads); !strings.Contains(string(metrics), want) {
		t.Errorf("no %s in the metrics", want)
	}
}

// TestReloadInTheMiddle holds that a blob that is being sent when the rules
// change comes from where it began, to its last byte.
func TestReloadInTheMiddle(t *testing.T) {
	shelf := regtest.NewShelf()
	img := shelf.AddImage("team/app", regtest.Image{Layers: []int64{1 << 20}}, "v1")
	s := startSteered(t, shelf)
	layer := string(img.Layers[0].Digest)
	rule := s.mirrors[0].On(regtest.Match{Kind: regtest.Blob, Ref: layer}, regtest.Held())
	got := make(chan error, 1)
	go func() {
		got <- read(s.client, s.url+"/v2/example.com/team/app/blobs/"+layer, img.Layers[0].Size)
	}()
	<-rule.Reached()
	s.leadTo(t, 1)
	s.hangUp(t, reloaded)
	rule.Release()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if n := s.mirrors[1].Count("GET", regtest.Blob); n != 0 {
		t.Errorf("the other mirror was asked %d times", n)
	}
}

// TestReloadOfSomethingBroken holds that rules that cannot be followed change
// nothing, and are told with their place.
func TestReloadOfSomethingBroken(t *testing.T) {
	shelf := regtest.NewShelf()
	for i, name := range []string{"a", "b", "c"} {
		shelf.AddImage(name, regtest.Image{Layers: []int64{10}, Seed: uint64(i)}, "v1")
	}
	s := startSteered(t, shelf)
	pull := func(image string, mirror int) {
		t.Helper()
		s.mirrors[mirror].ResetLog()
		if err := pullAll(s.client, s.url+"/v2/example.com/"+image); err != nil {
			t.Error(err)
		}
		if s.mirrors[mirror].Count("GET", regtest.Blob) == 0 {
			t.Errorf("%s did not come from mirror %d", image, mirror)
		}
	}
	s.write(t, s.rules, "example.com="+s.mirrors[1].URL()+";\nexample.com=\n")
	s.hangUp(t, "mirrors.conf:2: ")
	pull("a", 0)

	s.leadTo(t, 1)
	toml, err := os.ReadFile(s.toml)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, s.toml, string(toml)+"max_stale = 'x'\n")
	s.hangUp(t, "entrepot.toml:5: upstream.max_stale")
	pull("b", 0)

	s.write(t, s.toml, string(toml)+"max_stale = '1h'\n[server]\ndrain = '1s'\n")
	s.hangUp(t, reloaded)
	for _, key := range []string{"upstream", "server.drain"} {
		s.out.wait(t, `level=WARN msg="a change needs a restart" key=`+regexp.QuoteMeta(key))
	}
	pull("c", 1)
	_, _, metrics := s.get(s.admin + "/metrics")
	for _, want := range []string{`entrepot_reloads_total{result="done"} 1`, `entrepot_reloads_total{result="failed"} 2`} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

// TestReloadMendsWhatFailed holds that a reload forgets what could not be had
// before it.
func TestReloadMendsWhatFailed(t *testing.T) {
	shelf := regtest.NewShelf()
	shelf.AddImage("a", regtest.Image{Layers: []int64{10}}, "v1")
	s := startSteered(t, shelf)
	s.mirrors[0].Down()
	if code, _, _ := s.get(s.url + "/v2/example.com/a/manifests/v1"); code == http.StatusOK {
		t.Fatal("it was served by nobody")
	}
	s.leadTo(t, 1)
	s.hangUp(t, reloaded)
	if err := pullAll(s.client, s.url+"/v2/example.com/a"); err != nil {
		t.Error(err)
	}
}
