package cli

import (
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/relocate"
)

// receipt runs the command and returns the receipt that it wrote.
func (m *move) receipt(args ...string) relocate.Receipt {
	m.t.Helper()
	m.command(append([]string{"receipt", "--retry", "1", "--output", m.path("receipt.json")}, args...)...)
	m.exits(exitDone)
	r, err := relocate.ParseReceipt([]byte(m.read("receipt.json")))
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

// TestReceipt takes the receipt of the repositories below a prefix, by the
// registry's catalog and by a mapping; the same again is the same file.
func TestReceipt(t *testing.T) {
	m := newMove(t)
	img := m.dst.AddImage("m/a", regtest.Image{Layers: []int64{1000, 2000}, Seed: 1}, "1")
	m.dst.AddImage("m/b", regtest.Image{Layers: []int64{1000}, Seed: 1}, "1")
	m.dst.AddImage("elsewhere", regtest.Image{Layers: []int64{5000}, Seed: 1}, "1")
	r := m.receipt(m.dst.Host() + "/m")
	if len(r.Repositories) != 2 || r.Repositories[0].Tags["1"] != img.Digest || len(r.Held()) != 3 {
		t.Errorf("the receipt is %+v", r)
	}
	if !strings.HasPrefix(m.out, "2 repositories with 2 manifests; ") {
		t.Errorf("it says %s", m.out)
	}
	first := m.read("receipt.json")
	m.receipt(m.dst.Host()+"/m", "--jobs", "1")
	if m.read("receipt.json") != first {
		t.Error("the same content gives another receipt")
	}
	m.command("receipt", m.dst.Host()+"/m", "--output", "-")
	if m.out != first {
		t.Errorf("on standard output it is %s", m.out)
	}
	mapping := m.file("map.json", `{"SRC/a:1": "DST/m/a:1", "SRC/gone:1": "DST/m/gone:1", "SRC/x:1": "DST/elsewhere:1"}`)
	m.file("map.json", strings.ReplaceAll(m.read("map.json"), "DST", m.dst.Host()))
	if r := m.receipt(m.dst.Host()+"/m", "--map", mapping); len(r.Repositories) != 1 || r.Repositories[0].Name != m.dst.Host()+"/m/a" {
		t.Errorf("by the mapping the receipt is %+v", r)
	}
	for _, want := range []string{"/m/gone:1 is not there", "/elsewhere:1 is not below"} {
		if !strings.Contains(m.errors, want) {
			t.Errorf("%q is not told: %s", want, m.errors)
		}
	}
}

// TestReceiptLacks leaves out a blob that is not there, tells it, and save then
// brings it.
func TestReceiptLacks(t *testing.T) {
	m := newMove(t)
	same := regtest.Image{Layers: []int64{1000, 2000}, Seed: 1}
	m.src.AddImage("a", same, "1")
	img := m.dst.AddImage("m/a", same, "1")
	m.dst.On(regtest.Match{Kind: regtest.Blob, Ref: string(img.Layers[1].Digest)}, regtest.Status(404))
	m.receipt(m.dst.Host()+"/m", "--json")
	if !strings.Contains(m.errors, "/m/a lacks blob "+string(img.Layers[1].Digest)) || !strings.Contains(m.out, `"missing":[{"digest":"`+string(img.Layers[1].Digest)) {
		t.Errorf("what is missing is told as %s%s", m.errors, m.out)
	}
	m.save(m.file("list.txt", "SRC/a:1\n"), "--output", m.path("a.tar"), "--have", m.path("receipt.json"))
	m.exits(exitDone)
	if got := blobsOf(m.opened("a.tar")); got != 2000 {
		t.Errorf("the archive has %d bytes of blobs, want those of the missing one", got)
	}
}

// TestReceiptOfArchive is good for --have, as the archive itself is for --since.
func TestReceiptOfArchive(t *testing.T) {
	m := newMove(t)
	m.src.AddImage("a", regtest.Image{Layers: []int64{1000, 2000}, Seed: 1}, "1")
	list := m.file("list.txt", "SRC/a:1\n")
	m.save(list, "--output", m.path("a.tar"))
	m.exits(exitDone)
	r := m.receipt(m.path("a.tar"))
	if r.Prefix != "" || len(r.Repositories) != 1 || len(r.Held()) != 3 {
		t.Errorf("the receipt is %+v", r)
	}
	m.save(list, "--output", m.path("b.tar"), "--have", m.path("receipt.json"))
	m.exits(exitDone)
	m.save(list, "--output", m.path("c.tar"), "--since", m.path("a.tar"))
	m.exits(exitDone)
	if blobsOf(m.opened("b.tar")) != 0 || m.read("b.tar") != m.read("c.tar") {
		t.Error("the archives differ, or have blobs")
	}
	if r := m.receipt(m.path("b.tar")); len(r.Held()) != 0 || strings.Contains(m.errors, "lacks") {
		t.Errorf("the receipt of the second is %+v, %s", r, m.errors)
	}
}

func TestReceiptRefuses(t *testing.T) {
	m := newMove(t)
	m.dst.AddImage("m/a", regtest.Image{Layers: []int64{1000}, Seed: 1}, "1")
	rule := m.dst.On(regtest.Match{Kind: regtest.Catalog}, regtest.Status(404))
	prefix, out := m.dst.Host()+"/m", m.path("receipt.json")
	for name, c := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"no output":  {[]string{prefix}, exitUsage, "--output is missing"},
		"two":        {[]string{prefix, "--output", "-", "--json"}, exitUsage, "standard output"},
		"no catalog": {[]string{prefix, "--output", out}, exitFailed, "name them: --map"},
		"no mapping": {[]string{prefix, "--output", out, "--map", m.path("none")}, exitUsage, "--map: "},
		"no prefix":  {[]string{"https://x/y", "--output", out}, exitUsage, "or the file of an archive"},
	} {
		m.command(append([]string{"receipt", "--retry", "1"}, c.args...)...)
		if m.code != c.code || !strings.Contains(m.errors, c.stderr) {
			t.Errorf("%s: exit code %d, want %d; %s", name, m.code, c.code, m.errors)
		}
	}
	rule.Remove()
	m.dst.On(regtest.Match{Kind: regtest.Blob}, regtest.Status(403))
	m.command("receipt", "--retry", "1", prefix, "--output", out)
	m.exits(exitAuth)
	m.absent("receipt.json")
}
