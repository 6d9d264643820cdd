package store

import (
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/oci"
)

func writeAt(t testing.TB, sp *Spool, content string, from, end int) {
	t.Helper()
	if n, err := sp.WriteAt([]byte(content[from:end]), int64(from)); err != nil || n != end-from {
		t.Fatalf("WriteAt from %d to %d = %d, %v", from, end, n, err)
	}
}

func takeIn(t testing.TB, sp *Spool) {
	t.Helper()
	buf := make([]byte, 7)
	for {
		n, err := sp.TakeIn(buf)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

// Bytes come out of order and are hashed in order; none is written twice.
func TestSpoolAhead(t *testing.T) {
	content := strings.Repeat("0123456789", 100)
	dir := t.TempDir()
	c := open(t, dir, Config{}).Cache()
	sp := spool(t, c, digestOf(content), 1000)
	writeAt(t, sp, content, 500, 600)
	writeAt(t, sp, content, 900, 1000)
	writeAt(t, sp, content, 600, 700)
	write(t, sp, content[:400])
	takeIn(t, sp)
	if sp.Size() != 400 || sp.Has(550) != 700 || sp.Has(450) != 450 || sp.Next(400) != 500 || sp.Next(700) != 900 || sp.Ahead() != 300 {
		t.Errorf("size %d, has %d and %d, next %d and %d, ahead %d",
			sp.Size(), sp.Has(550), sp.Has(450), sp.Next(400), sp.Next(700), sp.Ahead())
	}
	for name, span := range map[string][2]int{"again": {550, 560}, "over the end of one": {690, 710}, "over the start of one": {890, 910}, "what is hashed": {10, 20}} {
		if _, err := sp.WriteAt([]byte(content[span[0]:span[1]]), int64(span[0])); err == nil {
			t.Errorf("%s: bytes were written twice", name)
		}
	}
	if _, err := sp.WriteAt([]byte("x"), 1000); !errors.Is(err, oci.ErrMismatch) {
		t.Errorf("a byte behind the end: %v, want ErrMismatch", err)
	}
	if _, err := sp.Write([]byte(content[400:510])); err == nil {
		t.Error("wrote over what is there")
	}
	write(t, sp, content[400:500])
	takeIn(t, sp)
	if sp.Size() != 700 || sp.Verify() == nil {
		t.Errorf("size %d, want 700, and not verified", sp.Size())
	}
	write(t, sp, content[700:900])
	takeIn(t, sp)
	if err := sp.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := cached(c, digestOf(content)); err != nil || got != content {
		t.Errorf("stored %d other bytes, %v", len(got), err)
	}
	if err := tidy(dir); err != nil {
		t.Error(err)
	}
}

// One wrong byte among those that came out of order is found.
func TestSpoolAheadMismatch(t *testing.T) {
	c := open(t, t.TempDir(), Config{}).Cache()
	sp := spool(t, c, digestOf("layers"), 6)
	writeAt(t, sp, "layerz", 3, 6)
	write(t, sp, "lay")
	takeIn(t, sp)
	if err := sp.Commit(t.Context()); !errors.Is(err, oci.ErrMismatch) {
		t.Errorf("Commit: %v, want ErrMismatch", err)
	}
	if _, err := cached(c, digestOf("layers")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("wrong content is stored: %v", err)
	}
}

// What was written out of order is there after Keep, after a kill, and not
// after a power cut.
func TestSpoolAheadResumes(t *testing.T) {
	random := make([]byte, 24<<20)
	rand.Read(random)
	content := string(random)
	d := digestOf(content)
	size := int64(len(content))
	for name, x := range map[string]struct {
		keep bool
		boot string
		want int64 // bytes that are left ahead
	}{"keep": {true, "b", 12 << 20}, "kill": {false, "a", 12 << 20}, "power cut": {false, "b", 0}} {
		dir, copied := t.TempDir(), t.TempDir()
		s := open(t, dir, Config{boot: "a"})
		sp := spool(t, s.Cache(), d, size)
		write(t, sp, content[:1<<20])
		writeAt(t, sp, content, 12<<20, 24<<20)
		takeIn(t, sp) // notes the progress
		if x.keep {
			if err := sp.Keep(); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		c := open(t, copied, Config{boot: x.boot}).Cache()
		sp = spool(t, c, d, size)
		if got := sp.Ahead(); got != x.want {
			t.Errorf("%s: %d bytes are left ahead, want %d", name, got, x.want)
		}
		end := size - x.want
		write(t, sp, content[sp.Size():end])
		buf := make([]byte, 1<<20)
		for n, err := 1, error(nil); n > 0; {
			if n, err = sp.TakeIn(buf); err != nil {
				t.Fatal(err)
			}
		}
		if err := sp.Commit(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A journal that claims what the file does not have is not believed.
func TestSpoolAheadOfJournal(t *testing.T) {
	for name, ahead := range map[string]spans{
		"beyond the file": {{500, 1001}}, "before the offset": {{50, 200}}, "empty": {{500, 500}},
		"out of order": {{700, 800}, {500, 600}}, "overlap": {{500, 600}, {590, 700}}, "negative": {{-5, -1}},
	} {
		if ahead.valid(100, 1000) {
			t.Errorf("%s: %v is believed", name, ahead)
		}
	}
	if !(spans{{100, 200}, {300, 1000}}).valid(100, 1000) {
		t.Error("what is right is not believed")
	}
}

// Several write at once, each at places of its own, while somebody reads.
func TestSpoolAheadAtOnce(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 1<<12)
	c := open(t, t.TempDir(), Config{}).Cache()
	sp := spool(t, c, digestOf(content), int64(len(content)))
	part := len(content) / 4
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for at := (i + 1) * part; at < (i+2)*part; at += 1000 {
				if _, err := sp.WriteAt([]byte(content[at:min(at+1000, (i+2)*part)]), int64(at)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for at := int64(part); at < int64(len(content)); {
			end := sp.Has(at)
			got := make([]byte, end-at)
			if _, err := sp.File().ReadAt(got, at); err != nil || string(got) != content[at:end] {
				t.Errorf("read other bytes at %d, %v", at, err)
			}
			at = end
		}
	})
	write(t, sp, content[:part])
	wg.Wait()
	takeIn(t, sp)
	if err := sp.Commit(t.Context()); err != nil {
		t.Error(err)
	}
}

// FuzzSpans holds spans against a map of bytes.
func FuzzSpans(f *testing.F) {
	f.Add([]byte{1, 2, 5, 3, 3, 2})
	f.Add([]byte{9, 1, 0, 9, 0, 1, 10, 5, 3, 30})
	f.Fuzz(func(t *testing.T, in []byte) {
		var s spans
		var there [512]bool
		for ; len(in) >= 2; in = in[2:] {
			n := span{int64(in[0]), int64(in[0]) + int64(in[1])%16 + 1}
			free := true
			for i := n.From; i < n.End; i++ {
				free = free && !there[i]
			}
			got, ok := s.add(n)
			if ok != free {
				t.Fatalf("%v: add(%v) is %v, want %v", s, n, ok, free)
			}
			for i := n.From; ok && i < n.End; i++ {
				there[i] = true
			}
			if s = got; !s.valid(0, 512) {
				t.Fatalf("after %v: %v", n, s)
			}
		}
		for i := range there {
			x, ok := s.from(int64(i))
			if got := ok && x.From <= int64(i); got != there[i] {
				t.Fatalf("%v: %d is there: %v, want %v", s, i, got, there[i])
			}
		}
	})
}
