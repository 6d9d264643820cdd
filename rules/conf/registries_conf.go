package conf

import (
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// registries.conf, version 2, of containers/image. Source:
// go.podman.io/image/v5 v5.42.0, pkg/sysregistriesv2, and its manual page
// containers-registries.conf(5).

// readRegistriesConf reads the main file and the drop-ins.
func readRegistriesConf(r *reading) error {
	files, err := registriesFiles(r)
	if err != nil {
		return err
	}
	for _, f := range files {
		c := &registriesFile{reading: r, file: f}
		if c.read(); r.cfg.Refused != nil {
			break
		}
	}
	if r.d.Textual {
		sortRules(r.cfg.Rules)
	}
	return nil
}

// sortRules puts rules in the order that containers/image keeps them in.
func sortRules(rs []rules.Rule) {
	slices.SortStableFunc(rs, func(a, b rules.Rule) int { return strings.Compare(a.Match.String(), b.Match.String()) })
}

// A registriesFile is one file being read.
type registriesFile struct {
	*reading
	file *file
}

// swallowed are the keys of the top level that a table takes with it when they
// are written below it (containers/podman#14306).
var swallowed = map[string]string{
	"unqualified-search-registries":      "the top of the file, before the first table",
	"short-name-mode":                    "the top of the file, before the first table",
	"credential-helpers":                 "the top of the file, before the first table",
	"additional-layer-store-auth-helper": "the top of the file, before the first table",
}

func (c *registriesFile) read() {
	root, err := parseTOML(c.file.data)
	if err != nil {
		c.refuse(c.syntax(c.file, err))
		return
	}
	part := c.config(root)
	if wrong := c.takeWrong(); wrong != nil {
		c.refuse(*wrong)
	}
	if c.cfg.Refused != nil {
		return
	}
	problems := c.cfg.Problems
	merged := rules.Merge(rules.Config{Rules: c.cfg.Rules, ShortNames: c.cfg.ShortNames}, part)
	c.cfg = merged
	c.cfg.Problems = problems
}

// config reads the tree of one file.
func (c *registriesFile) config(root *node) rules.Config {
	c.version1(root)
	var cfg rules.Config
	seen := map[string]*registry{} // :: prefix → first table
	var tables []*registry
	for _, t := range c.tables(c.file, root, "registry") {
		reg := c.registry(t)
		rule := c.rule(reg)
		tables = append(tables, reg)
		if first := seen[reg.prefix]; first != nil {
			c.silent(c.file, t.at, "keep one table for the prefix", "a second table for %q in one file: the client drops it, the first is in line %d", reg.prefix, first.node.at.line)
			if !c.d.Strict() {
				continue
			}
		} else {
			seen[reg.prefix] = reg
		}
		cfg.Rules = append(cfg.Rules, rule)
	}
	c.conflicts(tables)
	cfg.ShortNames = c.shortNames(root)
	for _, key := range []string{"credential-helpers"} {
		c.strs(c.file, root, key)
	}
	c.str(c.file, root, "additional-layer-store-auth-helper")
	c.unknown(c.file, root, "the file", nil)
	return cfg
}

// version1 refuses the old format: any of its lists makes the client refuse the
// file.
func (c *registriesFile) version1(root *node) {
	old := c.table(c.file, root, "registries")
	for _, key := range []string{"search", "insecure", "block"} {
		t := c.table(c.file, old, key)
		if t == nil {
			continue
		}
		c.strs(c.file, t, "registries")
		if t.find("registries", c.fold) != nil {
			c.refuse(c.problem(c.file, t.at, "write [[registry]] tables and unqualified-search-registries instead",
				"[registries.%s] is version 1 of the format, which is no longer read", key))
		}
		c.unknown(c.file, t, "[registries."+key+"]", nil)
	}
	c.unknown(c.file, old, "[registries]", nil)
}

// A registry is a [[registry]] table.
type registry struct {
	node              *node
	prefix, location  string
	insecure, blocked bool
	digestOnly        bool
	ns                string
	mirrors           []*node
}

func (c *registriesFile) registry(t *node) *registry {
	f := c.file
	reg := &registry{
		node:       t,
		prefix:     c.place(t, "prefix"),
		location:   c.place(t, "location"),
		insecure:   c.flag(f, t, "insecure"),
		blocked:    c.flag(f, t, "blocked"),
		digestOnly: c.flag(f, t, "mirror-by-digest-only"),
		ns:         c.str(f, t, "namespace-proxy"),
		mirrors:    c.tables(f, t, "mirror"),
	}
	switch {
	case reg.prefix == "" && reg.location == "":
		c.refuse(c.problem(f, t.at, "give it a location", "the table has neither prefix nor location"))
	case reg.prefix == "":
		reg.prefix = reg.location
	case reg.location == "" && !strings.HasPrefix(reg.prefix, "*."):
		c.refuse(c.problem(f, t.at, "write the location, even where it is the prefix", "prefix %q has no location", reg.prefix))
	}
	if v := c.str(f, t, "pull-from-mirror"); v != "" {
		c.refuse(c.problem(f, t.find("pull-from-mirror", c.fold).at, "move it into a [[registry.mirror]]", "pull-from-mirror is for mirrors, not for a registry"))
	}
	if strings.HasPrefix(reg.prefix, "*.") && strings.ContainsAny(reg.prefix, "/@:") {
		c.refuse(c.problem(f, t.at, "the form is *.example.com", "a wildcard prefix may have no path, port, tag or digest: %q", reg.prefix))
	}
	c.unknown(f, t, "[[registry]]", swallowed)
	return reg
}

// place reads a prefix or a location.
func (c *registriesFile) place(t *node, key string) string {
	v := strings.TrimRight(c.str(c.file, t, key), "/")
	if strings.HasPrefix(v, "http://") || strings.HasPrefix(v, "https://") {
		c.refuse(c.problem(c.file, t.find(key, c.fold).value.at, "drop the scheme; insecure = true allows plain HTTP", "%s %q has a scheme", key, v))
	}
	return v
}

// rule makes the rule of a table.
func (c *registriesFile) rule(reg *registry) rules.Rule {
	rule := rules.Rule{Match: c.match(reg), Origin: c.at(c.file, reg.node.at)}
	for _, t := range reg.mirrors {
		rule.Endpoints = append(rule.Endpoints, c.mirror(reg, t))
	}
	ep := c.endpoint(reg, reg.node, reg.location, reg.insecure, reg.ns)
	ep.Blocked, ep.Primary = reg.blocked, true
	rule.Upstream = rules.Upstream{Kind: rules.At, Endpoint: ep}
	if reg.location == "" || reg.location == reg.prefix {
		rule.Upstream.Kind = rules.Original
		rule.Upstream.Endpoint.Host, rule.Upstream.Endpoint.Repo = "", rules.Repo{}
	}
	if reg.blocked && rule.Upstream.Kind == rules.At {
		c.silent(c.file, reg.node.at, "give location the same value as prefix, or leave prefix out",
			"blocked has no effect on %q, because it is remapped to %q", reg.prefix, reg.location)
	}
	return rule
}

// match returns what a table's prefix matches.
func (c *registriesFile) match(reg *registry) rules.Match {
	hint := "a prefix is a host, a host with a path, or *.domain"
	if domain, ok := strings.CutPrefix(reg.prefix, "*."); ok {
		return rules.Match{Kind: rules.HostSuffix, Host: domain, Text: reg.prefix}
	}
	m := rules.MatchName(reg.prefix)
	m.Text = reg.prefix
	switch {
	case strings.Contains(reg.prefix, "*"):
		m.Kind = rules.Never
		c.silent(c.file, reg.node.at, hint, "prefix %q is no pattern and matches nothing", reg.prefix)
	case strings.ContainsAny(m.Path, ":@"):
		m.Kind = rules.Never
		c.silent(c.file, reg.node.at, hint, "prefix %q has a tag or a digest and matches nothing", reg.prefix)
	}
	return m
}

// mirror reads a [[registry.mirror]].
func (c *registriesFile) mirror(reg *registry, t *node) rules.Endpoint {
	f := c.file
	location := c.place(t, "location")
	if location == "" {
		c.refuse(c.problem(f, t.at, "", "the mirror has no location"))
	}
	ep := c.endpoint(reg, t, location, c.flag(f, t, "insecure"), c.str(f, t, "namespace-proxy"))
	usage := c.str(f, t, "pull-from-mirror")
	if usage != "" && reg.digestOnly {
		c.refuse(c.problem(f, t.find("pull-from-mirror", c.fold).at, "keep one of them", "pull-from-mirror and the registry's mirror-by-digest-only exclude each other"))
	}
	switch usage {
	case "", "all":
	case "digest-only":
		ep.Kinds = rules.Digests
	case "tag-only":
		ep.Kinds = rules.Tags
	default:
		c.refuse(c.problem(f, t.find("pull-from-mirror", c.fold).value.at, `it may be "all", "digest-only" or "tag-only"`, "pull-from-mirror is %q", usage))
	}
	if reg.digestOnly {
		ep.Kinds = rules.Digests
	}
	c.unknown(f, t, "[[registry.mirror]]", swallowed)
	return ep
}

// endpoint makes the endpoint of a location.
func (c *registriesFile) endpoint(reg *registry, t *node, location string, insecure bool, ns string) rules.Endpoint {
	host, prefix, _ := strings.Cut(location, "/")
	ep := rules.Endpoint{
		Scheme: rules.HTTPS, Host: host, NS: rules.NS{Value: ns}, Origin: c.at(c.file, t.at),
		Repo: rules.Repo{StripMatched: !strings.HasPrefix(reg.prefix, "*."), Prefix: prefix},
	}
	if insecure {
		ep.Scheme = rules.HTTPSThenHTTP
		ep.Transport = &rules.Transport{SkipVerify: true}
	}
	return ep
}

// conflicts refuses two tables for one location that differ in what holds for
// the location.
func (c *registriesFile) conflicts(tables []*registry) {
	first := map[string]*registry{} // :: location, or prefix where there is none → first table
	for _, reg := range tables {
		key := reg.location
		if key == "" {
			key = reg.prefix
		}
		other := first[key]
		if other == nil {
			first[key] = reg
			continue
		}
		what := ""
		switch {
		case reg.insecure != other.insecure:
			what = "insecure"
		case reg.blocked != other.blocked:
			what = "blocked"
		default:
			continue
		}
		c.refuse(c.problem(c.file, reg.node.at, "", "%q has two tables that differ in %s, the first in line %d", key, what, other.node.at.line))
	}
}

// shortNames reads what the file says about names without a registry.
func (c *registriesFile) shortNames(root *node) rules.ShortNames {
	f := c.file
	var s rules.ShortNames
	if m := root.find("unqualified-search-registries", c.fold); m != nil {
		s.SearchAt = c.at(f, m.at)
	}
	for _, v := range c.strs(f, root, "unqualified-search-registries") {
		host := strings.TrimRight(v.text, "/")
		if !ref.ValidHost(host) || strings.HasPrefix(host, "[") {
			c.refuse(c.problem(f, v.at, "an entry is host[:port], without a path", "unqualified-search-registries: %q is no registry", v.text))
		}
		s.Search = append(s.Search, host)
	}
	switch mode := c.str(f, root, "short-name-mode"); mode {
	case "":
	case "permissive":
		s.Mode = rules.Permissive
	case "enforcing":
		s.Mode = rules.Enforcing
	case "disabled":
		s.Mode = rules.Disabled
	default:
		c.refuse(c.problem(f, root.find("short-name-mode", c.fold).value.at, `it may be "enforcing", "permissive" or "disabled"`, "short-name-mode is %q", mode))
	}
	if v := c.value(root, "aliases"); v != nil && v.kind != isTable {
		c.silent(f, v.at, "write an [aliases] table", "aliases is %s and should be %s: the client passes over it", v.kind, isTable)
	} else if t := c.table(f, root, "aliases"); t != nil {
		s.Aliases = c.aliases(t)
	}
	return s
}

func (c *registriesFile) aliases(t *node) map[string]rules.Alias {
	aliases := make(map[string]rules.Alias, len(t.keys))
	for i := range t.keys {
		m := &t.keys[i]
		m.used = true
		if m.value.kind != isString {
			c.typeError(c.file, m.value, m.name, isString.String())
			continue
		}
		a := rules.Alias{Origin: c.at(c.file, m.at)}
		if r, err := ref.Parse(m.name); pathWithDot(m.name) {
			c.silent(c.file, m.at, "rename it", "alias %q is never looked up, because its first part looks like a registry", m.name)
		} else if err != nil || r.Tag != "" || r.Digest != "" || !rules.IsShort(m.name) {
			c.refuse(c.problem(c.file, m.at, "", "alias %q is no short name: it may have no registry, tag or digest", m.name))
		}
		if m.value.text != "" {
			n, err := ref.ParseName(m.value.text)
			if err == nil {
				_, err = c.d.Parse(m.value.text)
			}
			if err != nil || rules.IsShort(m.value.text) {
				c.refuse(c.problem(c.file, m.value.at, "", "alias %q: %q is not registry and repository, without tag or digest", m.name, m.value.text))
			}
			a.Name = n
		}
		aliases[m.name] = a
	}
	return aliases
}

// pathWithDot reports whether containers/image takes a name for a path, although
// its first part has a dot: a host has no "_".
func pathWithDot(name string) bool {
	host, _, ok := strings.Cut(name, "/")
	return ok && strings.Contains(host, ".") && !ref.ValidHost(host) && ref.ValidPath(name)
}
