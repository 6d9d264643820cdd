package registry

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// Routes says who owns which names. Ownership is decided by this alone, never
// by what exists where: first come the repositories of archives, whether ns or
// the path says their registry. Then by the ns parameter, then by the longest prefix
// that is an upstream's name or alias, then by the hosted patterns, and last
// the default upstream gets what is left. A name whose first segment looks
// like a host (it has a dot, or is "localhost") but is no upstream's belongs
// to nobody.
type Routes struct {
	// Upstreams are the registries that are mirrored. No other is ever asked,
	// whatever a request says.
	Upstreams []Upstream
	// Hosted are the patterns of the names that are our own: "**", "apps/**",
	// "apps/*", "apps/web". Nil means every name that is no upstream's or,
	// where an upstream is the default, none.
	Hosted []string
	// External are the hosts under which clients know this server, with a
	// port where it is not that of HTTP or HTTPS. An ns that says one of them
	// counts as absent.
	External []string
	// Archived are the repositories that archives hold, by their original
	// names. Each of them is an archive's as a whole: a tag that it does not
	// have is not looked for elsewhere. Their registries need be no upstreams.
	Archived []ref.Name
}

// An Upstream is a registry that is mirrored.
type Upstream struct {
	// Name is what ns or the first segment of a path says: "docker.io",
	// "registry.example.com:5000". "*.example.com" stands for every host
	// below example.com. It becomes ref.Name.Host for the backend; for a
	// wildcard, the host that was asked for does.
	Name string
	// Aliases are further prefixes of paths; the only ones for an upstream
	// with a port, which no path can hold.
	Aliases []string
	// Default makes it answer for names that nobody else owns. One upstream
	// at most has it.
	Default bool
	// PlainHTTP says that the upstream speaks HTTP, so that its default port
	// is 80 and not 443.
	PlainHTTP bool
}

// A target is the owner of a name and the name as that owner knows it.
type target struct {
	proxied  bool
	archived bool
	name     ref.Name // Host is empty where the name is hosted
}

// hubHosts are the hosts that mean Docker Hub.
var hubHosts = []string{ref.DockerHub, "index.docker.io", "registry-1.docker.io"}

// A table is Routes made ready for asking. It is immutable.
type table struct {
	hosts     map[string]owner // :: host as ns may say it → upstream
	prefixes  map[string]owner // :: leading segments of a path → upstream
	depth     int              // the number of segments of the longest prefix
	wildcards []wildcard       // the longest suffix first
	external  map[string]bool  // :: host → true
	hosted    []ref.Pattern
	fallback  owner                 // the zero value: none
	archived  map[ref.Name]ref.Name // :: repository as requests lead to it → as the archive calls it; see archived.go
}

// An owner is an upstream that owns names.
type owner struct {
	name string // as configured; for a wildcard, the host that was asked for
	key  string // the host as t.archived has it
	hub  bool   // it is Docker Hub
	only bool   // it is no upstream, and its archived repositories are all there is
}

// A wildcard is an upstream like "*.example.com".
type wildcard struct {
	suffix string   // ".example.com"
	ports  []string // that ns may say; "" is none
}

// compile checks the routes and makes them ready.
func (r Routes) compile() (*table, error) {
	t := &table{hosts: map[string]owner{}, prefixes: map[string]owner{}, external: map[string]bool{}, archived: map[ref.Name]ref.Name{}}
	for _, u := range r.Upstreams {
		if err := t.add(u); err != nil {
			return nil, fmt.Errorf("upstream %q: %w", u.Name, err)
		}
	}
	slices.SortFunc(t.wildcards, func(a, b wildcard) int { return cmp.Compare(len(b.suffix), len(a.suffix)) })
	for _, s := range r.External {
		name, port, ok := splitHost(s)
		if !ok {
			return nil, fmt.Errorf("external host %q is no host", s)
		}
		for _, key := range hostKeys(name, port, "443", "80") {
			if _, taken := t.hosts[key]; taken {
				return nil, fmt.Errorf("external host %q is an upstream too", s)
			}
			t.external[key] = true
		}
	}
	for _, n := range r.Archived {
		if err := t.addArchived(n); err != nil {
			return nil, fmt.Errorf("archived repository %s: %w", n, err)
		}
	}
	patterns := r.Hosted
	if patterns == nil && t.fallback == (owner{}) {
		patterns = []string{"**"}
	}
	for _, s := range patterns {
		p, err := ref.ParsePattern(s)
		if err != nil {
			return nil, err
		}
		t.hosted = append(t.hosted, p)
	}
	return t, nil
}

