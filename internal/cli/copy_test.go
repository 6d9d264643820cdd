package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/relocate"
)

// runCopy runs entrepot copy with a home, and returns its exit code and what it
// printed.
func runCopy(ctx context.Context, home string, args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	env := Env{Args: append([]string{"copy"}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(name string) string { return map[string]string{"HOME": home}[name] }}
	code = Main(ctx, env)
	return code, out.String(), errs.String()
}

func TestCopyExitCodes(t *testing.T) {
	src, dst := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	img := src.AddImage("app", regtest.Image{Layers: []int64{1000}}, "v1")
	src.AddImage("locked", regtest.Image{Layers: []int64{1000}}, "v1")
	src.On(regtest.Match{Repo: "locked"}, regtest.Status(http.StatusForbidden))
	dst.AddImage("taken", regtest.Image{Layers: []int64{5}, Seed: 9}, "v1")
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"done":             {[]string{src.Host() + "/app:v1", dst.Host() + "/app"}, 0, ""},
		"by digest":        {[]string{src.Host() + "/app@" + string(img.Digest), dst.Host() + "/other:v2"}, 0, ""},
		"docker://":        {[]string{"docker://" + src.Host() + "/app:v1", "docker://" + dst.Host() + "/app"}, 0, ""},
		"no image":         {[]string{src.Host() + "/none:v1", dst.Host() + "/none"}, 3, "no such manifest"},
		"no right":         {[]string{src.Host() + "/locked:v1", dst.Host() + "/locked"}, 6, "hint: the account may not do this"},
		"tag taken":        {[]string{"--on-existing", "fail", src.Host() + "/app:v1", dst.Host() + "/taken"}, 5, "nothing was written"},
		"bad platform":     {[]string{"--platform", "arm64", src.Host() + "/app:v1", dst.Host() + "/app"}, 2, "--platform"},
		"trim alone":       {[]string{"--trim-index", src.Host() + "/app:v1", dst.Host() + "/app"}, 2, "--platform"},
		"bad existing":     {[]string{"--on-existing", "x", src.Host() + "/app:v1", dst.Host() + "/app"}, 2, "overwrite, keep, fail or backup"},
		"tags of a tag":    {[]string{"--all-tags", src.Host() + "/app:v1", dst.Host() + "/app"}, 2, "neither tag nor digest"},
		"another digest":   {[]string{src.Host() + "/app:v1", dst.Host() + "/app@" + string(img.Digest)}, 2, "not the source's"},
		"no such layout":   {[]string{"oci:" + filepath.Join(t.TempDir(), "none"), dst.Host() + "/app"}, 1, "no OCI layout"},
		"no such authfile": {[]string{"--authfile", "/nonexistent", src.Host() + "/app:v1", dst.Host() + "/app"}, 2, "--authfile"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := runCopy(t.Context(), t.TempDir(), append([]string{"--rules", "none"}, c.args...)...)
			if code != c.code || !strings.Contains(stderr, c.says) {
				t.Errorf("exit %d, want %d with %q:\n%s", code, c.code, c.says, stderr)
			}
		})
	}
}

// TestCopyThroughRules reads an image where the mirror rules say it is.
func TestCopyThroughRules(t *testing.T) {
	mirror, dst := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	img := mirror.AddImage("proj/app", regtest.Image{Layers: []int64{1000}}, "v1")
	conf := filepath.Join(t.TempDir(), "registries.conf")
	text := "[[registry]]\nprefix = \"upstream.invalid\"\nlocation = \"" + mirror.Host() + "/proj\"\ninsecure = true\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := runCopy(t.Context(), t.TempDir(), "--rules", "registries.conf="+conf, "upstream.invalid/app:v1", dst.Host()+"/app")
	if code != 0 || !strings.Contains(stdout, string(img.Digest)) {
		t.Errorf("exit %d:\n%s%s", code, stdout, stderr)
	}
}

// TestCopyHeaders reads an image with the headers that the mirror rules have for
// its mirror, and sends them nowhere else.
func TestCopyHeaders(t *testing.T) {
	mirror, dst := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	mirror.AddImage("app", regtest.Image{Layers: []int64{1000}}, "v1")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "upstream.invalid", "hosts.toml"), "[host.\""+mirror.URL()+"\"]\n[host.\""+mirror.URL()+"\".header]\nX-Team = \"blue\"\n")
	code, _, stderr := runCopy(t.Context(), t.TempDir(), "--no-referrers", "--rules", "hosts.toml="+dir, "upstream.invalid/app:v1", dst.Host()+"/app")
	if code != 0 {
		t.Fatalf("exit %d:\n%s", code, stderr)
	}
	for _, reg := range []*regtest.Registry{mirror, dst} {
		for _, e := range reg.Log() {
			if got := e.Header.Get("X-Team"); (got == "blue") != (reg == mirror) {
				t.Errorf("%s %s has X-Team %q", e.Method, e.Path, got)
			}
		}
	}
}

