package store

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// TestDirSyncerCoalesces: while one sync is under way, all who come share the
// next one, and nobody is served by the one that began before they came.
func TestDirSyncerCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		begun := 0
		gate := make(chan error)
		s := newDirSyncer(func(string) error {
			mu.Lock()
			begun++
			mu.Unlock()
			return <-gate
		})
		count := func() int {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return begun
		}
		results := make(chan error, 100)
		go func() { results <- s.Sync("d") }()
		if got := count(); got != 1 {
			t.Fatalf("%d syncs began, want 1", got)
		}
		for range 32 {
			go func() { results <- s.Sync("d") }()
		}
		if got := count(); got != 1 {
			t.Fatalf("%d syncs began while one was under way, want 1", got)
		}
		gate <- nil
		if got := count(); got != 2 || len(results) != 1 {
			t.Fatalf("%d syncs began and %d calls returned, want 2 and 1", got, len(results))
		}
		bad := errors.New("EIO")
		gate <- bad
		synctest.Wait()
		if len(results) != 33 {
			t.Fatalf("%d calls returned, want 33", len(results))
		}
		if err := <-results; err != nil {
			t.Errorf("the first call: %v", err)
		}
		for range 32 {
			if err := <-results; err != bad {
				t.Errorf("a later call: got %v, want %v", err, bad)
			}
		}
		if len(s.running) != 0 || len(s.next) != 0 {
			t.Errorf("left behind: %d running, %d next", len(s.running), len(s.next))
		}
	})
}