func (t *table) add(u Upstream) error {
	defaultPort := "443"
	if u.PlainHTTP {
		defaultPort = "80"
	}
	if host, ok := strings.CutPrefix(u.Name, "*."); ok {
		return t.addWildcard(u, host, defaultPort)
	}
	name, port, ok := splitHost(u.Name)
	if !ok {
		return errors.New("the name is no host")
	}
	o, names := ownerOf(u.Name, name, port)
	if u.Default {
		if t.fallback != (owner{}) {
			return fmt.Errorf("%q is the default already", t.fallback.name)
		}
		t.fallback = o
	}
	if err := t.addHosts(o, names, port, defaultPort); err != nil {
		return err
	}
	for _, alias := range u.Aliases {
		if !ref.ValidPath(alias) {
			return fmt.Errorf("alias %q is no part of a repository's name", alias)
		}
		if err := t.addPrefix(alias, o); err != nil {
			return err
		}
	}
	return nil
}

// addHosts adds an upstream under all spellings of its host, as ns and as the
// first segment of a path.
func (t *table) addHosts(o owner, names []string, port, defaultPort string) error {
	for _, name := range names {
		keys := hostKeys(name, port, defaultPort)
		for _, key := range keys {
			if err := put(t.hosts, key, o); err != nil {
				return err
			}
		}
		if keys[0] == name && ref.ValidPath(name) { // a port, or an IPv6 address, cannot stand in a path
			if err := t.addPrefix(name, o); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *table) addWildcard(u Upstream, host, defaultPort string) error {
	name, port, ok := splitHost(host)
	switch {
	case !ok || isAddress(name):
		return errors.New("the name is no host")
	case u.Default || len(u.Aliases) > 0:
		return errors.New("a wildcard can be no default and has no aliases")
	}
	ports := []string{port}
	if port == "" || port == defaultPort {
		ports = []string{"", defaultPort}
	}
	t.wildcards = append(t.wildcards, wildcard{"." + name, ports})
	return nil
}

func (t *table) addPrefix(prefix string, o owner) error {
	t.depth = max(t.depth, strings.Count(prefix, "/")+1)
	return put(t.prefixes, prefix, o)
}

func put(m map[string]owner, key string, o owner) error {
	if other, taken := m[key]; taken && other != o {
		return fmt.Errorf("%q belongs to upstream %q already", key, other.name)
	}
	m[key] = o
	return nil
}

// hostKeys returns the spellings of a host: with and without a port where the
// port is a default one.
func hostKeys(name, port string, defaults ...string) []string {
	if port != "" && !slices.Contains(defaults, port) {
		return []string{name + ":" + port}
	}
	keys := []string{name}
	for _, d := range defaults {
		keys = append(keys, name+":"+d)
	}
	return keys
}

// route says who owns the repository that the path of a request names; ns
// holds the values of its ns parameter, nil where it has none. It is pure. The
// error is an [oci.Error]: ErrInvalid where path or ns are malformed,
// ErrNotFound where nobody owns the name.
func (t *table) route(path string, ns []string) (target, error) {
	if len(ns) > 0 {
		o, err := t.namespace(ns)
		if err != nil {
			return target{}, err
		}
		if o != (owner{}) {
			if _, rest, ok := t.prefix(path, o); ok {
				path = rest
			}
			return t.target(o, path)
		}
	}
	if n, ok := t.archivedAt(path); ok {
		return target{archived: true, name: n}, nil
	}
	if o, rest, ok := t.prefix(path, owner{}); ok {
		return t.target(o, rest)
	}
	if err := checkPath(path); err != nil {
		return target{}, err
	}
	if first, _, _ := strings.Cut(path, "/"); first == "localhost" || strings.Contains(first, ".") {
		return target{}, oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "upstream not allowed: %s", first)
	}
	for _, p := range t.hosted {
		if p.Match(path) {
			return target{name: ref.Name{Path: path}}, nil
		}
	}
	if t.fallback != (owner{}) {
		return t.target(t.fallback, path)
	}
	return target{}, oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "no upstream and no hosted pattern owns the name")
}

// catalog says whose list of repositories is asked for: our own, unless ns says
// an upstream's.
func (t *table) catalog(ns []string) (target, error) {
	if len(ns) == 0 {
		return target{}, nil
	}
	o, err := t.namespace(ns)
	return target{proxied: o != (owner{}), name: ref.Name{Host: o.name}}, err
}

