package cli

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/internal/web"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/store"
)

// TestFault23Alarm: where the listing of manifests fails, is empty or lacks a part,
// the server's collection ends, removes nothing, and says so in its log and its
// metrics. When all is well again, so is the next one (harbor#12975, restic#4619).
func TestFault23Alarm(t *testing.T) {
	for name, c := range map[string]struct {
		spoil        func(manifests string) error
		mend         func(manifests string) error
		log, counted string
	}{
		"fails": {
			func(dir string) error { return os.Symlink("loop", filepath.Join(dir, "loop")) },
			func(dir string) error { return os.Remove(filepath.Join(dir, "loop")) },
			"garbage was not collected", "failed"},
		"is empty": {
			func(dir string) error { return os.Rename(dir, dir+".away") },
			func(dir string) error { return os.Rename(dir+".away", dir) },
			"there is no manifest at all", "refused"},
		"is truncated": {
			func(dir string) error { return os.Rename(filepath.Join(dir, "apps/two"), dir+".away") },
			func(dir string) error { return os.Rename(dir+".away", filepath.Join(dir, "apps/two")) },
			"there are 3 manifests, and were 13", "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var log bytes.Buffer
			now := time.Now()
			st, err := store.Open(dir, store.Config{Now: func() time.Time { return now }})
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			s := &server{log: slog.New(slog.NewTextHandler(&log, nil)), store: st, metrics: web.NewMetrics(web.MetricsConfig{})}
			for i := range 13 {
				path := "apps/two"
				if i < 3 {
					path = "apps/one"
				}
				pushed(t, st, path, fmt.Sprintf("layer %d %s", i, strings.Repeat("x", 100)))
			}
			gone, _ := pushed(t, st, "apps/three", "what goes")
			if err := st.Vault().DeleteManifest(t.Context(), ref.Name{Path: "apps/three"}, gone.Digest); err != nil {
				t.Fatal(err)
			}
			s.collect(t.Context())
			now = now.Add(48 * time.Hour)
			manifests := filepath.Join(dir, "v/m")
			if name == "fails" {
				manifests = filepath.Join(dir, "v/m/apps/one/_m", filesIn(t, filepath.Join(dir, "v/m/apps/one/_m"))[0], "..")
			}
			if err := c.spoil(manifests); err != nil {
				t.Fatal(err)
			}
			before := filesIn(t, filepath.Join(dir, "v/b"))
			s.collect(t.Context())
			if after := filesIn(t, filepath.Join(dir, "v/b")); !slices.Equal(before, after) || len(filesIn(t, filepath.Join(dir, "v/c"))) > 0 {
				t.Error("something was removed, or marked")
			}
			if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), c.log) {
				t.Errorf("the log has no %q:\n%s", c.log, &log)
			}
			counted(t, s.metrics, `entrepot_gc_runs_total{result="`+c.counted+`"} 1`)
			if err := c.mend(manifests); err != nil {
				t.Fatal(err)
			}
			s.collect(t.Context())
			counted(t, s.metrics, `entrepot_gc_runs_total{result="done"} 2`, "entrepot_gc_removed_blobs_total 2")
		})
	}
}

// filesIn returns the files below a directory.
func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			all = append(all, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return all
}

// counted fails the test unless the metrics have these lines.
func counted(t *testing.T, m *web.Metrics, want ...string) {
	t.Helper()
	w := httptest.NewRecorder()
	web.Handler(web.Config{Metrics: m}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range want {
		if !strings.Contains(w.Body.String(), line+"\n") {
			t.Errorf("no %s in the metrics", line)
		}
	}
}

// TestAbandonedAreCounted: what nobody ended is told by metrics.
func TestAbandonedAreCounted(t *testing.T) {
	m := web.NewMetrics(web.MetricsConfig{})
	o := observer{metrics: m}
	o.store(store.Event{Kind: store.EventAbandoned, Bytes: 1000})
	o.store(store.Event{Kind: store.EventEvicted, Bytes: 500, Age: 2 * time.Hour})
	counted(t, m, "entrepot_abandoned_uploads_total 1", "entrepot_abandoned_upload_bytes_total 1000",
		"entrepot_evicted_blobs_total 1", "entrepot_evicted_bytes_total 500", `entrepot_evicted_age_seconds_bucket{le="21600"} 1`)
}
