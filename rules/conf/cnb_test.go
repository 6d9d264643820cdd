package conf

import (
	"strings"
	"testing"
)

func TestCNBProblems(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"quay.io", "error CNB_REGISTRY_MIRRORS:1:1: \"quay.io\" has no '=' (the form is registry=mirror;registry=mirror)\n"},
		{"quay.io=", "error CNB_REGISTRY_MIRRORS:1:1: a registry or a mirror is missing in \"quay.io=\" (the form is registry=mirror;registry=mirror)\n"},
		{"a.b=m.corp; *=m.corp", "error CNB_REGISTRY_MIRRORS:1:13: \"*\": wildcard keys are not allowed (name each registry)\n"},
		{"a.b=m.corp;\n  quay.io/x=m.corp", "error CNB_REGISTRY_MIRRORS:2:3: key \"quay.io/x\" must be a registry host (write the registry alone, without scheme or path)\n"},
		{"quay.io=ftp://m.corp", "error CNB_REGISTRY_MIRRORS:1:1: the mirror of quay.io has a scheme that is neither https nor http (write https:// or http://)\n"},
		{"quay.io=m.corp#x", "error CNB_REGISTRY_MIRRORS:1:1: the mirror of quay.io has a query or a fragment (drop everything from the question mark on)\n"},
		{"quay.io=m.corp/Up", "error CNB_REGISTRY_MIRRORS:1:1: the mirror of quay.io is no registry: \"m.corp/Up\" (the form is [http://]host[:port][/namespace])\n"},
		{"quay.io=https://", "error CNB_REGISTRY_MIRRORS:1:1: the mirror of quay.io is no registry: \"\" (the form is [http://]host[:port][/namespace])\n"},
	} {
		src := sourceOf("cnb", map[string]string{cnbVariable: c.in})
		cfg := readOf(t, src, "lifecycle")
		if got := problems(cfg); got != c.want {
			t.Errorf("%s: got\n%swant\n%s", c.in, got, c.want)
		}
		if cfg.Refused == nil {
			t.Errorf("%s: it is not refused", c.in)
		}
	}
}

// TestCNBKeepsSecrets holds that credentials in the value are never shown.
func TestCNBKeepsSecrets(t *testing.T) {
	for _, in := range []string{"quay.io=https://bob:secret@m.corp", "bob:secret@m.corp", "bob:secret@m.corp=", "https://bob:secret@m.corp=x"} {
		cfg := readOf(t, sourceOf("cnb", map[string]string{cnbVariable: in}), "lifecycle")
		if cfg.Refused == nil || strings.Contains(problems(cfg), "secret") {
			t.Errorf("%s: %s", in, problems(cfg))
		}
	}
}

// TestCNBOrder holds that a repeated key gives several mirrors, whatever the
// key calls Docker Hub.
func TestCNBOrder(t *testing.T) {
	cfg := readOf(t, sourceOf("cnb", map[string]string{cnbVariable: "docker.io=a.corp;quay.io=q.corp;index.docker.io=http://b.corp:5000/hub;DOCKER.io=c.corp\n"}), "lifecycle")
	want := "https://a.corp/v2/library/alpine/manifests/1\nhttp://b.corp:5000/v2/hub/library/alpine/manifests/1\nhttps://c.corp/v2/library/alpine/manifests/1\nhttps://registry-1.docker.io/v2/library/alpine/manifests/1\n"
	for _, client := range []string{"lifecycle", ""} {
		if got := urls(t, cfg, "alpine:1", client); got != want {
			t.Errorf("client %q: got\n%swant\n%s", client, got, want)
		}
	}
}
