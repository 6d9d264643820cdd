package conf

import (
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/entrepot/entrepot/rules"
)

// parse reads a hosts.toml into rule. A problem that it returns makes
// containerd drop the file as a whole (parseHostsFile).
func (h *hostDir) parse(rule rules.Rule) (rules.Rule, *rules.Problem) {
	if p := h.noBOM(h.file); p != nil {
		return rule, p
	}
	root, err := parseTOML(h.file.data)
	if err != nil {
		p := h.syntax(h.file, err)
		return rule, &p
	}
	hosts := h.table(h.file, root, "host")
	server := h.str(h.file, root, "server")
	headers := hostHeaders(root)
	mirrors := h.mirrors(hosts, headers)
	last, explicitTLS := h.settings(root)
	if server != "" {
		h.address(&last, server, root.find("server", h.fold).value.at, explicitTLS)
	}
	h.unknown(h.file, root, "the file", nil)
	if wrong := h.takeWrong(); wrong != nil {
		return rule, wrong
	}
	if h.bad != nil {
		return rule, h.bad
	}
	h.order(&rule, headers, hosts, mirrors)
	h.upstream(&rule, root, last, server)
	for i := range rule.Endpoints {
		h.check(&rule, &rule.Endpoints[i])
	}
	h.check(&rule, &rule.Upstream.Endpoint)
	return rule, nil
}

// mirrors reads the tables of hosts. Of those without a header of their own
// containerd looks at the types alone.
//
//	:: key of the table → endpoint
func (h *hostDir) mirrors(hosts *node, headers [][]part) map[string]rules.Endpoint {
	if hosts == nil {
		return nil
	}
	tried := map[string]bool{}
	for _, parts := range headers {
		tried[parts[1].name] = true
	}
	mirrors := make(map[string]rules.Endpoint, len(hosts.keys))
	for i := range hosts.keys {
		m := &hosts.keys[i]
		if m.value.kind != isTable {
			h.typeError(h.file, m.value, m.name, isTable.String())
			continue
		}
		bad := h.bad
		mirrors[m.name] = h.mirror(m)
		if !tried[m.name] {
			h.bad = bad
		}
	}
	return mirrors
}

// hostHeaders returns the headers that make a mirror of a host's table, in
// order: all but those of a table below the host of the header before
// (getSortedHosts).
func hostHeaders(root *node) [][]part {
	var headers [][]part
	last := ""
	for _, parts := range root.headers {
		if len(parts) >= 2 && parts[0].name == "host" && parts[1].name != last {
			last = parts[1].name
			headers = append(headers, parts)
		}
	}
	return headers
}

// order puts the mirrors into the order of their headers.
func (h *hostDir) order(rule *rules.Rule, headers [][]part, hosts *node, mirrors map[string]rules.Endpoint) {
	seen := map[string]bool{}
	for _, parts := range headers {
		name := parts[1].name
		ep := mirrors[name]
		ep.Origin = h.at(h.file, pos{parts[0].at.line, max(parts[0].at.column-1, 1)})
		if seen[name] {
			h.silent(h.file, parts[0].at, "put it directly below the table of its host", "a table of %q after another host makes containerd try the host again", name)
		}
		seen[name] = true
		rule.Endpoints = append(rule.Endpoints, ep)
	}
	if len(rule.Endpoints) > 0 {
		rule.Origin = rule.Endpoints[0].Origin
	}
	if hosts == nil {
		return
	}
	for i := range hosts.keys {
		if m := &hosts.keys[i]; !seen[m.name] {
			h.silent(h.file, m.at, `write a header: [host."`+m.name+`"]`, "%q is never tried, because only tables with a header of their own are", m.name)
		}
	}
}

