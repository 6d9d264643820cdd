package conf

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/rules"
)

// hosts.toml: containerd's certs.d directory. Source: containerd v2.4.2,
// core/remotes/docker/config (ConfigureHosts, loadHostDir, hostPaths).

// defaultDir is the directory for hosts without one of their own.
const defaultDir = "_default"

// readHostsToml reads a certs.d directory, or the directory of one host, or one
// hosts.toml: that of its directory, and a text as that of every host.
func readHostsToml(r *reading) error {
	switch {
	case r.src.System:
		readHosts(r, path.Join(r.src.Path, "etc/containerd/certs.d"), path.Join(r.src.Path, "etc/docker/certs.d"))
		missedByKubernetes(r)
		return nil
	case r.src.isDir() && !r.exists(path.Join(r.src.Path, "hosts.toml")):
		readHosts(r, r.src.Path)
		return nil
	}
	f, err := r.single("hosts.toml")
	if err != nil || f == nil {
		return err
	}
	h := hostDir{reading: r, file: f, match: hostsMatch(defaultDir)}
	if f.path != "" {
		h.dir = f.dir()
		h.match = hostsMatch(path.Base(h.dir))
	}
	r.cfg.Rules = append(r.cfg.Rules, h.rule())
	return nil
}

// readHosts adds the rules of certs.d directories. The first that has a
// directory for a host, or one for all hosts, is the one that counts.
func readHosts(r *reading, roots ...string) {
	taken := map[rules.Match]string{} // :: match, without its spelling → directory
	for _, root := range roots {
		for _, name := range hostDirs(r, root) {
			h := hostDir{reading: r, dir: path.Join(root, name), match: hostsMatch(name)}
			rule := h.rule()
			key := h.match
			key.Text = ""
			first, hidden := taken[key]
			if all, ok := taken[rules.Match{Kind: rules.Any}]; !hidden && ok && path.Dir(all) != root {
				first, hidden = all, true
			}
			if hidden {
				r.silent(&file{name: rule.Origin.File}, pos{line: max(rule.Origin.Line, 1)}, "put everything into "+r.called(first),
					"%s is never looked at, because %s is there", r.called(h.dir), r.called(first))
				rule.Match.Kind = rules.Never
			} else {
				taken[key] = h.dir
			}
			r.cfg.Rules = append(r.cfg.Rules, rule)
		}
	}
}

// missedByKubernetes warns where containerd's own config.toml keeps what
// Kubernetes pulls from all of these directories (containerd#12415, #12636).
func missedByKubernetes(r *reading) {
	if len(r.cfg.Rules) == 0 || !r.exists(path.Join(r.src.Path, "etc/containerd")) {
		return
	}
	transfer, err := rules.DialectOf("containerd-transfer")
	if err != nil {
		return
	}
	cri := &reading{src: r.src, d: transfer, fold: true}
	cri.src.Format = "containerd-cri"
	if err := readContainerdCRI(cri); err == nil && cri.missed != nil {
		r.note(*cri.missed)
	}
}

// hostDirs returns the names of the directories of hosts, those first that are
// looked for first, and the one for all hosts last.
func hostDirs(r *reading, root string) []string {
	rank := func(name string) int {
		switch {
		case name == defaultDir:
			return 2
		case strings.HasSuffix(name, "_"):
			return 0
		default:
			return 1
		}
	}
	names := r.names(root)
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	return names
}

// hostsMatch returns what a directory is for. The last colon of a host is
// written as an underscore, with another one at the end (hostDirectory).
func hostsMatch(dir string) rules.Match {
	m := rules.Match{Kind: rules.Host, Host: dir, Text: dir}
	if dir == defaultDir {
		return rules.Match{Kind: rules.Any, Text: dir}
	}
	if body, ok := strings.CutSuffix(dir, "_"); ok {
		if i := strings.LastIndexByte(body, '_'); i > 0 {
			m.Host = body[:i] + ":" + body[i+1:]
		}
	}
	return m
}

