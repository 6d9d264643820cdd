package document

import (
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/entrepot/entrepot/internal/tree"
	"github.com/entrepot/entrepot/ref"
)

// The YAML of regsync (regclient/regclient, cmd/regsync/config.go, v0.11):
// `sync` lists images and repositories, each with its target, the repositories
// with conditions on their tags.

func isRegsync(r *reading) bool {
	return r.anyDoc(func(n *tree.Node) bool {
		m := n.Find("sync")
		return m != nil && m.Value.Kind == tree.List && !n.Has("apiVersion")
	})
}

// What of a file is regsync's own affair, and does not change what is copied.
var (
	regsyncTuning = []string{
		"interval", "schedule", "ratelimit", "fastCheck", "forceRecursive", "referrerSlow", "digestTags", "referrers",
	}
	regsyncUnsupported = []string{
		"backup", "mediaTypes", "hooks", "includeExternal", "referrerFilters", "referrerSource", "referrerTarget",
	}
	regsyncGeneral = []string{"parallel", "blobLimit", "cacheCount", "cacheTime", "skipDockerConfig", "userAgent"}
)

func readRegsync(r *reading) error {
	if r.syntax != nil {
		return r.refuse(r.main, r.syntax)
	}
	for _, doc := range r.docs {
		root := r.root(r.main, doc)
		root.regsyncTop()
		if v := root.member("version"); v.n != nil && v.n.Text != "1" {
			v.fail("", "version %s is not known", v.n.Text)
		}
		for _, c := range root.member("creds").items() {
			c.regsyncAccess()
		}
		defaults := root.member("defaults")
		defaults.only(append(append(regsyncGeneral[:len(regsyncGeneral):len(regsyncGeneral)], regsyncTuning...), regsyncUnsupported...)...)
		defaults.regsyncCommon()
		for _, s := range root.member("sync").items() {
			s.regsync()
		}
	}
	return nil
}

// regsyncTop refuses unknown keys at the top; those for anchors, "x-…", are
// known.
func (s spot) regsyncTop() {
	known := []string{"version", "creds", "defaults", "sync"}
	for i := range s.n.Keys {
		if name := s.n.Keys[i].Name; strings.HasPrefix(name, "x-") {
			known = append(known, name)
		}
	}
	s.only(known...)
}

// regsyncCommon looks at the fields that an entry and the defaults both have.
func (s spot) regsyncCommon() {
	s.unsupported("", "includeExternal", "referrerFilters", "referrerSource", "referrerTarget", "mediaTypes", "hooks")
	s.unsupported("use --on-existing backup", "backup")
	s.unused("Entrepot copies referrers and signatures, and sets its own pace; see --no-referrers, --jobs and --watch", regsyncTuning...)
}

func (s spot) regsync() {
	known := append([]string{"source", "target", "type", "tags", "tagSets", "repos", "platform", "platforms"}, regsyncTuning...)
	s.only(append(known, regsyncUnsupported...)...)
	s.regsyncCommon()
	s.unsupported("use --platform", "platform", "platforms")
	source, ok1 := s.regsyncName("source")
	target, ok2 := s.regsyncName("target")
	if !ok1 || !ok2 {
		return
	}
	switch kind := s.member("type"); {
	case kind.n != nil && kind.n.Text == "image":
		s.member("source").listed(source, target)
	case kind.n != nil && kind.n.Text == "repository":
		if sets, ok := s.regsyncTags(); ok {
			s.member("source").selector(source, target, sets...)
		}
	case kind.n != nil && kind.n.Text == "registry":
		kind.fail("list its repositories", "whole registries are not supported")
	case kind.n != nil:
		kind.fail("it is image, repository or registry", "%q is no type", kind.n.Text)
	default:
		s.fail("it is image, repository or registry", "the type is missing")
	}
}

// regsyncName returns the name at a key.
func (s spot) regsyncName(key string) (string, bool) {
	m := s.member(key)
	if m.n == nil {
		s.fail("", "%s is missing", key)
		return "", false
	}
	text, ok := m.text()
	switch {
	case !ok:
		return "", false
	case strings.Contains(text, "{{"):
		m.fail("have `regsync config` print the file without them", "%q is a template", text)
		return "", false
	case strings.HasPrefix(text, "ocidir://"):
		m.fail("name it as an input of its own: oci:DIR", "layouts are not supported here")
		return "", false
	}
	if _, err := ref.Parse(text); err != nil {
		m.wrong("this is no image", err)
		return "", false
	}
	return text, true
}

// regsyncTags reads the conditions of a repository.
func (s spot) regsyncTags() (sets []tagSet, ok bool) {
	ok = true
	spots := s.member("tagSets").items()
	if t := s.member("tags"); t.n != nil {
		spots = append(spots, t)
	}
	for _, t := range spots {
		t.only("allow", "deny", "semverRange")
		var set tagSet
		for _, v := range t.member("semverRange").items() {
			if text, isText := v.text(); isText && text != "" {
				c := v.versions(text)
				if c == nil {
					ok = false
					continue
				}
				c.IncludePrerelease = true // as regsync has it: 1.2.0-alpine is in >=1.0.0
				set.versions = append(set.versions, c)
			}
		}
		var fine bool
		if set.allow, fine = t.patterns("allow"); !fine {
			ok = false
		}
		if set.deny, fine = t.patterns("deny"); !fine {
			ok = false
		}
		sets = append(sets, set)
	}
	return sets, ok
}

// patterns reads a list of regular expressions that match whole tags.
func (s spot) patterns(key string) (all []*regexp.Regexp, ok bool) {
	ok = true
	for _, v := range s.member(key).items() {
		text, isText := v.text()
		if !isText {
			ok = false
			continue
		}
		e := v.pattern(text, true)
		if e == nil {
			ok = false
			continue
		}
		all = append(all, e)
	}
	return all, ok
}

// regsyncAccess reads an entry of creds.
func (s spot) regsyncAccess() {
	tuning := []string{"blobChunk", "blobMax", "reqPerSec", "reqConcurrent", "repoAuth", "credExpire", "apiOpts", "api", "priority"}
	elsewhere := []string{"hostname", "token", "credHelper", "credHost", "regcert", "clientCert", "clientKey", "pathPrefix", "mirrors", "scheme"}
	s.only(append(append([]string{"registry", "user", "pass", "tls"}, tuning...), elsewhere...)...)
	s.unused("Entrepot finds it out by itself", tuning...)
	s.unsupported("give regclient's own configuration with --rules regclient=FILE, or use --authfile and --ca", elsewhere...)
	a := Access{
		Registry: s.str("registry"), Username: s.str("user"), Password: Secret(s.str("pass")), At: s.f.at(s.n.Start),
		Insecure: s.str("tls") == "insecure", PlainHTTP: s.str("tls") == "disabled",
	}
	if strings.Contains(a.Registry+a.Username+string(a.Password), "{{") {
		s.fail("have `regsync config` print the file without them, or use --authfile", "there are templates in this entry")
		return
	}
	s.r.doc.access = append(s.r.doc.access, a)
}

func regexps(e *regexp.Regexp) []*regexp.Regexp { return []*regexp.Regexp{e} }

func constraints(c *semver.Constraints) []*semver.Constraints { return []*semver.Constraints{c} }
