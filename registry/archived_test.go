package registry

import (
	"errors"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// TestRouteArchived holds that archives own the repositories of their index, under
// every name that leads there, and nothing beside them.
func TestRouteArchived(t *testing.T) {
	r := house
	for _, s := range []string{
		"docker.io/library/alpine", "quay.io/team/app", "registry.example.com:5000/team/app", "127.0.0.1:5999/x/y",
		"a.wild.example/x", "mirror.corp/apps/ours", "registry.k8s.io:443/pause", "localhost/z",
	} {
		n, err := ref.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		r.Archived = append(r.Archived, n.Name)
	}
	tab := compile(t, r)
	for _, c := range []struct {
		path, ns string
		want     string // of an archive; "-" is another owner's, or a code
	}{
		{"docker.io/library/alpine", "", "docker.io/library/alpine"},
		{"docker.io/alpine", "", "docker.io/library/alpine"},
		{"index.docker.io/library/alpine", "", "docker.io/library/alpine"},
		{"hub/library/alpine", "", "docker.io/library/alpine"},
		{"library/alpine", "", "docker.io/library/alpine"}, // the default upstream's
		{"library/alpine", "docker.io", "docker.io/library/alpine"},
		{"alpine", "registry-1.docker.io", "docker.io/library/alpine"},
		{"docker.io/library/alpine", "docker.io", "docker.io/library/alpine"},
		{"library/busybox", "docker.io", "-"},
		{"quay.io/team/app", "", "quay.io/team/app"},
		{"team/app", "quay.io", "quay.io/team/app"},
		{"team/app", "QUAY.io:443", "quay.io/team/app"},
		{"quay.io/team/app", "quay.io", "quay.io/team/app"},
		{"quay.io/team/other", "", oci.CodeNameUnknown},
		{"team/other", "quay.io", oci.CodeNameUnknown},
		{"quay.io/Team", "", oci.CodeNameInvalid},
		{"reg5000/team/app", "", "registry.example.com:5000/team/app"},
		{"team/app", "registry.example.com:5000", "registry.example.com:5000/team/app"},
		{"x/y", "127.0.0.1:5999", "127.0.0.1:5999/x/y"},
		{"x/y", "127.0.0.1:5998", oci.CodeNameInvalid},
		{"a.wild.example/x", "", "a.wild.example/x"},
		{"a.wild.example/y", "", "-"},
		{"x", "a.wild.example", "a.wild.example/x"},
		{"apps/ours", "", "mirror.corp/apps/ours"},
		{"apps/ours", "mirror.corp", "mirror.corp/apps/ours"},
		{"apps/others", "", "-"},
		{"pause", "registry.k8s.io", "registry.k8s.io:443/pause"},
		{"registry.k8s.io/pause", "", "registry.k8s.io:443/pause"},
		{"localhost/z", "", "localhost/z"},
	} {
		var ns []string
		if c.ns != "" {
			ns = []string{c.ns}
		}
		got, err := tab.route(c.path, ns)
		said := "-"
		if e, ok := errors.AsType[*oci.Error](err); ok {
			said = e.Code
		} else if got.archived {
			said = got.name.String()
		}
		if said != c.want || got.archived && got.proxied {
			t.Errorf("%s?ns=%s belongs to %q, %+v, want %s", c.path, c.ns, said, got, c.want)
		}
	}
}

func TestRouteArchivedTwice(t *testing.T) {
	n := ref.Name{Host: "quay.io", Path: "a"}
	if _, err := (Routes{Archived: []ref.Name{n, n}}).compile(); err == nil {
		t.Error("two owners of one name are no error")
	}
}
