package conf

import (
	"path"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// regclient's config.json, as regctl reads it. Source: regclient v0.11.7,
// cmd/regctl (ConfigLoadConfFile), config (HostNewDefName, Host.Merge),
// regclient.go (hostLoad), scheme/reg (hostGet) and internal/reghttp (next,
// sortHostsCmp).

// hubAuth is one more name of Docker Hub.
const hubAuth = "https://index.docker.io/v1/"

// hubDNS is the host that regclient asks for Docker Hub.
const hubDNS = "registry-1.docker.io"

// A regHost is what is configured for a registry.
type regHost struct {
	name     string // as references call it
	hostname string // what is asked for it
	prefix   string
	scheme   rules.Scheme
	tr       *rules.Transport
	mirrors  []*node
	priority uint64
	at       pos
	// listed says that the file has an entry for it.
	listed bool
}

// A regclient is a config.json that is being read.
type regclient struct {
	*reading
	f     *file
	def   regHost             // what every host begins with
	hosts map[string]*regHost // :: name → entry
	order []*regHost          // entries in the order of the file
}

// readRegclient reads a config.json, or that of the user's home.
func readRegclient(r *reading) error {
	f, err := r.regclientFile()
	if err != nil || f == nil || len(strings.TrimSpace(string(f.data))) == 0 {
		return err
	}
	if p := r.noBOM(f); p != nil {
		r.refuse(*p)
		return nil
	}
	root, twice, err := parseLaxJSON(f.data)
	if err != nil {
		r.refuse(r.syntax(f, err))
		return nil
	}
	r.twice(f, twice)
	c := &regclient{reading: r, f: f, hosts: map[string]*regHost{}}
	c.read(root)
	c.build()
	return nil
}

// regclientFile returns the file: on a machine that of $REGCTL_CONFIG,
// ~/.config/regctl, or ~/.regctl.
func (r *reading) regclientFile() (*file, error) {
	if !r.src.System {
		return r.single("config.json")
	}
	at := func(dir, name string) string { return path.Join(r.src.Path, fsPath(dir), name) }
	if name := r.getenv("REGCTL_CONFIG"); name != "" {
		return r.load(at(name, ""))
	}
	if home := r.configHome(); home != "" {
		if f, err := r.load(at(home, "regctl/config.json")); f != nil || err != nil {
			return f, err
		}
	}
	if home := r.getenv("HOME"); home != "" {
		return r.load(at(home, ".regctl/config.json"))
	}
	return nil, nil
}

// read takes the tree apart.
func (c *regclient) read(root *node) {
	f := c.f
	if root.kind != isTable {
		if root.kind != isNull {
			c.refuse(c.problem(f, root.at, `write {"hosts": {…}}`, "the file is %s and should be a table", root.kind))
		}
		return
	}
	if v := c.number(root, "version"); v > 1 {
		c.refuse(c.problem(f, root.find("version", true).at, "regctl reads version 1", "version %d is not supported", v))
	}
	c.number(root, "blobLimit")
	c.flag(f, root, "incDockerCert")
	c.flag(f, root, "incDockerCred")
	c.def = regHost{scheme: rules.HTTPS}
	if t := c.table(f, root, "hostDefault"); t != nil {
		c.settings(&c.def, t, "hostDefault")
		c.def.listed, c.def.at = true, root.find("hostDefault", true).at
	}
	if hosts := c.table(f, root, "hosts"); hosts != nil {
		for i := range hosts.keys {
			c.entry(&hosts.keys[i])
		}
	}
	c.unknown(f, root, "the file", nil)
	if wrong := c.takeWrong(); wrong != nil {
		c.refuse(*wrong)
	}
}

// entry reads one of hosts.
func (c *regclient) entry(m *member) {
	switch {
	case m.value.kind == isNull:
		c.refuse(c.problem(c.f, m.at, "write {}", "regctl crashes where a host is null"))
		return
	case m.value.kind != isTable:
		c.typeError(c.f, m.value, m.name, isTable.String())
		return
	}
	h := c.newHost(m.name)
	h.at, h.listed = m.at, true
	c.settings(h, m.value, "the host "+redactPair(m.name))
	if h.name == ref.DockerHub && (h.hostname == ref.DockerHub || h.hostname == hubAuth) {
		h.hostname = hubDNS
	}
	if c.hosts[h.name] != nil {
		c.silent(c.f, m.at, "keep one of them", "there are two entries for %s, and chance decides which counts", h.name)
		return
	}
	c.hosts[h.name] = h
	c.order = append(c.order, h)
}

// newHost returns what holds for a name without an entry (HostNewDefName).
// Docker Hub is known before hostDefault is, and so has nothing of it
// (regclient.go, New).
func (c *regclient) newHost(name string) *regHost {
	h := c.def
	scheme, host, _ := regName(name)
	if host == ref.DockerHub && !c.d.Strict() {
		h = regHost{scheme: rules.HTTPS}
	}
	h.listed = false
	if scheme == "http" {
		h.scheme = rules.HTTP
	}
	h.name, h.hostname = host, host
	if host == ref.DockerHub {
		h.hostname = hubDNS
	}
	if h.tr != nil {
		tr := *h.tr
		h.tr = &tr
	}
	return &h
}

// regName splits a name as regclient does (parseName).
func regName(name string) (scheme, host, path string) {
	if name == hubAuth || name == hubDNS || name == ref.DockerHub {
		return "https", ref.DockerHub, ""
	}
	scheme = "https"
	if i := strings.Index(name, "://"); i > 0 {
		scheme, name = name[:i], name[i+3:]
	}
	if i := strings.IndexByte(name, '/'); i > 0 {
		name, path = name[:i], name[i+1:]
	}
	return scheme, name, path
}

// hostOf returns what is configured for the name of a mirror.
func (c *regclient) hostOf(name string) *regHost {
	if h := c.hosts[name]; h != nil {
		return h
	}
	h := c.newHost(name)
	if known := c.hosts[h.name]; known != nil {
		return known
	}
	return h
}
