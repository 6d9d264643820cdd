package conf

import (
	"path"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// pack's config.toml: one mirror for each registry, which replaces it. Source:
// buildpacks/pack 7640af99, internal/config (Config) and internal/name
// (TranslateRegistry); names are read by go-containerregistry, pkg/name.

// readPack reads a config.toml, or that of pack's home.
func readPack(r *reading) error {
	f, err := r.packFile()
	if err != nil || f == nil {
		return err
	}
	root, err := parseTOML(f.data)
	if err != nil {
		r.refuse(r.syntax(f, err))
		return nil
	}
	mirrors := r.packKeys(f, root)
	if mirrors != nil {
		r.packMirrors(f, mirrors)
	}
	if wrong := r.takeWrong(); wrong != nil {
		r.refuse(*wrong)
	}
	r.unknown(f, root, "the file", nil)
	return nil
}

// packFile returns the file: on a machine that of $PACK_HOME or ~/.pack.
func (r *reading) packFile() (*file, error) {
	if !r.src.System {
		return r.single("config.toml")
	}
	home := r.getenv("PACK_HOME")
	if home == "" {
		if home = r.getenv("HOME"); home == "" {
			return nil, nil
		}
		home = path.Join(home, ".pack")
	}
	return r.load(path.Join(r.src.Path, fsPath(home), "config.toml"))
}

// packKeys checks the types of all keys, since a wrong one makes pack refuse
// the file, and returns the table of mirrors.
func (r *reading) packKeys(f *file, root *node) *node {
	for _, key := range []string{"default-registry-url", "default-registry", "default-builder-image", "pull-policy", "lifecycle-image", "layout-repo-dir"} {
		r.str(f, root, key)
	}
	r.flag(f, root, "experimental")
	for _, t := range r.tables(f, root, "run-images") {
		r.str(f, t, "image")
		r.strs(f, t, "mirrors")
	}
	for _, t := range r.tables(f, root, "trusted-builders") {
		r.str(f, t, "name")
	}
	for _, t := range r.tables(f, root, "registries") {
		for _, key := range []string{"name", "type", "url"} {
			r.str(f, t, key)
		}
	}
	return r.table(f, root, "registry-mirrors")
}

// packMirrors reads the mirrors.
func (r *reading) packMirrors(f *file, t *node) {
	all := t.exact("*")
	for i := range t.keys {
		m := &t.keys[i]
		m.used = true
		if m.value.kind != isString {
			r.typeError(f, m.value, m.name, isString.String())
			continue
		}
		if all != nil && m != all {
			r.silent(f, m.at, `remove "*", or this key`, `%q has no effect, because "*" beats it`, redactPair(m.name))
		}
		r.cfg.Rules = append(r.cfg.Rules, rules.Rule{
			Match:     r.packMatch(f, m),
			Endpoints: []rules.Endpoint{r.packMirror(f, m)},
			Upstream:  rules.Upstream{Kind: rules.None},
			Origin:    r.at(f, m.at),
		})
	}
}

// packMatch reads a key. pack looks for the registry alone, as
// go-containerregistry calls it.
func (r *reading) packMatch(f *file, m *member) rules.Match {
	switch {
	case m.name == "*":
		return rules.Match{Kind: rules.Any}
	case m.name == ref.DockerHub:
		r.silent(f, m.at, "write index.docker.io", "the key docker.io never matches: pack calls Docker Hub index.docker.io")
		if !r.d.Strict() {
			return rules.Match{Kind: rules.Never, Text: m.name}
		}
	case !ref.ValidHost(m.name):
		key := redactPair(m.name)
		r.silent(f, m.at, "write the registry alone, without scheme or path", "the key %q never matches: it is no registry", key)
		return rules.Match{Kind: rules.Never, Text: key}
	}
	return rules.Match{Kind: rules.Host, Host: m.name, Text: m.name}
}

// packMirror reads a mirror, which is text in front of the repository's name.
func (r *reading) packMirror(f *file, m *member) rules.Endpoint {
	text, at := m.value.text, m.value.at
	ep := rules.Endpoint{Origin: r.at(f, m.at)}
	if s, rest, ok := strings.Cut(text, "://"); ok {
		r.silent(f, at, "write "+redactPair(rest), "the mirror %q has a scheme, so that the name is none and every pull of %s fails", redactPair(text), redactPair(m.name))
		ep.Unusable = "a name with a scheme is none"
		text = rest
		if r.d.Strict() {
			ep.Unusable, ep.Scheme = "", rules.HTTPS
			if strings.EqualFold(s, "http") {
				ep.Scheme = rules.HTTP
			}
		}
	}
	host, prefix, slash := strings.Cut(text, "/")
	ep.Host, ep.Repo.Prefix = host, prefix
	switch {
	case strings.Contains(text, "@"):
		ep.Host, ep.Repo.Prefix, ep.Unusable = "?", "", "credentials are not part of a name"
		r.silent(f, at, "use docker login", "the mirror of %s has credentials in it", redactPair(m.name))
	case host == "":
		ep.Host, ep.Unusable = "?", "the mirror has no host"
		r.silent(f, at, "the form is host[:port][/namespace]", "the mirror of %s has no host", redactPair(m.name))
	case !ref.ValidHost(host) || strings.Trim(prefix, "abcdefghijklmnopqrstuvwxyz0123456789_-./") != "":
		ep.Unusable = "the name there would not be one"
		r.silent(f, at, "the form is host[:port][/namespace], the namespace in lower case", "the mirror %q makes a name that is none, so that every pull of %s fails", text, redactPair(m.name))
	case slash && strings.HasSuffix(prefix, "/") || slash && prefix == "":
		r.silent(f, at, "drop the slash", "the slash at the end of %q is doubled in the name", text)
	case host != "localhost" && !strings.ContainsAny(host, ".:"):
		r.silent(f, at, "write a port, or the whole name of the host", "%q looks like no host, and is taken for a namespace of Docker Hub", host)
		if !r.d.Strict() {
			ep.Host, ep.Repo.Prefix = ref.DockerHub, text
		}
	}
	return ep
}