// namespace returns the upstream that ns says, the zero value where it says
// our own name.
func (t *table) namespace(ns []string) (owner, error) {
	if len(ns) != 1 {
		return owner{}, oci.Errorf(oci.ErrInvalid, oci.CodeNameInvalid, "there is more than one ns")
	}
	if o, ok := t.hosts[ns[0]]; ok { // nearly always spelled as we do
		return o, nil
	}
	name, port, ok := splitHost(ns[0])
	if !ok {
		return owner{}, oci.Errorf(oci.ErrInvalid, oci.CodeNameInvalid, "ns is no host with an optional port")
	}
	host := name
	if port != "" {
		host += ":" + port
	}
	if t.external[host] {
		return owner{}, nil
	}
	if o, ok := t.hosts[host]; ok {
		return o, nil
	}
	if o, ok := t.wildcard(name, port); ok {
		return o, nil
	}
	if isAddress(name) {
		return owner{}, oci.Errorf(oci.ErrInvalid, oci.CodeNameInvalid, "ns is an address, and no upstream's")
	}
	return owner{}, oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "upstream not allowed: %s", host)
}

// prefix cuts the longest prefix that is an upstream's from a path. Unless
// only is the zero value, that one's prefixes alone count.
func (t *table) prefix(path string, only owner) (o owner, rest string, ok bool) {
	for n := max(t.depth, 1); n > 0; n-- {
		i := nthSlash(path, n)
		if i < 0 {
			continue
		}
		if o, ok = t.prefixes[path[:i]]; !ok && n == 1 {
			o, ok = t.wildcard(path[:i], "")
		}
		if ok && (only == owner{} || only == o) {
			return o, path[i+1:], true
		}
	}
	return owner{}, "", false
}

// nthSlash returns the index of the n-th slash, -1 where there are fewer.
func nthSlash(s string, n int) int {
	for i := range len(s) {
		if s[i] == '/' {
			if n--; n == 0 {
				return i
			}
		}
	}
	return -1
}

// wildcard returns the upstream for a host below one of the wildcards.
func (t *table) wildcard(name, port string) (owner, bool) {
	for _, w := range t.wildcards {
		if len(name) > len(w.suffix) && strings.HasSuffix(name, w.suffix) && slices.Contains(w.ports, port) && ref.ValidHost(name) {
			if len(w.ports) == 1 {
				name += ":" + port
			}
			return owner{name: name, key: name}, true
		}
	}
	return owner{}, false
}

// target returns the target for a path at an upstream. Docker Hub's
// single-segment names live in library/.
func (t *table) target(o owner, path string) (target, error) {
	if err := checkPath(path); err != nil {
		return target{}, err
	}
	if o.hub && strings.IndexByte(path, '/') < 0 {
		path = "library/" + path
	}
	if n, ok := t.archived[ref.Name{Host: o.key, Path: path}]; ok {
		return target{archived: true, name: n}, nil
	}
	if o.only {
		return target{}, oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "upstream not allowed: %s, of which an archive has other repositories", o.name)
	}
	return target{proxied: true, name: ref.Name{Host: o.name, Path: path}}, nil
}

func checkPath(path string) error {
	if !ref.ValidPath(path) {
		return oci.Errorf(oci.ErrInvalid, oci.CodeNameInvalid, "the repository's name is malformed")
	}
	return nil
}

// splitHost splits a host and its port and normalises both: lower case, no
// trailing dot. It refuses whatever is not host[:port].
func splitHost(s string) (name, port string, ok bool) {
	if len(s) > 255 {
		return "", "", false
	}
	name = s
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		name, port = s[:i], s[i+1:]
		if !validPort(port) {
			return "", "", false
		}
	}
	name = strings.TrimSuffix(name, ".")
	if !strings.HasPrefix(name, "[") && strings.Contains(name, ":") || !ref.ValidHost(name) {
		return "", "", false
	}
	return strings.ToLower(name), port, true
}

// validPort reports whether s is a port, spelled as it is printed: 1 to 65535.
func validPort(s string) bool {
	if s == "" || len(s) > 5 || s[0] == '0' {
		return false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n <= 65535
}

// isAddress reports whether a host that is valid and lower case is an IP
// address in any spelling that some resolver takes: in brackets, or with a
// number, decimal or hexadecimal, as its last label.
func isAddress(name string) bool {
	if strings.HasPrefix(name, "[") {
		return true
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}
