package cli

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/entrepot/entrepot/ref"
)

// A checker turns a file into a config and gathers what is wrong in it.
type checker struct {
	file  string
	lines lines
	env   Env
	found problems

	inRules problems // in files of mirror rules, in the order of their reading
}

// add notes a problem at a key.
func (c *checker) add(key, hint, format string, args ...any) {
	c.found = append(c.found, problem{file: c.file, line: c.lines.at(key), text: bare(key) + ": " + fmt.Sprintf(format, args...), hint: hint})
}

// fail notes an error at a key.
func (c *checker) fail(key string, err error) { c.add(key, hintOf(err), "%v", err) }

var elementIndex = regexp.MustCompile(`\[\d+\]`)

// bare is a key as the file writes it, without the numbers of elements.
func bare(key string) string { return elementIndex.ReplaceAllString(key, "") }

func (c *checker) sorted() problems {
	slices.SortStableFunc(c.found, func(a, b problem) int { return a.line - b.line })
	return c.found
}

func (c *checker) config(f file, flags serveFlags) config {
	c.notYet(f)
	cfg := config{
		from:          c.file,
		written:       f,
		listen:        c.addr("server.listen", flags.listen, f.Server.Listen, defaultListen),
		admin:         c.addr("server.admin", flags.admin, f.Server.Admin, defaultAdmin),
		externalHosts: c.hosts("server.external_hosts", f.Server.ExternalHosts),
		conns:         c.connectionLimits(f.Server),
		tlsCert:       f.Server.TLSCert,
		tlsKey:        f.Server.TLSKey,
		sparse:        f.Hosted.Sparse,
	}
	if (cfg.tlsCert == "") != (cfg.tlsKey == "") {
		c.add("server.tls_cert", "a certificate needs its key and a key its certificate", "tls_cert and tls_key go together")
	}
	cfg.drain, cfg.drainDelay = c.drain(f.Server)
	c.logging(&cfg, f.Server)
	cfg.storage = c.storage(f.Storage, flags.storage)
	cfg.limits, cfg.scrub = c.limits(f), c.scrub(f)
	c.access(&cfg, f)
	cfg.gcInterval = c.gcInterval(f.Storage.GCInterval)
	cfg.upstreams = c.upstreams(f.Upstream)
	cfg.steering = c.steering(f.Rules)
	for _, x := range cfg.steering.contradictions(cfg.upstreams) {
		c.add(fmt.Sprintf("upstream[%d].%s", x.upstream, x.key), "leave it out here, or change the rule", "%s", x.text)
	}
	cfg.hosted = c.hosted(f.Hosted.Repositories, cfg.upstreams)
	cfg.archives = c.archives(f.Archive)
	cfg.prefetch = c.prefetch(f.Prefetch, cfg.upstreams)
	for i, h := range cfg.externalHosts {
		if slices.ContainsFunc(cfg.upstreams, func(u upstream) bool { return u.name == h }) {
			c.add(fmt.Sprintf("server.external_hosts[%d]", i), "", "%s is the name of an upstream", h)
		}
	}
	return cfg
}

// notYet refuses what the file may say but this version does not act on. A
// value that asks for nothing is let through, so that a file may spell out its
// defaults.
func (c *checker) notYet(f file) {
	refuse := func(key string, asked bool) {
		if asked {
			c.add(key, hintOf(later("")), "not supported yet")
		}
	}
	refuse("storage.redirect", f.Storage.Redirect != "" && f.Storage.Redirect != "never")
	for i, u := range f.Upstream {
		at := fmt.Sprintf("upstream[%d].", i)
		refuse(at+"pass_redirects", u.PassRedirects)
	}
}

func (c *checker) size(key string, s scalar) int64 {
	if !s.set {
		return 0
	}
	n, err := parseSize(s.text)
	if err != nil {
		c.add(key, `write it as "500MiB", "200GiB" or "0"`, "%v", err)
	}
	return n
}

func (c *checker) share(key string, s scalar) share {
	if !s.set {
		return share{}
	}
	part, err := parseShare(s.text)
	if err != nil {
		c.add(key, `write it as "5%" or "20GiB"`, "%v", err)
	}
	return part
}

func (c *checker) addr(key, flag, value, otherwise string) string {
	if flag != "" {
		return flag
	}
	if value == "" {
		return otherwise
	}
	if err := checkAddr(value); err != nil {
		c.add(key, "write it as HOST:PORT, for example "+otherwise, "%v", err)
	}
	return value
}

func (c *checker) duration(key string, s scalar, otherwise time.Duration) time.Duration {
	if !s.set {
		return otherwise
	}
	d, err := parseDuration(s.text)
	if err != nil {
		c.add(key, `write it as "90s", "10m", "12h" or "7d"`, "%v", err)
	}
	return d
}

func (c *checker) hosts(key string, values []string) []string {
	var hosts []string
	for i, h := range values {
		if !ref.ValidHost(h) {
			c.add(fmt.Sprintf("%s[%d]", key, i), "write HOST or HOST:PORT, without a scheme", "%q is no host", h)
			continue
		}
		hosts = append(hosts, strings.ToLower(h))
	}
	return hosts
}

func (c *checker) storage(f fileStorage, flag string) string {
	if r := f.Redirect; r != "" && r != "never" && r != "always" {
		c.add("storage.redirect", "", "%q is neither never nor always", r)
	}
	if flag != "" {
		dir, _ := storageDir(flag) // checked with the flags
		return dir
	}
	dir, err := storageDir(f.URL)
	if err != nil {
		c.fail("storage.url", err)
	}
	return dir
}

// gcInterval reads how often garbage is collected.
func (c *checker) gcInterval(s scalar) time.Duration {
	const shortest = time.Minute
	d := c.duration("storage.gc_interval", s, 24*time.Hour)
	if d != 0 && d < shortest {
		c.add("storage.gc_interval", `write "24h", or "0" for never`, "%s is less than a minute", d)
	}
	return d
}

// hosted decides which names are ours. Where an upstream is the default one,
// names without an owner are its, unless patterns say otherwise.
func (c *checker) hosted(patterns *[]string, ups []upstream) []string {
	if patterns == nil {
		if slices.ContainsFunc(ups, func(u upstream) bool { return u.isDefault }) {
			return nil
		}
		return []string{"**"}
	}
	for i, p := range *patterns {
		if _, err := ref.ParsePattern(p); err != nil || strings.Contains(p, ":") {
			c.add(fmt.Sprintf("hosted.repositories[%d]", i), `write it as "apps/**", "team/*" or "tools/base"`, "%q is no pattern of repository names", p)
		}
	}
	return *patterns
}

// endpointURL checks the URL of a registry.
func endpointURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no URL", s)
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%q does not start with https:// or http://", s)
	case u.User != nil:
		return fmt.Errorf("the URL of %q holds credentials; use username and password_file", u.Host)
	case !ref.ValidHost(u.Host):
		return fmt.Errorf("%q names no host", s)
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return fmt.Errorf("%q has a query or a fragment", s)
	}
	return nil
}

// tryPasswordFile finds out at the start, and not at the first pull, that a
// password cannot be read.
func tryPasswordFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a directory", path)
	case info.Mode().IsRegular() && info.Size() == 0:
		return fmt.Errorf("%s is empty", path)
	}
	return nil
}