// upstream sets what comes last: the server, or the image's own registry with
// what is left of the settings of the root.
func (h *hostDir) upstream(rule *rules.Rule, root *node, last rules.Endpoint, server string) {
	last.Primary = true
	if server != "" {
		last.Origin = h.at(h.file, root.find("server", h.fold).at)
		if rule.Origin.Line <= 1 {
			rule.Origin = last.Origin
		}
		if last.Unusable == "" || !strings.HasPrefix(last.Unusable, noHost) {
			rule.Upstream = rules.Upstream{Kind: rules.At, Endpoint: last}
			return
		}
		h.silent(h.file, root.find("server", h.fold).value.at, "write https:// in front", "server %q names no host, and is as good as left out", server)
	}
	for _, key := range []string{"capabilities", "override_path"} {
		if m := root.find(key, h.fold); m != nil && server == "" {
			h.silent(h.file, m.at, "write a server, too", "%s of the top is for the server, and there is none", key)
		}
	}
	rule.Upstream.Endpoint.Transport = last.Transport
	if last.Transport != nil {
		rule.Upstream.Endpoint.Origin = last.Origin
	}
}

// noHost starts the reason why an address without a host cannot be asked.
const noHost = "no request can be built for this host"

// topKeys are swallowed by a host's table when they are written below it.
var topKeys = map[string]string{"server": "the top of the file, before the first [host] table"}

// mirror reads a host's table.
func (h *hostDir) mirror(m *member) rules.Endpoint {
	ep, explicitTLS := h.settings(m.value)
	h.address(&ep, m.name, m.at, explicitTLS)
	h.unknown(h.file, m.value, "[host."+m.name+"]", topKeys)
	return ep
}

// settings reads what a table says about its host.
func (h *hostDir) settings(t *node) (ep rules.Endpoint, explicitTLS bool) {
	f := h.file
	ep = rules.Endpoint{NS: rules.NS{Source: true}, Origin: h.at(f, t.at)}
	tr := &rules.Transport{}
	if h.flag(f, t, "override_path") {
		ep.APIRoot = "/"
	}
	skip := h.typed(f, t, "skip_verify", isBool)
	tr.SkipVerify = skip != nil && skip.truth
	tr.CA = h.files(t, "ca")
	tr.Client = h.pairs(t)
	tr.Header = h.headers(t)
	if v := h.str(f, t, "dial_timeout"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			h.invalid(t.find("dial_timeout", h.fold).value.at, `it is written as "30s"`, "dial_timeout %q is no duration", v)
		}
		tr.DialTimeout = d
	}
	ep.Can = h.can(t)
	explicitTLS = skip != nil || tr.CA != nil || tr.Client != nil
	if explicitTLS || tr.Header != nil || tr.DialTimeout != 0 {
		ep.Transport = tr
	}
	return ep, explicitTLS
}

// address reads the address of a host (parseHostConfig). An API root that is
// set already stands for override_path.
func (h *hostDir) address(ep *rules.Endpoint, address string, at pos, explicitTLS bool) {
	override, text := ep.APIRoot != "", address
	if address == "" {
		ep.Host, ep.Unusable = "(none)", noHost+": its key is empty"
		h.silent(h.file, at, "write the host into the header", "a host table without a host cannot be asked")
		return
	}
	if !strings.HasPrefix(text, "http") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		h.invalid(at, "the form is https://host[:port][/path]", "%q is no address", address)
		return
	}
	ep.SetPath(h.root(u.Path, override, address, at))
	ep.Host, ep.Scheme = u.Host, rules.HTTPS
	switch {
	case u.Host == "":
		ep.Host = address
		ep.Unusable = noHost + ": the address begins with http and has no host"
		h.silent(h.file, at, "write https:// in front", "%q begins with http and is taken for an address without a host", address)
	case u.Host == ":":
		ep.Unusable = "the address " + address + " has no host"
		h.silent(h.file, at, "the form is https://host[:port][/path]", "%q has no host and cannot be asked", address)
	case u.Scheme != "http" && u.Scheme != "https":
		ep.Unusable = "the scheme of " + address + " is neither http nor https"
	case u.Scheme == "http" && explicitTLS && u.Port() != "80":
		ep.Scheme = rules.HTTPSThenHTTP
	case u.Scheme == "http":
		ep.Scheme = rules.HTTP
	}
}

// root returns the root of the API for the path of an address.
func (h *hostDir) root(root string, override bool, address string, at pos) string {
	if root != "" {
		root = path.Clean(root)
	}
	if !override && !strings.HasSuffix(root, "/v2") {
		if strings.Contains(root+"/", "/v2/") {
			h.warn(h.file, at, "write override_path = true", "the path of %q holds /v2 and gets another one at its end", address)
		}
		root += "/v2"
	}
	return path.Clean("/" + root)
}