// TestCopyReport holds that the report is what the contract says.
func TestCopyReport(t *testing.T) {
	src, dst := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	src.AddImage("app", regtest.Image{Layers: []int64{1000}}, "v1")
	file := filepath.Join(t.TempDir(), "report.json")
	code, stdout, stderr := runCopy(t.Context(), t.TempDir(), "--rules", "none", "--json", "--report", file, src.Host()+"/app:v1", dst.Host()+"/app")
	if code != 0 {
		t.Fatalf("exit %d:\n%s", code, stderr)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"--report": string(raw), "--json": stdout} {
		var rep map[string]any
		if err := json.Unmarshal([]byte(text), &rep); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		totals := rep["totals"].(map[string]any)
		for _, key := range []string{"images", "failed", "source_bytes", "unique_bytes", "pushed_bytes", "mounted", "source_requests", "target_requests", "seconds"} {
			if _, ok := totals[key]; !ok {
				t.Errorf("%s: totals lack %s", name, key)
			}
		}
		one := rep["images"].([]any)[0].(map[string]any)
		for _, key := range []string{"source", "digest", "target", "result", "error", "referrers", "blobs"} {
			if _, ok := one[key]; !ok {
				t.Errorf("%s: the image lacks %s", name, key)
			}
		}
		if one["result"] != relocate.Copied || totals["target_requests"] == 0.0 || rep["outputs"] == nil {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// TestCopyNames holds that an image of a layout is named as the user names it,
// while it is copied and where that fails.
func TestCopyNames(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	reg.AddImage("app", regtest.Image{Layers: []int64{1000}}, "v1")
	lay := "oci:" + filepath.Join(t.TempDir(), "lay")
	for _, c := range []struct {
		from, to string
		code     int
		says     string
	}{
		{reg.Host() + "/app:v1", lay + ":v2", 0, "entrepot: 1/1 " + reg.Host() + "/app:v1: in place\n"},
		{lay + ":v2", reg.Host() + "/app", 0, "entrepot: 1/1 " + lay + ":v2: in place\n"},
		{lay + ":v3", reg.Host() + "/app", 3, "entrepot: error: " + lay + ":v3: "},
	} {
		code, _, stderr := runCopy(t.Context(), t.TempDir(), "--rules", "none", c.from, c.to)
		if code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("copy %s %s: exit %d, want %d with %q:\n%s", c.from, c.to, code, c.code, c.says, stderr)
		}
	}
}

// TestCopyInterrupted holds that an interrupted copy leaves a journal, says so,
// and goes on from it.
func TestCopyInterrupted(t *testing.T) {
	src, dst := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	img := src.AddImage("app", regtest.Image{Layers: []int64{1000, 400_000}}, "v1")
	held := src.On(regtest.Match{Kind: regtest.Blob, Ref: string(img.Layers[1].Digest)}, regtest.Held())
	journal := filepath.Join(t.TempDir(), "journal")
	args := []string{"--rules", "none", "--journal", journal, src.Host() + "/app:v1", dst.Host() + "/app"}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-held.Reached()
		for done := false; !done; runtime.Gosched() {
			raw, err := os.ReadFile(journal)
			done = err == nil && strings.Contains(string(raw), string(img.Layers[0].Digest)) || t.Context().Err() != nil
		}
		cancel()
	}()
	home := t.TempDir()
	code, _, stderr := runCopy(ctx, home, args...)
	if code != exitFailed || !strings.Contains(stderr, "interrupted") || !strings.Contains(stderr, journal) {
		t.Fatalf("exit %d:\n%s", code, stderr)
	}
	src.Clear()
	if code, _, stderr := runCopy(t.Context(), home, args...); code != 0 {
		t.Fatalf("exit %d:\n%s", code, stderr)
	}
	if _, err := os.Stat(journal); !os.IsNotExist(err) {
		t.Errorf("the journal is still there: %v", err)
	}
	if n := src.BlobBytes(img.Layers[0].Digest); n != 1000 {
		t.Errorf("the small layer was read again: %d bytes", n)
	}
}
