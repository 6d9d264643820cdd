package conf

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	file := filepath.Join(dir, "mine.conf")
	if err := os.WriteFile(file, []byte("[[registry]]\nlocation = 'quay.io'\n[[registry.mirror]]\nlocation = 'm.corp'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "https://m.corp/v2/a/manifests/1\nhttps://quay.io/v2/a/manifests/1\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for arg, at := range map[string]string{
		"registries.conf=" + file:     file + ":1",
		"registries.conf=mine.conf":   "mine.conf:1",
		"registries.conf=" + dir:      "mine.conf:1",
		"registries.conf=./mine.conf": "./mine.conf:1",
		"registries.conf=-":           "standard input:1",
	} {
		src, err := Open(arg, Machine{Stdin: strings.NewReader(string(text))})
		if err != nil {
			t.Errorf("%s: %v", arg, err)
			continue
		}
		cfg := readOf(t, src, "podman")
		if got := urls(t, cfg, "quay.io/a:1", "podman"); got != want {
			t.Errorf("%s:\n%swant\n%s", arg, got, want)
			continue
		}
		if got := cfg.Rules[0].Origin.String(); got != at {
			t.Errorf("%s: the rule is at %s, want %s", arg, got, at)
		}
	}
}

func TestOpenValue(t *testing.T) {
	src, err := Open("cnb=quay.io=https://m.corp", Machine{})
	if err != nil {
		t.Fatal(err)
	}
	want := "https://m.corp/v2/a/manifests/1\nhttps://quay.io/v2/a/manifests/1\n"
	if got := urls(t, readOf(t, src, "lifecycle"), "quay.io/a:1", "lifecycle"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestOpenErrors(t *testing.T) {
	for _, arg := range []string{"registries.conf", "=x", "registries.conf=", "nothing=x"} {
		if _, err := Open(arg, Machine{}); err == nil || !strings.Contains(err.Error(), "registries.conf") {
			t.Errorf("%s: %v, want an error that names the formats", arg, err)
		}
	}
	if _, err := Open("registries.conf="+filepath.Join(t.TempDir(), "none"), Machine{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := Read(Source{Format: "nothing"}, dialectOf(t, "")); err == nil {
		t.Error("a format that is not there is read")
	}
}