// can reads the capabilities; none are all.
func (h *hostDir) can(t *node) rules.Can {
	var can rules.Can
	for _, v := range h.strs(h.file, t, "capabilities") {
		c, ok := rules.CanNamed(strings.ToLower(v.text))
		if !ok {
			h.invalid(v.at, `it may be "pull", "resolve", "push" or "referrers"`, "unknown capability %q", v.text)
		}
		can |= c
	}
	if can&rules.Pull != 0 && can&rules.Resolve == 0 {
		h.warn(h.file, t.find("capabilities", h.fold).at, `add "resolve" where tags should come from here, too`, "without resolve the host is skipped for every tag")
	}
	return can
}

// invalid notes a value that containerd's own code refuses, after decoding.
func (h *hostDir) invalid(at pos, hint, text string, args ...any) {
	if h.bad == nil {
		p := h.problem(h.file, at, hint, text, args...)
		h.bad = &p
	}
}

// mistyped notes a value that may have one of several types and has none.
func (h *hostDir) mistyped(n *node, key, want string) {
	h.invalid(n.at, "", "%s is %s and should be %s", key, n.kind, want)
}

// abs returns the absolute path of a file that the configuration names.
func (h *hostDir) abs(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return "/" + strings.TrimPrefix(path.Join("/", h.dir, name), "/")
}

// files reads a file's name, or a list of them.
func (h *hostDir) files(t *node, key string) []string {
	v := h.value(t, key)
	switch {
	case v == nil:
		return nil
	case v.kind == isString:
		return []string{h.abs(v.text)}
	case v.kind != isList:
		h.mistyped(v, key, "a string or a list")
		return nil
	}
	names := make([]string, 0, len(v.items))
	for _, item := range v.items {
		if item.kind != isString {
			h.mistyped(item, "an item of "+key, isString.String())
			continue
		}
		names = append(names, h.abs(item.text))
	}
	return names
}

// pairs reads the client certificates: a file, a list of files, or a list of
// pairs.
func (h *hostDir) pairs(t *node) []rules.KeyPair {
	v := h.value(t, "client")
	switch {
	case v == nil:
		return nil
	case v.kind == isString:
		return []rules.KeyPair{{Cert: h.abs(v.text)}}
	case v.kind != isList:
		h.mistyped(v, "client", "a string or a list")
		return nil
	}
	var out []rules.KeyPair
	for _, item := range v.items {
		switch {
		case item.kind == isString:
			out = append(out, rules.KeyPair{Cert: h.abs(item.text)})
		case item.kind == isList && len(item.items) == 2 && item.items[0].kind == isString && item.items[1].kind == isString:
			out = append(out, rules.KeyPair{Cert: h.abs(item.items[0].text), Key: h.abs(item.items[1].text)})
		default:
			h.mistyped(item, "an item of client", "a string or a pair of strings")
		}
	}
	return out
}

// headers reads the headers, each a string or a list.
func (h *hostDir) headers(t *node) []rules.Header {
	v := h.table(h.file, t, "header")
	if v == nil {
		return nil
	}
	var out []rules.Header
	for i := range v.keys {
		m := &v.keys[i]
		hd := rules.Header{Name: m.name}
		switch {
		case m.value.kind == isString:
			hd.Values = []string{m.value.text}
		case m.value.kind == isList:
			for _, item := range m.value.items {
				if item.kind != isString {
					h.mistyped(item, "a value of header "+m.name, isString.String())
					continue
				}
				hd.Values = append(hd.Values, item.text)
			}
		default:
			h.mistyped(m.value, "header "+m.name, "a string or a list")
		}
		out = append(out, hd)
	}
	return out
}

// check fails the rule where an endpoint's certificate files cannot be used:
// containerd then asks nobody, the upstream included.
func (h *hostDir) check(rule *rules.Rule, ep *rules.Endpoint) {
	if ep.Transport == nil {
		return
	}
	if err := h.checkFiles(ep.Transport); err != nil {
		h.fails(rule, rules.Problem{
			At: ep.Origin, Level: rules.Error, Text: err.Error(),
			Hint: "while it cannot be used, no place at all is asked for images of this rule",
		})
	}
}
