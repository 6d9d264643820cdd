package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFault29Abandoned: uploads that nobody ends are gone a day after their last
// byte and an hour, those of an earlier process too, and are told of with what they
// had; one that somebody goes on with stays.
func TestFault29Abandoned(t *testing.T) {
	dir := t.TempDir()
	kernel := time.Now()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var told []Event
		cfg := Config{
			Now:     func() time.Time { return kernel.Add(time.Since(start)) },
			Observe: func(e Event) { told = append(told, e) },
		}
		s := open(t, dir, cfg)
		var ids []string
		for _, content := range []string{"abandoned", "slow"} {
			u, err := s.Vault().NewUpload(t.Context(), app, "")
			if err == nil {
				_, err = u.Append(t.Context(), 0, strings.NewReader(content))
			}
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, u.ID())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, cfg)
		there := func(id string) bool { // without asking for it, which would be a use
			_, err := os.Stat(filepath.Join(dir, "up", id))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			return err == nil
		}
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		if !there(ids[0]) || !there(ids[1]) || len(told) > 0 {
			t.Fatalf("after 23 hours one is gone, %v", told)
		}
		u, err := s.Vault().Upload(t.Context(), app, ids[1])
		if err == nil {
			_, err = u.Append(t.Context(), 4, strings.NewReader(" one"))
		}
		if err == nil {
			now := cfg.Now() // the file has the kernel's
			err = os.Chtimes(filepath.Join(dir, "up", ids[1], "data"), now, now)
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if there(ids[0]) || !there(ids[1]) {
			t.Errorf("a day later: %v, %v, want the second alone", there(ids[0]), there(ids[1]))
		}
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		if there(ids[1]) || len(told) != 2 {
			t.Fatalf("two days later the second is there, or %d were told of", len(told))
		}
		for i, bytes := range []int64{9, 8} {
			if told[i].Kind != EventAbandoned || told[i].Bytes != bytes {
				t.Errorf("told of %+v, want an upload of %d bytes", told[i], bytes)
			}
		}
		if left, err := os.ReadDir(filepath.Join(dir, "up")); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}
