package rules

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/ref"
)

func TestExpand(t *testing.T) {
	set := New(Config{ShortNames: ShortNames{
		Search:   []string{"quay.io", "docker.io"},
		SearchAt: Origin{File: "f", Line: 1},
		Aliases: map[string]Alias{
			"fedora": {Name: ref.Name{Host: "registry.fedoraproject.org", Path: "fedora"}},
			"erased": {},
		},
	}})
	for _, c := range []struct{ client, name, want string }{
		{"podman", "alpine", "quay.io/alpine:latest docker.io/library/alpine:latest"},
		{"podman", "team/app:1", "quay.io/team/app:1 docker.io/team/app:1"},
		{"podman", "alpine@" + digest64, "quay.io/alpine@" + digest64 + " docker.io/library/alpine@" + digest64},
		{"podman", "fedora:41", "registry.fedoraproject.org/fedora:41"},
		{"podman", "erased", "quay.io/erased:latest docker.io/library/erased:latest"},
		{"podman", "localhost/x", "localhost/x:latest"},
		{"podman", "docker.io/alpine", "docker.io/library/alpine:latest"},
		{"podman", "ALPINE", "error"},
		{"podman", "QUAYIO/x", "error"},
		{"skopeo", "QUAYIO/x", "error"},
		{"containerd", "QUAYIO/x", "QUAYIO/x:latest"},
		{"k3s", "QUAYIO/x", "error"},
		{"regclient", "registry-1.docker.io/alpine:1", "docker.io/library/alpine:1"},
		{"containerd", "registry-1.docker.io/alpine:1", "registry-1.docker.io/alpine:1"},
		{"skopeo", "alpine", "docker.io/library/alpine:latest"},
		{"containerd", "alpine:1@" + digest64, "docker.io/library/alpine@" + digest64},
		{"", "alpine", "quay.io/alpine:latest docker.io/library/alpine:latest"},
	} {
		refs, err := set.Expand(c.name, client(t, c.client))
		var got []string
		for _, r := range refs {
			got = append(got, r.String())
		}
		if err != nil {
			got = []string{"error"}
		}
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s %s (-want +got, %v):\n%s", c.client, c.name, err, diff)
		}
	}
}

// TestExpandCapitals holds that one registry that podman takes for no host fails
// the whole search.
func TestExpandCapitals(t *testing.T) {
	set := New(Config{ShortNames: ShortNames{Search: []string{"quay.io", "QUAYIO"}}})
	if refs, err := set.Expand("alpine", client(t, "podman")); err == nil {
		t.Errorf("podman searches %v", refs)
	}
	if refs, err := set.Expand("alpine", Native()); err != nil || len(refs) != 2 {
		t.Errorf("the native reading searches %v: %v", refs, err)
	}
}

func TestDialects(t *testing.T) {
	if _, err := DialectOf("nobody"); err == nil {
		t.Error("a client that nobody knows has a dialect")
	}
	for _, name := range Clients() {
		d := client(t, name)
		if d.Strict() || d.Client != name {
			t.Errorf("%s: Client is %q", name, d.Client)
		}
		if len(d.HubKeys) == 0 || d.HubName == "" || d.HubWire == "" {
			t.Errorf("%s does not know Docker Hub: %+v", name, d)
		}
	}
	if !Native().Strict() {
		t.Error("the native dialect is not strict")
	}
}
