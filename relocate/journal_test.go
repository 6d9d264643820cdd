package relocate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

var (
	repoX   = ref.Name{Host: "example.com", Path: "x"}
	digestX = oci.FromBytes([]byte("x"), "")
)

func openJournal(t testing.TB, name string) *Journal {
	t.Helper()
	j, err := OpenJournal(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func TestJournal(t *testing.T) {
	name := filepath.Join(t.TempDir(), "journal")
	j := openJournal(t, name)
	if j.blob(repoX, digestX) || j.manifest(repoX, digestX) || j.session(repoX, digestX) != "" {
		t.Error("a new journal knows something")
	}
	j.confirmed(repoX, digestX, "https://example.com/1", 5)
	j.confirmed(repoX, digestX, "https://example.com/2", 9)
	if err := j.blobDone(repoX, digestX); err != nil {
		t.Fatal(err)
	}
	j.Close()
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v, want it to be its owner's alone", info, err)
	}
	j = openJournal(t, name)
	if !j.blob(repoX, digestX) || j.manifest(repoX, digestX) || j.session(repoX, digestX) != "https://example.com/2" {
		t.Error("the journal has not kept what was done")
	}
	if err := j.forget(repoX, digestX); err != nil {
		t.Fatal(err)
	}
	j.Close()
	if j = openJournal(t, name); j.blob(repoX, digestX) {
		t.Error("what was forgotten is remembered")
	}
}

// TestJournalAfterCrash cuts the file at every byte: what is whole is kept, and
// writing goes on after it.
func TestJournalAfterCrash(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, filepath.Join(dir, "whole"))
	if err := j.blobDone(repoX, digestX); err != nil {
		t.Fatal(err)
	}
	first, _ := os.ReadFile(filepath.Join(dir, "whole"))
	if err := j.manifestDone(repoX, digestX); err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadFile(filepath.Join(dir, "whole"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(all) {
		name := filepath.Join(dir, "cut")
		if err := os.WriteFile(name, all[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := OpenJournal(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := j.blob(repoX, digestX), n >= len(first); got != want || j.manifest(repoX, digestX) {
			t.Fatalf("cut at %d: blob %v, want %v; manifest %v", n, got, want, j.manifest(repoX, digestX))
		}
		if err := j.manifestDone(repoX, digestX); err != nil {
			t.Fatal(err)
		}
		j.Close()
		if j, err = OpenJournal(name); err != nil || !j.manifest(repoX, digestX) {
			t.Fatalf("cut at %d: what was written after it is lost, %v", n, err)
		}
		j.Close()
	}
}

// TestHaveAfterCrash holds that a broken line does not hide those after it.
func TestHaveAfterCrash(t *testing.T) {
	name := filepath.Join(t.TempDir(), "have")
	add := func(path string) {
		h, err := OpenHave(name)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if err := h.add(finished{Host: "example.com", Repo: path, Digest: digestX, Blobs: []oci.Digest{digestX}}); err != nil {
			t.Fatal(err)
		}
	}
	add("a")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(raw, "0000 {\"torn\":\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	add("b")
	h, err := OpenHave(name)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, path := range []string{"a", "b"} {
		if h.find(ref.Name{Host: "example.com", Path: path}, digestX, "") == nil {
			t.Errorf("%s is not remembered", path)
		}
	}
	if home := h.home(ref.Name{Host: "example.com", Path: "c"}, digestX); home.Path != "b" {
		t.Errorf("the blob's home is %v", home)
	}
	if home := h.home(ref.Name{Host: "other.example.com", Path: "c"}, digestX); home.Path != "" {
		t.Errorf("a blob of another registry has the home %v", home)
	}
}

func FuzzJournal(f *testing.F) {
	j := openJournal(f, filepath.Join(f.TempDir(), "journal"))
	j.confirmed(repoX, digestX, "https://example.com/1", 5)
	if err := j.manifestDone(repoX, digestX); err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(j.file.Name())
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "\n", "00000000 \n", "x", string(raw), strings.Repeat(string(raw), 2)[:len(raw)+9]} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		name := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		j := openJournal(t, name)
		if err := j.blobDone(repoX, digestX); err != nil {
			t.Fatal(err)
		}
		j.Close()
		if !openJournal(t, name).blob(repoX, digestX) {
			t.Error("what was written after it is lost")
		}
		h, err := OpenHave(name)
		if err != nil {
			t.Fatal(err)
		}
		h.Close()
	})
}
