package registry

import (
	"errors"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// house is a configuration with one of everything.
var house = Routes{
	Upstreams: []Upstream{
		{Name: "docker.io", Aliases: []string{"hub"}, Default: true},
		{Name: "ghcr.io"},
		{Name: "registry.example.com:5000", Aliases: []string{"reg5000", "corp/reg"}},
		{Name: "127.0.0.1:5001", Aliases: []string{"local"}, PlainHTTP: true},
		{Name: "plain.example.org", PlainHTTP: true},
		{Name: "[2001:db8::1]:5000", Aliases: []string{"six"}},
		{Name: "*.wild.example"},
		{Name: "*.deep.wild.example"},
		{Name: "exact.wild.example", Aliases: []string{"exact"}},
		{Name: "*.ported.example:8443"},
		{Name: "corp.example", Aliases: []string{"corp"}},
	},
	Hosted:   []string{"apps/**", "team/*", "tools"},
	External: []string{"mirror.corp", "mirror.corp:5000"},
}

func compile(t testing.TB, r Routes) *table {
	t.Helper()
	tab, err := r.compile()
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestRoute(t *testing.T) {
	tab := compile(t, house)
	long := strings.Repeat("a", 255)
	for _, c := range []struct {
		row  string
		path string
		ns   []string
		want string // host/path, the path alone where it is hosted, or a code
	}{
		{"A1 name", "Library/alpine", nil, oci.CodeNameInvalid},
		{"A1 name", "a//b", nil, oci.CodeNameInvalid},
		{"A1 name", "../x", nil, oci.CodeNameInvalid},
		{"A1 name after a prefix", "ghcr.io/A", nil, oci.CodeNameInvalid},
		{"A1 name with ns", "a..b", []string{"ghcr.io"}, oci.CodeNameInvalid},
		{"A1 malformed wins over unknown", "evil.example/a..b", nil, oci.CodeNameInvalid},
		{"A1 longest", long, []string{"ghcr.io"}, "ghcr.io/" + long},
		{"A1 longest after a prefix", "ghcr.io/" + long, nil, "ghcr.io/" + long},
		{"A1 too long", long + "a", []string{"ghcr.io"}, oci.CodeNameInvalid},

		{"A2 exact", "library/ubuntu", []string{"docker.io"}, "docker.io/library/ubuntu"},
		{"A2 index.docker.io", "library/ubuntu", []string{"index.docker.io"}, "docker.io/library/ubuntu"},
		{"A2 registry-1.docker.io", "library/ubuntu", []string{"registry-1.docker.io"}, "docker.io/library/ubuntu"},
		{"A2 upper case", "a/b", []string{"GHCR.io"}, "ghcr.io/a/b"},
		{"A2 trailing dot", "a/b", []string{"ghcr.io."}, "ghcr.io/a/b"},
		{"A2 trailing dot and port", "a/b", []string{"ghcr.io.:443"}, "ghcr.io/a/b"},
		{"A2 default port", "a/b", []string{"ghcr.io:443"}, "ghcr.io/a/b"},
		{"A2 default port of Docker Hub", "a/b", []string{"docker.io:443"}, "docker.io/a/b"},
		{"A2 other scheme's port", "a/b", []string{"ghcr.io:80"}, oci.CodeNameUnknown},
		{"A2 default port of plain HTTP", "a/b", []string{"plain.example.org:80"}, "plain.example.org/a/b"},
		{"A2 not the default port of plain HTTP", "a/b", []string{"plain.example.org:443"}, oci.CodeNameUnknown},
		{"A2 port", "a/b", []string{"registry.example.com:5000"}, "registry.example.com:5000/a/b"},
		{"A2 port missing", "a/b", []string{"registry.example.com"}, oci.CodeNameUnknown},
		{"A2 configured address", "a/b", []string{"127.0.0.1:5001"}, "127.0.0.1:5001/a/b"},
		{"A2 configured IPv6 address", "a/b", []string{"[2001:DB8::1]:5000"}, "[2001:db8::1]:5000/a/b"},
		{"A2 unknown", "a/b", []string{"evil.example"}, oci.CodeNameUnknown},
		{"A2 unknown with a known prefix", "docker.io/library/x", []string{"evil.example"}, oci.CodeNameUnknown},
		{"A2 an alias is no ns", "a/b", []string{"hub"}, oci.CodeNameUnknown},
		{"A2 empty", "a/b", []string{""}, oci.CodeNameInvalid},
		{"A2 two", "a/b", []string{"docker.io", "docker.io"}, oci.CodeNameInvalid},
		{"A2 wildcard", "a/b", []string{"x.wild.example"}, "x.wild.example/a/b"},
		{"A2 wildcard, two labels", "a/b", []string{"x.y.wild.example"}, "x.y.wild.example/a/b"},
		{"A2 wildcard, default port", "a/b", []string{"x.wild.example:443"}, "x.wild.example/a/b"},
		{"A2 wildcard, other port", "a/b", []string{"x.wild.example:8443"}, oci.CodeNameUnknown},
		{"A2 wildcard with a port", "a/b", []string{"x.ported.example:8443"}, "x.ported.example:8443/a/b"},
		{"A2 wildcard with a port, without", "a/b", []string{"x.ported.example"}, oci.CodeNameUnknown},
		{"A2 not the wildcard's own domain", "a/b", []string{"wild.example"}, oci.CodeNameUnknown},
		{"A2 not a domain that ends alike", "a/b", []string{"evilwild.example"}, oci.CodeNameUnknown},
		{"A2 exact before wildcard", "a/b", []string{"exact.wild.example"}, "exact.wild.example/a/b"},

		{"A3 our own name is as none: hosted", "apps/x", []string{"mirror.corp"}, "apps/x"},
		{"A3 our own name is as none: default", "library/x", []string{"mirror.corp"}, "docker.io/library/x"},
		{"A3 our own name is as none: prefix", "ghcr.io/a/b", []string{"mirror.corp:5000"}, "ghcr.io/a/b"},
		{"A3 with either default port", "apps/x", []string{"Mirror.corp:443"}, "apps/x"},
		{"A3 with another port", "apps/x", []string{"mirror.corp:5001"}, oci.CodeNameUnknown},

		{"A4 prefix and ns", "docker.io/library/ubuntu", []string{"docker.io"}, "docker.io/library/ubuntu"},
		{"A4 stripped once", "ghcr.io/ghcr.io/a", []string{"ghcr.io"}, "ghcr.io/ghcr.io/a"},
		{"A4 alias and ns", "reg5000/a/b", []string{"registry.example.com:5000"}, "registry.example.com:5000/a/b"},
		{"A4 long alias and ns", "corp/reg/a", []string{"registry.example.com:5000"}, "registry.example.com:5000/a"},
		{"A4 equivalent and ns", "index.docker.io/library/ubuntu", []string{"docker.io"}, "docker.io/library/ubuntu"},
		{"A4 the shorter alias is the one of ns", "corp/reg/a", []string{"corp.example"}, "corp.example/reg/a"},
		{"A4 another's prefix is left alone", "ghcr.io/a/b", []string{"docker.io"}, "docker.io/ghcr.io/a/b"},
		{"A4 another's alias is left alone", "hub/a/b", []string{"ghcr.io"}, "ghcr.io/hub/a/b"},
		{"A4 any other segment is left alone", "some.host/a", []string{"ghcr.io"}, "ghcr.io/some.host/a"},
		{"A4 nothing is left to strip from", "docker.io", []string{"docker.io"}, "docker.io/library/docker.io"},
		{"A4 wildcard", "x.wild.example/a/b", []string{"x.wild.example"}, "x.wild.example/a/b"},

		{"A5 prefix", "ghcr.io/a/b", nil, "ghcr.io/a/b"},
		{"A5 prefix of Docker Hub", "docker.io/library/ubuntu", nil, "docker.io/library/ubuntu"},
		{"A5 equivalent", "registry-1.docker.io/library/ubuntu", nil, "docker.io/library/ubuntu"},
		{"A5 alias", "local/a", nil, "127.0.0.1:5001/a"},
		{"A5 longest alias", "corp/reg/a", nil, "registry.example.com:5000/a"},
		{"A5 shorter alias", "corp/other/a", nil, "corp.example/other/a"},
		{"A5 wildcard", "x.wild.example/a/b", nil, "x.wild.example/a/b"},
		{"A5 host that is not configured", "quay.io/a/b", nil, oci.CodeNameUnknown},
		{"A5 address", "127.0.0.1/a", nil, oci.CodeNameUnknown},
		{"A5 localhost", "localhost/a", nil, oci.CodeNameUnknown},
		{"A5 an upstream with a port, without it", "registry.example.com/a", nil, oci.CodeNameUnknown},
		{"A5 dots further on say nothing", "apps/quay.io/a", nil, "apps/quay.io/a"},

		{"A6 hosted", "apps/x/y", nil, "apps/x/y"},
		{"A6 hosted, one segment below", "team/x", nil, "team/x"},
		{"A6 hosted, exactly", "tools", nil, "tools"},
		{"A6 hosted pattern does not match: default", "team/x/y", nil, "docker.io/team/x/y"},
		{"A6 hosted pattern's own root: default", "apps", nil, "docker.io/library/apps"},
		{"A6 default", "library/x", nil, "docker.io/library/x"},
		{"A6 prefix before hosted", "hub/apps/x", nil, "docker.io/apps/x"},
		{"A6 ns before hosted", "apps/x", []string{"docker.io"}, "docker.io/apps/x"},

		{"A7 library with ns", "ubuntu", []string{"docker.io"}, "docker.io/library/ubuntu"},
		{"A7 library with a prefix", "docker.io/ubuntu", nil, "docker.io/library/ubuntu"},
		{"A7 library by default", "ubuntu", nil, "docker.io/library/ubuntu"},
		{"A7 Docker Hub only", "ubuntu", []string{"ghcr.io"}, "ghcr.io/ubuntu"},
	} {
		got, err := tab.route(c.path, c.ns)
		if e, ok := errors.AsType[*oci.Error](err); ok {
			if e.Code != c.want || !errors.Is(err, oci.ErrInvalid) && !errors.Is(err, oci.ErrNotFound) {
				t.Errorf("%s: route(%q, %q): got %v (%s), want %s", c.row, c.path, c.ns, err, e.Code, c.want)
			}
			continue
		}
		if err != nil || got.name.String() != c.want || got.proxied != (got.name.Host != "") {
			t.Errorf("%s: route(%q, %q) = %v (proxied %v), %v, want %s", c.row, c.path, c.ns, got.name, got.proxied, err, c.want)
		}
	}
}

// TestRouteDefaults holds what a configuration means that leaves things out.
func TestRouteDefaults(t *testing.T) {
	hub := Upstream{Name: "docker.io"}
	byDefault := Upstream{Name: "docker.io", Default: true}
	for name, c := range map[string]struct {
		routes Routes
		path   string
		want   string
	}{
		"nothing at all: hosted":              {Routes{}, "library/x", "library/x"},
		"no default upstream: hosted":         {Routes{Upstreams: []Upstream{hub}}, "library/x", "library/x"},
		"default upstream: nothing is hosted": {Routes{Upstreams: []Upstream{byDefault}}, "apps/x", "docker.io/apps/x"},
		"hosted before the default":           {Routes{Upstreams: []Upstream{byDefault}, Hosted: []string{"**"}}, "apps/x", "apps/x"},
		"nothing hosted, no default":          {Routes{Upstreams: []Upstream{hub}, Hosted: []string{}}, "apps/x", oci.CodeNameUnknown},
	} {
		got, err := compile(t, c.routes).route(c.path, nil)
		if e, ok := errors.AsType[*oci.Error](err); ok && e.Code == c.want {
			continue
		}
		if err != nil || got.name.String() != c.want {
			t.Errorf("%s: got %v, %v, want %s", name, got.name, err, c.want)
		}
	}
}

func TestRoutesRefuse(t *testing.T) {
	for name, r := range map[string]Routes{
		"no host":               {Upstreams: []Upstream{{Name: "https://docker.io"}}},
		"empty":                 {Upstreams: []Upstream{{}}},
		"twice":                 {Upstreams: []Upstream{{Name: "ghcr.io"}, {Name: "ghcr.io:443", PlainHTTP: false, Default: true}}},
		"twice, by equivalence": {Upstreams: []Upstream{{Name: "docker.io"}, {Name: "index.docker.io"}}},
		"alias of two":          {Upstreams: []Upstream{{Name: "a.example", Aliases: []string{"x"}}, {Name: "b.example", Aliases: []string{"x"}}}},
		"alias is a name":       {Upstreams: []Upstream{{Name: "a.example"}, {Name: "b.example", Aliases: []string{"a.example"}}}},
		"alias no path":         {Upstreams: []Upstream{{Name: "a.example", Aliases: []string{"a:1"}}}},
		"two defaults":          {Upstreams: []Upstream{{Name: "a.example", Default: true}, {Name: "b.example", Default: true}}},
		"wildcard default":      {Upstreams: []Upstream{{Name: "*.example", Default: true}}},
		"wildcard with alias":   {Upstreams: []Upstream{{Name: "*.example", Aliases: []string{"x"}}}},
		"wildcard of nothing":   {Upstreams: []Upstream{{Name: "*."}}},
		"everything":            {Upstreams: []Upstream{{Name: "*"}}},
		"part of a label":       {Upstreams: []Upstream{{Name: "*x.example"}}},
		"wildcard of addresses": {Upstreams: []Upstream{{Name: "*.0.0.1"}}},
		"pattern":               {Hosted: []string{"Apps/**"}},
		"pattern in pieces":     {Hosted: []string{"apps//x"}},
		"external":              {External: []string{"http://mirror"}},
		"external and upstream": {Upstreams: []Upstream{{Name: "a.example"}}, External: []string{"a.example"}},
	} {
		if _, err := r.compile(); err == nil {
			t.Errorf("%s: compile accepted %+v", name, r)
		}
	}
}

func FuzzRoute(f *testing.F) {
	f.Add("library/alpine", "docker.io", false)
	f.Add("ghcr.io/a/b", "", true)
	f.Add("x.wild.example/a", "x.wild.example:443", false)
	f.Add("a", "[::ffff:127.0.0.1]:80", false)
	f.Add("a", "127.0.0.1:5001", false)
	tab := compile(f, house)
	f.Fuzz(func(t *testing.T, path, ns string, absent bool) {
		var values []string
		if !absent {
			values = []string{ns}
		}
		got, err := tab.route(path, values)
		if err != nil {
			if e, ok := errors.AsType[*oci.Error](err); !ok || e.Kind != oci.ErrInvalid && e.Kind != oci.ErrNotFound {
				t.Fatalf("route(%q, %q): %v is no refusal", path, values, err)
			}
			return
		}
		if !ref.ValidPath(got.name.Path) {
			t.Fatalf("route(%q, %q) = %v: malformed path", path, values, got.name)
		}
		if !strings.HasSuffix(got.name.Path, path) && !strings.HasSuffix(path, got.name.Path) {
			t.Fatalf("route(%q, %q) = %v: the path is another", path, values, got.name)
		}
		if host := got.name.Host; got.proxied != (host != "") || host != "" && !configured(host) {
			t.Fatalf("route(%q, %q) = %v: no such upstream", path, values, got.name)
		}
	})
}

// configured reports whether house has an upstream for the host.
func configured(host string) bool {
	for _, u := range house.Upstreams {
		if u.Name == host {
			return true
		}
		if suffix, ok := strings.CutPrefix(u.Name, "*"); ok && strings.HasSuffix(host, suffix) && ref.ValidHost(host) {
			return true
		}
	}
	return false
}

func TestParsePath(t *testing.T) {
	for path, want := range map[string]endpoint{
		"/v2":                                  {resource: base},
		"/v2/":                                 {resource: base},
		"/v2/_catalog":                         {resource: catalog},
		"/v2/a/tags/list":                      {tags, "a", ""},
		"/v2/a/b/manifests/t":                  {manifest, "a/b", "t"},
		"/v2/a/manifests/b/manifests/t":        {manifest, "a/manifests/b", "t"},
		"/v2/a/blobs/sha256:x":                 {blob, "a", "sha256:x"},
		"/v2/a/blobs/uploads/":                 {uploads, "a", ""},
		"/v2/a/blobs/uploads":                  {uploads, "a", ""},
		"/v2/a/blobs/uploads/id":               {session, "a", "id"},
		"/v2/a/blobs/uploads/blobs/uploads/id": {session, "a/blobs/uploads", "id"},
		"/v2/a/referrers/sha256:x":             {referrers, "a", "sha256:x"},
		"/":                                    {},
		"":                                     {},
		"/v1/":                                 {},
		"/v2x":                                 {},
		"/v2//":                                {},
		"/v2/a":                                {},
		"/v2/a/b":                              {},
		"/v2/a/manifests/":                     {},
		"/v2/manifests/t":                      {},
		"/v2/a/tags/list/":                     {},
		"/v2/a/tags/x":                         {},
		"/v2/a/uploads/id":                     {},
		"/v2/blobs/uploads/":                   {},
		"/v2/_extension/a/manifests/t":         {},
		"/v2/a/manifests/sha256:x/annotations/oh": {},
	} {
		if got := parsePath(path); got != want {
			t.Errorf("parsePath(%q) = %+v, want %+v", path, got, want)
		}
	}
}

func TestQuery(t *testing.T) {
	q := query("a=1&ns=127.0.0.1%3A5001&b&%6Es=x&c=%zz&d=+x")
	if got := q.all("ns"); len(got) != 2 || got[0] != "127.0.0.1:5001" || got[1] != "x" {
		t.Errorf("all(ns) = %q", got)
	}
	for key, want := range map[string]string{"a": "1", "b": "", "c": "%zz", "d": " x"} {
		if got, ok := q.get(key); !ok || got != want {
			t.Errorf("get(%q) = %q, %v, want %q", key, got, ok, want)
		}
	}
	if _, ok := q.get("e"); ok {
		t.Error("get(e): there is none")
	}
}
