package conf

import (
	"net/url"
	"path"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// The machine configuration of Talos: machine.registries of the v1alpha1
// document, and the documents RegistryMirrorConfig, RegistryTLSConfig and
// RegistryAuthConfig. Source: siderolabs/talos ad8823176,
// internal/pkg/containers/image (RegistryHosts, RegistryEndpoints),
// pkg/machinery/config/types/{v1alpha1,cri} and config/container.

// talosNames are what a machine configuration is usually called; a directory
// without one is read as a whole.
var talosNames = []string{"machine.yaml", "controlplane.yaml", "worker.yaml", "config.yaml"}

// talosSystem is where the configuration lies on a machine.
const talosSystem = "system/state/config.yaml"

// readTalos reads a machine configuration.
func readTalos(r *reading) error {
	names := talosNames
	if r.src.System {
		names = []string{talosSystem}
		if !r.exists(path.Join(r.src.Path, talosSystem)) {
			return nil
		}
	}
	docs, err := r.documents(names...)
	if err != nil {
		return err
	}
	t := talosConfig{reading: r, seen: map[string]pos{}, rules: map[string]int{}, hosts: map[string]*talosHost{}}
	for _, d := range docs {
		if !isTalosDocument(d.root) {
			t.machine(d.file, d.root)
		}
	}
	for _, d := range docs {
		if isTalosDocument(d.root) {
			t.document(d.file, d.root)
		}
	}
	t.finish()
	return nil
}

// isTalosDocument reports whether a document is not the v1alpha1 one.
func isTalosDocument(root *node) bool { return root.find("kind", false) != nil }

// A talosConfig is a machine configuration being read.
type talosConfig struct {
	*reading
	seen   map[string]pos        // :: kind and name → document
	rules  map[string]int        // :: registry → its rule
	legacy *node                 // the v1alpha1 document
	hosts  map[string]*talosHost // :: host → its settings
}

// A talosHost are the settings of a host. TLS and credentials come separately.
type talosHost struct {
	file   *file
	at     pos
	tls    *rules.Transport
	client *rules.Problem // why the client certificate cannot be used
	auth   bool
}

// host returns the settings of a host, new ones where there are none.
func (t *talosConfig) host(f *file, at pos, name string) *talosHost {
	h := t.hosts[name]
	if h == nil {
		h = &talosHost{file: f, at: at}
		t.hosts[name] = h
		if strings.Contains(name, "/") || name == rules.AnyHost || name == "" {
			t.silent(f, at, "a key is the host[:port] of an endpoint", "the settings of %q are for no host", redactPair(name))
		}
	}
	return h
}

// strict refuses the keys of a table that nobody knows, as the client does.
func (t *talosConfig) strict(f *file, n *node, where string) {
	if n == nil || n.kind != isTable {
		return
	}
	for i := range n.keys {
		if m := &n.keys[i]; !m.used {
			t.refuse(t.problem(f, m.at, n.suggest(m.name), "unknown key %q in %s: the client refuses the configuration", m.name, where))
		}
	}
}

// types refuses values of a wrong type.
func (t *talosConfig) types() {
	if wrong := t.takeWrong(); wrong != nil {
		t.refuse(*wrong)
	}
}

// machine reads the v1alpha1 document. What is not about registries is not
// looked at.
func (t *talosConfig) machine(f *file, root *node) {
	defer t.types()
	if root.kind != isTable {
		t.typeError(f, root, "the document", isTable.String())
		return
	}
	if t.legacy != nil {
		t.refuse(t.problem(f, root.at, "put both into one document, or write RegistryMirrorConfig documents", "there are two v1alpha1 documents"))
		return
	}
	t.legacy = root
	if root.find("registries", false) != nil {
		t.silent(f, root.find("registries", false).at, "move it below machine", "registries is not below machine")
	}
	registries := t.table(f, t.table(f, root, "machine"), "registries")
	t.each(f, t.table(f, registries, "config"), "config", func(m *member) { t.config(f, m) })
	t.each(f, t.table(f, registries, "mirrors"), "mirrors", func(m *member) { t.mirror(f, m) })
	t.strict(f, registries, "machine.registries")
}

// each calls fn for every table of a table.
func (t *talosConfig) each(f *file, table *node, where string, fn func(m *member)) {
	if table == nil {
		return
	}
	for i := range table.keys {
		m := &table.keys[i]
		m.used = true
		switch m.value.kind {
		case isTable:
			fn(m)
		case isNull:
			t.refuse(t.problem(f, m.at, "remove the key, or write {}", "machine.registries.%s of %q is null", where, redactPair(m.name)))
		default:
			t.typeError(f, m.value, m.name, isTable.String())
		}
	}
}

// mirror reads an entry of machine.registries.mirrors.
func (t *talosConfig) mirror(f *file, m *member) {
	n := m.value
	rule := t.rule(f, m.at, m.name)
	override := t.yes(f, n, "overridePath")
	for _, v := range t.strs(f, n, "endpoints") {
		t.endpoint(&rule, f, v, override)
	}
	t.fallback(&rule, f, n, m.at)
	t.strict(f, n, "a mirror")
	t.rules[m.name] = len(t.cfg.Rules)
	t.cfg.Rules = append(t.cfg.Rules, rule)
}

// rule makes the rule of a registry.
func (t *talosConfig) rule(f *file, at pos, name string) rules.Rule {
	rule := rules.Rule{Match: rules.Match{Kind: rules.Host, Host: name, Text: name}, Origin: t.at(f, at)}
	switch {
	case name == rules.AnyHost:
		rule.Match = rules.Match{Kind: rules.Any, Text: name}
	case !ref.ValidHost(name):
		rule.Match.Kind = rules.Never
		t.silent(f, at, `the form is host[:port] or "*", without scheme, path or wildcard`, "the registry %q matches nothing", redactPair(name))
	case name == "index.docker.io" || name == "registry-1.docker.io":
		t.silent(f, at, "write docker.io", "the registry %q matches nothing: Docker Hub is docker.io here", name)
	}
	return rule
}

// fallback sets what comes last.
func (t *talosConfig) fallback(rule *rules.Rule, f *file, n *node, at pos) {
	if !t.yes(f, n, "skipFallback") {
		return
	}
	rule.Upstream.Kind = rules.None
	if len(rule.Endpoints) == 0 {
		t.warn(f, at, "add an endpoint, or remove skipFallback", "without endpoint and with skipFallback nothing can be pulled from %s", rule.Match)
	}
}

// endpoint reads the address of a mirror into rule.
func (t *talosConfig) endpoint(rule *rules.Rule, f *file, v *node, override bool) {
	const form = "the form is https://host[:port][/path]"
	ep := rules.Endpoint{NS: rules.NS{Source: true}, Origin: t.at(f, v.at)}
	u, err := url.Parse(v.text)
	if err != nil {
		p := t.problem(f, v.at, form, "the endpoint %q is no address: nothing can be pulled from %s", redactPair(v.text), rule.Match)
		t.note(p)
		if rule.Fails == nil {
			rule.Fails = &p
		}
		return
	}
	ep.Host = u.Host
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		ep.Unusable = "its scheme is neither http nor https"
	case u.Host == "":
		ep.Unusable = "it has no host"
	case u.Scheme == "http":
		ep.Scheme = rules.HTTP
	default:
		ep.Scheme = rules.HTTPS
	}
	if ep.Unusable != "" {
		if ep.Host == "" {
			ep.Host = redactPair(v.text) // it is shown, and never asked
		}
		t.silent(f, v.at, form, "the endpoint %q cannot be asked: %s", redactPair(v.text), ep.Unusable)
	}
	ep.SetPath(t.root(f, v, u.Path, override))
	if u.User != nil {
		t.silent(f, v.at, "write them below config, or into a RegistryAuthConfig", "credentials in the address of an endpoint are not used")
	}
	rule.Endpoints = append(rule.Endpoints, ep)
}