// A hostDir is the directory of one host.
type hostDir struct {
	*reading
	dir   string // in the source's FS; empty for a text alone
	file  *file  // its hosts.toml; nil where it is not read yet, or not there
	match rules.Match
	bad   *rules.Problem // the first value that is decoded and then refused
}

// rule reads the directory.
func (h *hostDir) rule() rules.Rule {
	rule := rules.Rule{Match: h.match, Origin: rules.Origin{File: h.called(h.dir), Format: h.src.Format}}
	if h.file == nil {
		if info, err := fs.Stat(h.src.FS, h.dir); err == nil && !info.IsDir() {
			p := rules.Problem{At: rule.Origin, Level: rules.Error, Text: "a file is where the directory of a host should be", Hint: "move it away"}
			h.note(p)
			rule.Fails = &p
			return rule
		}
		f, err := h.load(path.Join(h.dir, "hosts.toml"))
		if err != nil {
			p := rules.Problem{At: rule.Origin, Level: rules.Error, Text: err.Error()}
			h.note(p)
			rule.Fails = &p
			return rule
		}
		h.file = f
	}
	if h.file == nil {
		h.certificates(&rule)
		return rule
	}
	rule.Origin = h.at(h.file, pos{line: 1})
	if h.file.size == 0 {
		h.silent(h.file, pos{line: 1}, "remove it, or write a server or a [host] table", "the file is empty, which is like no file")
		h.certificates(&rule)
		return rule
	}
	part, wrong := h.parse(rule)
	if wrong == nil {
		return part
	}
	h.swallow(&rule, *wrong)
	return rule
}

// swallow notes what makes containerd write a line into its log and go on as if
// there was no file. The strict reading fails the host's images instead.
func (h *hostDir) swallow(rule *rules.Rule, p rules.Problem) {
	if h.d.Strict() {
		if p.Hint == "" {
			p.Hint = "containerd only logs this, and goes on as if there was no file"
		}
		h.note(p)
		rule.Fails = &p
		return
	}
	p.Level = rules.Warning
	p.Text += "; containerd only logs it, and goes on as if there was no file"
	p.Hint = "until it is repaired none of the file's mirrors is used"
	h.note(p)
	h.certificates(rule)
}

// certificates reads the certificate files of a directory without a usable
// hosts.toml, as Docker does: *.crt are authorities, *.cert with *.key are ours
// (loadCertFiles).
func (h *hostDir) certificates(rule *rules.Rule) {
	if h.dir == "" {
		return
	}
	var tr rules.Transport
	for _, name := range h.names(h.dir) {
		p := path.Join(h.dir, name)
		if info, err := fs.Stat(h.src.FS, p); err != nil || info.IsDir() {
			continue
		}
		switch path.Ext(name) {
		case ".crt":
			tr.CA = append(tr.CA, "/"+p)
		case ".cert":
			pair := rules.KeyPair{Cert: "/" + p}
			if key := strings.TrimSuffix(p, ".cert") + ".key"; h.exists(key) {
				pair.Key = "/" + key
			}
			tr.Client = append(tr.Client, pair)
		}
	}
	if tr.CA == nil && tr.Client == nil {
		return
	}
	if err := h.checkFiles(&tr); err != nil {
		h.fails(rule, rules.Problem{At: rule.Origin, Level: rules.Error, Text: err.Error()})
	}
	rule.Upstream.Endpoint.Transport = &tr
	rule.Upstream.Endpoint.Origin = rule.Origin
}

// fails makes the client refuse the images of the rule, unless something does
// already.
func (h *hostDir) fails(rule *rules.Rule, p rules.Problem) {
	h.note(p)
	if rule.Fails == nil {
		rule.Fails = &p
	}
}

// checkFiles reports the first certificate file that cannot be used.
func (r *reading) checkFiles(tr *rules.Transport) error {
	for _, name := range tr.CA {
		if err := r.checkCA(name); err != nil {
			return err
		}
	}
	for _, pair := range tr.Client {
		if err := r.checkPair(pair); err != nil {
			return fmt.Errorf("client certificate: %w", err)
		}
	}
	return nil
}
