package cli

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/ref"
)

// TestFreshTags: whoever asked for a tag never to be asked for again has its record
// kept, whatever was evicted.
func TestFreshTags(t *testing.T) {
	cfg := config{upstreams: []upstream{
		{name: "never.example", tagTTL: neverAsk},
		{name: "some.example", tagTTL: time.Hour, immutable: []*regexp.Regexp{regexp.MustCompile(`^v\d`)}},
		{name: "*.example", tagTTL: 100 * 24 * time.Hour},
	}}
	month := time.Now().Add(-31 * 24 * time.Hour)
	for _, c := range []struct {
		host, tag string
		want      bool
	}{
		{"never.example", "latest", true},
		{"some.example", "v1", true},
		{"some.example", "latest", false},
		{"other.example", "latest", true},
		{"not.configured", "v1", false},
	} {
		if got := cfg.fresh(c.host, c.tag, month); got != c.want {
			t.Errorf("%s:%s is fresh: %v, want %v", c.host, c.tag, got, c.want)
		}
	}
}

// TestStoreEvictRecords: what is known about evicted content goes with a later
// eviction, but for what is young.
func TestStoreEvictRecords(t *testing.T) {
	k := newKept(t)
	cached(t, k.open, ref.Name{Host: "docker.io", Path: "library/alpine"}, "a layer", "3.20")
	records := func() int64 {
		t.Helper()
		k.store("evict", "--all", "--json")
		k.exits(exitDone)
		lines := strings.Split(strings.TrimSpace(k.out), "\n")
		var sum evictionJSON
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &sum); err != nil {
			t.Fatal(err)
		}
		return sum.Records
	}
	if got := records(); got != 0 {
		t.Errorf("%d young records were removed", got)
	}
	then := time.Now().Add(-2 * time.Hour)
	err := filepath.WalkDir(filepath.Join(k.dir, "c/i"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			err = os.Chtimes(path, then, then)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := records(); got != 1 {
		t.Errorf("%d records were removed, want that of the manifest", got)
	}
}
