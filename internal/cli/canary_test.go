package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Requests that would all hang are not called ready for (zot#4357: health stayed
// green while each pull by tag hung), and whoever asks does not hang with them.
func TestCanaryThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		var started atomic.Int64
		c := &canary{limit: canaryLimit, check: func() error { started.Add(1); <-free; return nil }}
		for range 3 {
			if err := c.ask(); !errors.Is(err, errStuck) {
				t.Errorf("got %v", err)
			}
		}
		if n := started.Load(); n != 1 {
			t.Errorf("%d checks hang", n)
		}
		close(free)
		synctest.Wait()
		if err := c.ask(); err != nil || started.Load() != 2 {
			t.Errorf("afterwards: got %v after %d checks", err, started.Load())
		}
	})
}

// A store that cannot be read is not ready; the process lives.
func TestReadyNeedsTheStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	r := start(t, fmt.Sprintf("[storage]\nurl = %q", dir))
	if code, _, body := r.get(r.admin + "/readyz"); code != 200 {
		t.Fatalf("got %d %s", code, body)
	}
	format := filepath.Join(dir, "FORMAT")
	if err := os.Rename(format, format+".away"); err != nil {
		t.Fatal(err)
	}
	if code, _, body := r.get(r.admin + "/readyz"); code != 503 || !strings.Contains(string(body), "FORMAT") {
		t.Errorf("without its directory: got %d %s", code, body)
	}
	if code, _, _ := r.get(r.admin + "/healthz"); code != 200 {
		t.Errorf("/healthz: got %d", code)
	}
	if err := os.Rename(format+".away", format); err != nil {
		t.Fatal(err)
	}
	if code, _, body := r.get(r.admin + "/readyz"); code != 200 {
		t.Errorf("afterwards: got %d %s", code, body)
	}
}
