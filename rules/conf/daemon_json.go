package conf

import (
	"maps"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// daemon.json of Docker. Source: moby/moby v2.0.0-beta.24, daemon/pkg/registry
// (loadMirrors, ValidateMirror, loadInsecureRegistries, lookupV2Endpoints) and
// daemon/config.
//
// Docker also resolves a registry's name and looks for its addresses in the
// networks of insecure-registries; names are not resolved here.

// readDaemonJSON reads the file, and the certs.d directory beside it.
func readDaemonJSON(r *reading) error {
	names := []string{"daemon.json"}
	if r.src.System {
		names[0] = "etc/docker/daemon.json"
	}
	f, err := r.single(names...)
	if err != nil {
		return err
	}
	d := &daemonFile{reading: r, file: f}
	switch {
	case f != nil && f.path != "":
		d.certs = path.Join(f.dir(), "certs.d")
	case r.src.Path != "":
		d.certs = path.Join(r.src.Path, path.Dir(names[0]), "certs.d")
	}
	if f == nil {
		d.file = &file{name: names[0]}
	} else if !d.read() {
		return nil
	}
	if r.d.Client == "docker-containerd" {
		d.containerdStore()
	} else {
		d.graphStore()
	}
	return nil
}

// A daemonFile is the file being read.
type daemonFile struct {
	*reading
	file     *file
	certs    string // the certs.d directory in the FS; empty for a text
	mirrors  []mirror
	insecure map[string]rules.Origin // :: host[:port] → where it is written
	nets     []rules.NetSettings
}

// A mirror is one entry of registry-mirrors.
type mirror struct {
	node *node
	url  *url.URL // without the slash at its end
}

// read reads the file; false means that the daemon does not start with it.
func (d *daemonFile) read() bool {
	root, twice, err := parseLaxJSON(d.file.data)
	if err != nil {
		d.refuse(d.syntax(d.file, err))
		return false
	}
	d.twice(d.file, twice)
	switch root.kind {
	case isTable:
	case isNull:
		return true
	default:
		d.refuse(d.problem(d.file, root.at, "", "the file is %s and should be an object", root.kind))
		return false
	}
	seen := map[string]bool{}
	for _, v := range d.strs(d.file, root, "registry-mirrors") {
		d.mirror(v, seen)
	}
	for _, v := range d.strs(d.file, root, "insecure-registries") {
		d.insecureRegistry(v)
	}
	d.store(root)
	d.keys(root)
	if wrong := d.takeWrong(); wrong != nil {
		d.refuse(*wrong)
	}
	if m := root.find("registry-mirrors", false); len(d.mirrors) > 0 {
		d.general(d.file, m.at, "with the containerd image store, write a hosts.toml for other registries", "registry-mirrors are for Docker Hub alone")
	}
	return d.cfg.Refused == nil
}

// mirror reads one entry of registry-mirrors (ValidateMirror). Addresses that
// are in seen are left out.
func (d *daemonFile) mirror(v *node, seen map[string]bool) {
	wrong := func(hint, text string, args ...any) {
		d.refuse(d.problem(d.file, v.at, hint, text, args...))
	}
	scheme, _, ok := strings.Cut(v.text, "://")
	if !ok || scheme == "" {
		wrong("write https:// or http:// in front", "mirror %q has no scheme", redactPair(v.text))
		return
	}
	u, err := url.Parse(v.text)
	switch {
	case err != nil:
		wrong("", "mirror %q is no address", redactPair(v.text))
		return
	case u.Scheme != "http" && u.Scheme != "https":
		wrong("write https:// or http:// in front", "the scheme of mirror %q is neither http nor https", redactPair(v.text))
		return
	case u.RawQuery != "" || u.Fragment != "":
		wrong("remove what follows the path", "mirror %q has a query or a fragment", redactPair(v.text))
		return
	case u.User != nil:
		wrong("log in to the mirror instead", "the mirror at %s has credentials in it", u.Host)
		return
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	if u.Path == "/v2" || strings.HasSuffix(u.Path, "/v2") {
		d.warn(d.file, v.at, "leave /v2 out, which is added by itself", "the path of mirror %q ends in /v2: the graph-driver store adds another, the containerd image store does not", v.text)
	}
	if seen[u.String()] {
		d.warn(d.file, v.at, "remove one of them", "mirror %q is there twice", v.text)
		return
	}
	seen[u.String()] = true
	d.mirrors = append(d.mirrors, mirror{v, u})
}

// insecureRegistry reads one entry of insecure-registries: a host, or a
// network.
func (d *daemonFile) insecureRegistry(v *node) {
	text := v.text
	if strings.HasPrefix(text, "-") || strings.HasSuffix(text, "-") {
		d.refuse(d.problem(d.file, v.at, "", "insecure registry %q begins or ends with a hyphen", text))
		return
	}
	if scheme, host, ok := strings.Cut(text, "://"); ok {
		if s := strings.ToLower(scheme); s != "http" && s != "https" {
			d.refuse(d.problem(d.file, v.at, "write the host alone", "insecure registry %q has a scheme", redactPair(text)))
			return
		}
		d.warn(d.file, v.at, "write the host alone", "the scheme of insecure registry %q is dropped", redactPair(text))
		text = host
	}
	settings := rules.HostSettings{Scheme: rules.HTTPSThenHTTP, Transport: &rules.Transport{SkipVerify: true}, Origin: d.at(d.file, v.at)}
	if p, err := netip.ParsePrefix(text); err == nil {
		d.nets = append(d.nets, rules.NetSettings{Net: p.Masked(), HostSettings: settings})
		return
	}
	if _, err := netip.ParseAddr(text); err != nil && !ref.ValidHost(text) {
		d.refuse(d.problem(d.file, v.at, "an entry is host, host:port or a network such as 10.0.0.0/8", "insecure registry %q is no registry", redactPair(text)))
		return
	}
	if text == ref.DockerHub || text == "index.docker.io" {
		d.silent(d.file, v.at, "remove it", "Docker Hub is always verified, and %q has no effect", text)
	}
	if text == ref.DockerHub {
		return // the other name counts for a mirror that has it
	}
	if d.insecure == nil {
		d.insecure = map[string]rules.Origin{}
	}
	d.insecure[text] = settings.Origin
}

// isInsecure reports whether certificates of host[:port] are not checked
// (isSecureIndex). What is on this machine always counts, but for an IPv6
// literal without a port, which Docker does not take for an address.
func (d *daemonFile) isInsecure(host string) bool {
	if _, ok := d.insecure[host]; ok || isThisMachine(host) && host != "[::1]" {
		return true
	}
	u := url.URL{Host: host}
	addr, err := netip.ParseAddr(u.Hostname())
	return err == nil && !strings.HasSuffix(host, "]") && slices.ContainsFunc(d.nets, func(n rules.NetSettings) bool { return n.Net.Contains(addr) })
}

// hosts puts the insecure registries into the configuration.
func (d *daemonFile) hosts() {
	d.cfg.Nets = append(d.cfg.Nets, d.nets...)
	for _, host := range d.insecureHosts() {
		d.setHost(host, rules.HostSettings{Scheme: rules.HTTPSThenHTTP, Transport: &rules.Transport{SkipVerify: true}, Origin: d.insecure[host]})
	}
}

// insecureHosts returns the hosts of insecure-registries, sorted.
func (d *daemonFile) insecureHosts() []string { return slices.Sorted(maps.Keys(d.insecure)) }

func (d *daemonFile) setHost(host string, s rules.HostSettings) {
	if d.cfg.Hosts == nil {
		d.cfg.Hosts = map[string]rules.HostSettings{}
	}
	d.cfg.Hosts[host] = s
}

// endpoint makes the endpoint of a mirror, whose path goes in front of /v2.
func (d *daemonFile) endpoint(m mirror) rules.Endpoint {
	ep := rules.Endpoint{Scheme: rules.HTTPS, Host: m.url.Host, Origin: d.at(d.file, m.node.at)}
	if m.url.Scheme == "http" {
		ep.Scheme = rules.HTTP
	}
	if d.isInsecure(ep.Host) {
		ep.Transport = &rules.Transport{SkipVerify: true}
	}
	root := m.url.Path
	if !d.containerd() || !strings.HasSuffix(root, "/v2") {
		root += "/v2"
	}
	ep.SetPath(root)
	switch {
	case ep.Host == "":
		ep.Host, ep.Unusable = m.node.text, "the address has no host"
		d.silent(d.file, m.node.at, "write https://host[:port]", "mirror %q has no host, and can never be asked", m.node.text)
	case !strings.HasPrefix(m.node.text, "http"):
		d.silent(d.file, m.node.at, "write the scheme in small letters", "mirror %q is asked at a host named after its scheme", m.node.text)
		if !d.containerd() {
			ep.Unusable = "the scheme is not in small letters"
		}
	}
	return ep
}

// containerd reports whether the reading is for the containerd image store.
func (d *daemonFile) containerd() bool { return d.d.Client == "docker-containerd" }

// graphStore sets the rules of the graph-driver store.
func (d *daemonFile) graphStore() {
	d.hosts()
	d.certificates()
	_, asMirror := d.cfg.Hosts[d.d.HubWire]
	if len(d.mirrors) == 0 && !asMirror {
		return
	}
	rule := rules.Rule{Match: rules.Match{Kind: rules.Host, Host: ref.DockerHub}, Origin: rules.Origin{File: d.file.name, Format: d.src.Format}}
	for _, m := range d.mirrors {
		rule.Endpoints = append(rule.Endpoints, d.endpoint(m))
	}
	if len(rule.Endpoints) > 0 {
		rule.Origin = rule.Endpoints[0].Origin
	}
	if asMirror { // Docker Hub itself is verified whatever is said of its host
		rule.Upstream.Endpoint.Scheme, rule.Upstream.Endpoint.Transport = rules.HTTPS, &rules.Transport{}
	}
	d.cfg.Rules = append(d.cfg.Rules, rule)
}

// certificates reads the certificates in certs.d. The graph-driver store reads
// nothing else there, and not even those for insecure registries.
func (d *daemonFile) certificates() {
	if d.certs == "" {
		return
	}
	for _, host := range d.names(d.certs) {
		h := hostDir{reading: d.reading, dir: path.Join(d.certs, host), match: hostsMatch(host)}
		if d.exists(path.Join(h.dir, "hosts.toml")) {
			at := &file{name: d.called(path.Join(h.dir, "hosts.toml"))}
			d.silent(at, pos{line: 1}, "with that store, look at it as docker-containerd: registry-mirrors has no effect where a hosts.toml names a mirror", "hosts.toml is read with the containerd image store alone")
		}
		if d.isInsecure(host) || host == ref.DockerHub || !ref.ValidHost(host) {
			continue
		}
		var rule rules.Rule
		rule.Origin = rules.Origin{File: d.called(h.dir), Format: d.src.Format}
		h.certificates(&rule)
		if tr := rule.Upstream.Endpoint.Transport; tr != nil {
			d.setHost(host, rules.HostSettings{Transport: tr, Fails: rule.Fails, Origin: rule.Origin})
		}
	}
}
