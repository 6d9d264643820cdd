package main

import (
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWarehouse: all blobs are there, each in the directory of its hash, and the
// images need each pushed one once.
func TestWarehouse(t *testing.T) {
	w := &warehouse{dir: t.TempDir(), blobs: 600}
	if err := w.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.cached.Load(); got != 600 {
		t.Errorf("%d blobs are cached, want 600", got)
	}
	there, needed := map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(w.dir, path)
		if err != nil {
			return err
		}
		if strings.HasPrefix(rel, "v/m/") {
			return readPin(path, needed)
		}
		info, err := e.Info()
		dir, name := filepath.Split(rel)
		if err != nil || info.Size() != hole || !strings.HasSuffix(dir, "/b/sha256/"+name[:2]+"/") {
			t.Errorf("%s is no blob: %v", rel, err)
		}
		there[dir[:1]+" "+name] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range needed {
		hex := strings.TrimPrefix(name, "sha256:")
		if !there["c "+hex] || !there["v "+hex+"."+incarnation] {
			t.Errorf("%s is not in both pools", name)
		}
	}
	if len(needed) != 600 || len(there) != 1200 {
		t.Errorf("%d blobs are needed and %d there, want 600 and 1200", len(needed), len(there))
	}
}

// readPin notes what an image needs.
func readPin(path string, needed map[string]bool) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var record struct {
		Pins [][]any `json:"pins"`
	}
	if err := json.Unmarshal(raw, &record); err != nil {
		return err
	}
	for _, p := range record.Pins {
		needed[p[0].(string)] = true
	}
	return nil
}

func TestMetric(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "# HELP blobs b\nblobs{pool=\"a b\"} 2\nblobs{pool=\"c\"} 3.5\nblobs_total 7\n")
	}))
	defer srv.Close()
	p := &process{admin: srv.Listener.Addr().String()}
	for name, want := range map[string]float64{"blobs": 5.5, "blobs_total": 7, "nothing": 0} {
		if got, err := p.metric(name); err != nil || got != want {
			t.Errorf("%s: got %v (%v), want %v", name, got, err, want)
		}
	}
}

// TestHits: a request is made whenever one is due, and those before the beginning
// do not count.
func TestHits(t *testing.T) {
	addr, _ := fakeRegistry(t, false)
	for began, counts := range map[time.Time]bool{{}: true, time.Now().Add(time.Hour): false} {
		l := load{p: &process{addr: addr}, began: began}
		asked := 0
		l.end = time.Now().Add(100 * time.Millisecond)
		for asked == 0 { // the time may be over before there is a connection
			l.end = l.end.Add(100 * time.Millisecond)
			err := l.hits(t.Context(), 100, 1, 0, func(c *conn) error {
				asked++
				_, err := c.getManifest(imageRepo, tag)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if want := map[bool]int{true: asked}[counts]; len(l.took) != want {
			t.Errorf("from %v on: %d of %d requests were counted, want %d", began, len(l.took), asked, want)
		}
	}
	if got := (millis{1, 2, 3, 4}).at(99); got != 3 {
		t.Errorf("got %v, want 3: the largest of four is no 99th percentile", got)
	}
}