// root returns the path of the API: "/v2" is added to what does not end so,
// unless that is overridden.
func (t *talosConfig) root(f *file, v *node, root string, override bool) string {
	if root != "" {
		root = path.Clean(root)
	}
	if !override && !strings.HasSuffix(root, "/v2") {
		if strings.Contains(root+"/", "/v2/") {
			t.warn(f, v.at, "write overridePath: true", "the path of %q holds /v2 and gets another one at its end", redactPair(v.text))
		}
		root += "/v2"
	}
	if root != "" {
		root = path.Clean("/" + root)
	}
	return root
}

// finish fills in the settings of hosts, and fails rules that do not go with
// them.
func (t *talosConfig) finish() {
	for name, h := range t.hosts {
		if t.cfg.Hosts == nil {
			t.cfg.Hosts = make(map[string]rules.HostSettings, len(t.hosts))
		}
		if name == rules.AnyHost || name == ref.DockerHub && !t.d.Strict() {
			continue // it is the name of no endpoint
		}
		tr := rules.Transport{}
		if h.tls != nil {
			tr = *h.tls
		}
		tr.InlineAuth = h.auth
		t.cfg.Hosts[name] = rules.HostSettings{Transport: &tr, Fails: h.client, Origin: t.at(h.file, h.at)}
	}
	if h := t.hosts[ref.DockerHub]; h != nil {
		t.silent(h.file, h.at, "write registry-1.docker.io", "the settings of docker.io are not used: the host of the endpoint is registry-1.docker.io")
	}
	for i := range t.cfg.Rules {
		t.plain(&t.cfg.Rules[i])
	}
}

// plain fails a rule that has an endpoint with plain HTTP and TLS settings: the
// client then asks none of its endpoints.
func (t *talosConfig) plain(rule *rules.Rule) {
	for i := range rule.Endpoints {
		ep := &rule.Endpoints[i]
		h := t.hosts[ep.Host]
		if ep.Scheme != rules.HTTP || h == nil || h.tls == nil || rule.Fails != nil {
			continue
		}
		p := rules.Problem{
			At: ep.Origin, Level: rules.Error, Hint: "write https:// or remove the TLS settings",
			Text: "there are TLS settings for " + ep.Host + ", which is asked by plain HTTP: nothing can be pulled from " + rule.Match.String(),
		}
		t.note(p)
		rule.Fails = &p
	}
}
