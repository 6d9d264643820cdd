package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCountRequests(t *testing.T) {
	const old = `127.0.0.1 - - [22/Nov/2026:07:06:13 +0000] "GET /v2/ HTTP/1.1" 200 2 "" "x"` + "\n"
	const log = old +
		`127.0.0.1 - - [22/Nov/2026:07:06:13 +0000] "HEAD /v2/x/a/manifests/v1 HTTP/1.1" 200 746 "" "x"` + "\n" +
		`127.0.0.1 - - [22/Nov/2026:07:06:13 +0000] "GET /v2/x/a/manifests/v1 HTTP/1.1" 200 746 "" "x"` + "\n" +
		`time="2026-11-22" level=error msg="GET /v2/"` + "\n" +
		`127.0.0.1 - - [22/Nov/2026:07:06:13 +0000] "GET /v2/x/a/blobs/sha256:00 HTTP/1.1" 206 1000 "" "x"` + "\n"
	name := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(name, []byte(log), 0o644); err != nil {
		t.Fatal(err)
	}
	requests, bytes, err := countRequests(name, int64(len(old)))
	if err != nil || requests != 3 || bytes != 1000 {
		t.Errorf("%v requests, %v bytes, %v, want 3 and 1000", requests, bytes, err)
	}
}

// TestSets holds what the tables say about the sets.
func TestSets(t *testing.T) {
	for _, c := range []struct {
		set            imageSet
		images, repos  int
		listed, unique int64 // MB
	}{
		{sharedSet(false), 12, 12, 4139, 1975},
		{smallSet(false), 500, 50, 40, 10},
		{bigSet(false), 1, 1, 2147, 2147},
	} {
		var listed, unique int64
		seen := map[layerSpec]bool{}
		for _, img := range c.set.images {
			for _, l := range img.layers {
				listed += l.size
				if !seen[l] {
					unique += l.size
				}
				seen[l] = true
			}
		}
		if len(c.set.images) != c.images || len(c.set.repos()) != c.repos || listed/1e6 != c.listed || unique/1e6 != c.unique {
			t.Errorf("%s: %d images in %d repositories, %d MB listed, %d MB different", c.set.name, len(c.set.images), len(c.set.repos()), listed/1e6, unique/1e6)
		}
	}
}

// TestCommands holds that each tool is told of every image, once.
func TestCommands(t *testing.T) {
	set := smallSet(true)
	bin := map[string]string{entrepot: "entrepot", "crane": "crane", "skopeo": "skopeo", "regsync": "regsync", "regctl": "regctl"}
	for _, tool := range []string{entrepot, skopeoSync, craneCopy, craneTuned, regsync4, regsync16, regctlCopy} {
		j := job{set: set, tool: tool, src: "127.0.0.1:1", dst: "127.0.0.1:2", dir: t.TempDir()}
		lines, atOnce, err := j.commands(bin)
		if err != nil || atOnce < 1 {
			t.Fatalf("%s: %d at once, %v", tool, atOnce, err)
		}
		text := ""
		for _, argv := range lines {
			text += strings.Join(argv, " ") + "\n"
			for _, arg := range argv {
				if raw, err := os.ReadFile(arg); err == nil {
					text += string(raw)
				}
			}
		}
		missing := slices.DeleteFunc(set.repos(), func(repo string) bool { return strings.Contains(text, repo) })
		if len(missing) > 0 {
			t.Errorf("%s is not told of %v", tool, missing)
		}
	}
}
