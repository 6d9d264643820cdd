package conf

import (
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// The registry section of containerd's config.toml, for Kubernetes. Source:
// containerd v2.4.2, internal/cri/server/images (registryHosts,
// registryEndpoints), internal/cri/config (ValidateImageConfig,
// CheckLocalImagePullConfigs) and plugins/cri/images.

const (
	criImages = "io.containerd.cri.v1.images" // the plugin since version 3 of the file
	criGRPC   = "io.containerd.grpc.v1.cri"   // the plugin in version 2
	criShort  = "cri"                         // the plugin in version 1
	// criNewest is the newest version of the file.
	criNewest = 4
	// criDefaultPath is config_path where neither it nor mirrors are set.
	criDefaultPath = "/etc/containerd/certs.d:/etc/docker/certs.d"
	// criCan is what every place may be asked for where mirrors are set.
	criCan = rules.Pull | rules.Resolve | rules.Referrers
)

// readContainerdCRI reads config.toml, and the directories that it names.
func readContainerdCRI(r *reading) error {
	names := []string{"config.toml"}
	if r.src.System {
		names[0] = "etc/containerd/config.toml"
	}
	f, err := r.single(names...)
	if err != nil {
		return err
	}
	c := &criFile{reading: r, file: f, root: &node{kind: isTable, at: pos{1, 1}}}
	if f == nil {
		c.file = &file{name: names[0]} // the defaults hold without a file, too
		if r.src.System {
			c.file.name = "/" + names[0]
		}
	} else if p := r.noBOM(f); p != nil {
		r.refuse(*p)
		return nil
	} else if c.root, err = parseTOML(f.data); err != nil {
		r.refuse(r.syntax(f, err))
		return nil
	}
	c.read()
	return nil
}

// A criFile is the file being read.
type criFile struct {
	*reading
	file     *file
	root     *node
	images   *node // the table of the plugin; nil where there is none
	registry *node // its table registry; nil where there is none
}

func (c *criFile) read() {
	c.find(c.version())
	var mirrors *node
	if c.registry != nil {
		mirrors = c.table(c.file, c.registry, "mirrors")
		c.credentials()
		c.value(c.registry, "headers")
	}
	configPath := c.str(c.file, c.registry, "config_path")
	local := c.local(mirrors)
	switch {
	case mirrors == nil || len(mirrors.keys) == 0:
		c.hostDirs(configPath, local)
	case configPath != "":
		c.refuse(c.problem(c.file, mirrors.at, "keep config_path, and move the mirrors into a hosts.toml for each registry",
			"mirrors cannot be set together with config_path"))
	default:
		c.mirrors(mirrors)
	}
	c.unknown(c.file, c.registry, "[….registry]", nil)
	if wrong := c.takeWrong(); wrong != nil {
		c.refuse(*wrong)
	}
	for _, v := range c.strs(c.file, c.root, "imports") {
		c.warn(c.file, v.at, "read the imported file by itself, too", "imported files are not read here")
	}
}

// version returns the version of the file; one without is of version 1.
func (c *criFile) version() int {
	v := c.typed(c.file, c.root, "version", isNumber)
	if v == nil {
		return 1
	}
	n, err := strconv.Atoi(v.text)
	if err != nil || n < 0 || n > criNewest {
		c.refuse(c.problem(c.file, v.at, fmt.Sprintf("it may be 2, 3 or %d", criNewest), "version is %s", v.text))
		return criNewest
	}
	return n
}

// find finds the tables of the plugin. Until version 2 it has another name, and
// what is under that goes before.
func (c *criFile) find(version int) {
	plugins := c.table(c.file, c.root, "plugins")
	if plugins == nil {
		return
	}
	wanted := []string{criImages}
	if version <= 2 {
		wanted = []string{criGRPC, criImages}
	}
	if version <= 1 {
		wanted = append([]string{criShort}, wanted...)
	}
	for _, name := range wanted {
		t := c.table(c.file, plugins, name)
		if t == nil {
			continue
		}
		if c.images == nil {
			c.images = t
		}
		if reg := c.table(c.file, t, "registry"); reg != nil {
			if c.registry == nil {
				c.registry = reg
				continue
			}
			c.silent(c.file, reg.at, "keep one of them", "this registry table is hidden by the one in line %d", c.registry.at.line)
		}
	}
	c.elsewhere(plugins, wanted, version)
}

// elsewhere notes registry tables of plugins that this version of the file does
// not look at.
func (c *criFile) elsewhere(plugins *node, wanted []string, version int) {
	for i := range plugins.keys {
		m := &plugins.keys[i]
		reg := m.value.find("registry", c.fold)
		if reg == nil || m.used || m.name != criShort && !strings.Contains(m.name, ".cri") {
			continue
		}
		c.silent(c.file, reg.at, fmt.Sprintf("move it to plugins.%q", wanted[len(wanted)-1]),
			"registry of plugin %q is not looked at in a file of version %d", m.name, version)
	}
}

// local reports whether images are pulled by the local pull, and not by the
// transfer service, which knows no mirrors of config.toml: some settings switch
// it back.
func (c *criFile) local(mirrors *node) bool {
	if c.d.Client != "containerd-transfer" {
		return true
	}
	annotations := c.typed(c.file, c.images, "disable_snapshot_annotations", isBool)
	downloads := c.typed(c.file, c.images, "max_concurrent_downloads", isNumber)
	has := func(key string) bool {
		m := c.registry.find(key, c.fold)
		return m != nil && len(m.value.keys) > 0
	}
	return c.flag(c.file, c.images, "use_local_image_pull") ||
		c.flag(c.file, c.images, "discard_unpacked_layers") ||
		c.flag(c.file, c.images, "image_pull_with_sync_fs") ||
		annotations != nil && !annotations.truth || downloads != nil && downloads.text != "3" ||
		mirrors != nil && len(mirrors.keys) > 0 || has("configs") || has("auths")
}

// hostDirs reads the certs.d directories of config_path.
func (c *criFile) hostDirs(configPath string, local bool) {
	at := pos{line: 1}
	if m := c.registry.find("config_path", c.fold); m != nil {
		at = m.value.at
	}
	list := configPath
	if list == "" {
		list = criDefaultPath
	}
	var roots []string
	for _, root := range strings.Split(list, ":") {
		if root != "" {
			roots = append(roots, c.machine(root))
		}
	}
	if strings.Contains(list, ":") {
		c.colon(at, configPath != "", roots, local)
		if !local {
			roots = []string{c.machine(list)}
		}
	}
	c.hostsToml(roots...)
}

// colon notes a list of directories, which the transfer service takes for one
// directory (containerd#12415, #12636).
func (c *criFile) colon(at pos, written bool, roots []string, local bool) {
	const hint = "write config_path with one directory alone"
	used := written
	for _, root := range roots {
		used = used || len(c.names(root)) > 0
	}
	switch {
	case !used:
	case !local && written:
		c.miss(at, hint, "the transfer service takes the list of config_path for one directory, which does not exist: no hosts.toml is read")
	case !local:
		c.miss(at, hint, "without a config_path the default is a list, which the transfer service takes for one directory: no hosts.toml is read")
	case written && !c.flag(c.file, c.images, "use_local_image_pull"):
		c.silent(c.file, at, hint+", or use_local_image_pull = true",
			"config_path is a list, which the transfer service, the default since containerd 2.1, takes for one directory")
	}
}

// miss notes that no directory of config_path is found.
func (c *criFile) miss(at pos, hint, text string) {
	c.silent(c.file, at, hint, "%s", text)
	p := c.cfg.Problems[len(c.cfg.Problems)-1]
	c.missed = &p
}

// machine returns the path in the FS of a path that the file names.
func (c *criFile) machine(p string) string {
	if c.src.System {
		return path.Join(c.src.Path, fsPath(p))
	}
	return fsPath(p)
}

// credentials notes which hosts have credentials in the file.
func (c *criFile) credentials() {
	if t := c.table(c.file, c.registry, "configs"); t != nil {
		for i := range t.keys {
			c.config(&t.keys[i])
		}
	}
	t := c.table(c.file, c.registry, "auths")
	if t == nil {
		return
	}
	for i := range t.keys {
		m := &t.keys[i]
		m.used = true
		host := m.name
		u, err := url.Parse(host)
		switch {
		case err != nil:
			c.refuse(c.problem(c.file, m.at, "", "a key of auths is no address"))
			continue
		case u.Scheme != "":
			host = u.Host
		}
		c.inlineAuth(host, m.at)
	}
}

// config reads one table of configs. Its TLS settings are gone since containerd
// 2.0.
func (c *criFile) config(m *member) {
	m.used = true
	if m.value.kind != isTable {
		c.typeError(c.file, m.value, "configs."+m.name, isTable.String())
		return
	}
	if c.table(c.file, m.value, "auth") != nil {
		c.inlineAuth(m.name, m.at)
	}
	if tls := m.value.find("tls", c.fold); tls != nil {
		tls.used = true
		c.silent(c.file, tls.at, "write it into the hosts.toml of the host", "tls of configs.%q is no longer read, since containerd 2.0", m.name)
	}
	c.unknown(c.file, m.value, "[….registry.configs."+m.name+"]", nil)
}

func (c *criFile) inlineAuth(host string, at pos) {
	if c.cfg.Hosts == nil {
		c.cfg.Hosts = map[string]rules.HostSettings{}
	}
	c.cfg.Hosts[host] = rules.HostSettings{Transport: &rules.Transport{InlineAuth: true}, Origin: c.at(c.file, at)}
}

// mirrors reads the old mirrors.
func (c *criFile) mirrors(t *node) {
	c.general(c.file, t.at, "write a hosts.toml for each registry, and set config_path", "mirrors are deprecated, and a later containerd will drop them")
	c.cfg.Localhost = rules.LocalhostPlain
	var all *rules.Rule
	keys := map[string]bool{}
	for i := range t.keys {
		m := &t.keys[i]
		m.used = true
		keys[m.name] = true
		if m.value.kind != isTable {
			c.typeError(c.file, m.value, "mirrors."+m.name, isTable.String())
			continue
		}
		rule := c.mirror(m)
		c.cfg.Rules = append(c.cfg.Rules, rule)
		if rule.Match.Kind == rules.Any {
			all = &rule
		}
	}
	switch {
	case c.d.Strict():
	case all == nil:
		rest := rules.Rule{Match: rules.Match{Kind: rules.Any}, Origin: c.at(c.file, t.at)}
		rest.Upstream.Endpoint.Can = criCan
		c.cfg.Rules = append(c.cfg.Rules, rest)
	default:
		c.ownHosts(all, keys)
	}
}

// ownHosts adds rules for the hosts that are among the endpoints of "*" and
// have no key: for their own images, they are the original.
func (c *criFile) ownHosts(all *rules.Rule, keys map[string]bool) {
	for i := range all.Endpoints {
		host := all.Endpoints[i].Host
		if keys[host] || !ref.ValidHost(host) {
			continue
		}
		keys[host] = true
		rule := *all
		rule.Match = rules.Match{Kind: rules.Host, Host: host, Text: "*"}
		rule.Endpoints = append([]rules.Endpoint(nil), all.Endpoints...)
		endsAt(&rule, host)
		c.cfg.Rules = append(c.cfg.Rules, rule)
	}
}

// endsAt leaves the upstream out where an endpoint has the host of the images:
// that one is the upstream then, wherever it stands.
func endsAt(rule *rules.Rule, host string) {
	for i := range rule.Endpoints {
		if ep := &rule.Endpoints[i]; ep.Host == host && ep.Unusable == "" {
			ep.Primary = true
			rule.Upstream = rules.Upstream{Kind: rules.None}
		}
	}
}

// mirror reads the table of one key.
func (c *criFile) mirror(m *member) rules.Rule {
	rule := rules.Rule{Match: c.match(m), Origin: c.at(c.file, m.value.at)}
	rule.Upstream.Endpoint.Can = criCan
	for _, v := range c.strs(c.file, m.value, "endpoint") {
		ep, err := c.endpoint(v)
		if err != nil {
			p := c.problem(c.file, v.at, "write https://host[:port]/v2", "%v", err)
			c.note(p)
			rule.Fails = &p
			continue
		}
		rule.Endpoints = append(rule.Endpoints, ep)
	}
	if rule.Match.Kind == rules.Host {
		endsAt(&rule, rule.Match.Host)
	}
	c.unknown(c.file, m.value, "[….registry.mirrors."+m.name+"]", nil)
	return rule
}

// match returns what a key is for. Keys are compared as text with the host of
// an image, in which Docker Hub is always docker.io.
func (c *criFile) match(m *member) rules.Match {
	hint := ""
	switch {
	case m.name == "*":
		return rules.Match{Kind: rules.Any}
	case strings.Contains(m.name, "*"):
		hint = "name each registry, because the only wildcard is * alone"
	case strings.Contains(m.name, "/"):
		hint = "write the host alone, without a scheme or a path"
	case m.name == "index.docker.io":
		hint = "write docker.io"
	case !ref.ValidHost(m.name):
		hint = "a key is host or host:port"
	default:
		return rules.Match{Kind: rules.Host, Host: m.name}
	}
	c.silent(c.file, m.at, hint, "key %q matches no registry, and its mirrors are never used", m.name)
	return rules.Match{Kind: rules.Never, Host: m.name, Text: m.name}
}

// endpoint reads the address of a mirror: its path is used as it is, and /v2 is
// what it is where there is none at all.
func (c *criFile) endpoint(v *node) (rules.Endpoint, error) {
	ep := rules.Endpoint{Scheme: rules.HTTPS, Can: criCan, NS: rules.NS{Source: true}, Origin: c.at(c.file, v.at)}
	text := v.text
	if !strings.Contains(text, "://") {
		u, err := url.Parse("dummy://" + text)
		if err != nil {
			return ep, fmt.Errorf("endpoint %q is no address", redactPair(text))
		}
		text = "https://" + text
		if isThisMachine(u.Host) {
			text = "http://" + v.text
		}
	}
	u, err := url.Parse(text)
	if err != nil {
		return ep, fmt.Errorf("endpoint %q is no address", redactPair(v.text))
	}
	ep.Host = u.Host
	ep.SetPath("/v2")
	if u.Path != "" {
		ep.SetPath(path.Clean("/" + u.Path))
	}
	switch {
	case u.Host == "":
		ep.Host, ep.Unusable = redactPair(v.text), "the address has no host"
		c.silent(c.file, v.at, "write https://host[:port]/v2", "endpoint %q has no host, and can never be asked", ep.Host)
	case u.Scheme == "http":
		ep.Scheme = rules.HTTP
	case u.Scheme != "https":
		ep.Unusable = "the scheme of " + redactPair(v.text) + " is neither http nor https"
		c.silent(c.file, v.at, "write https://host[:port]/v2", "%s", ep.Unusable)
	}
	c.suspect(v, u)
	return ep, nil
}

// suspect notes what an address says and means otherwise.
func (c *criFile) suspect(v *node, u *url.URL) {
	switch {
	case u.User != nil:
		c.silent(c.file, v.at, "write them into configs, or into the pull secret", "the credentials in the endpoint at %s are dropped", u.Host)
	case u.Path == "/":
		c.silent(c.file, v.at, "leave the slash out, or write /v2", "the slash at the end of %q is a path, and takes the place of /v2", v.text)
	case u.Path != "" && u.Path != "/v2" && !strings.HasPrefix(u.Path, "/v2/") && !strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/v2"):
		c.warn(c.file, v.at, "write /v2"+u.Path+" where the registry serves a namespace", "the path of %q takes the place of /v2", v.text)
	}
}
