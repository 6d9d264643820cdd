package conf

import (
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// CNB_REGISTRY_MIRRORS of Cloud Native Buildpacks: "host=mirror;host=mirror".
// No release of the lifecycle reads it; source: RFC 285
// (buildpacks/rfcs#285) and, where that is open, what spec/rules.md decides.

// cnbVariable is the variable of the environment.
const cnbVariable = "CNB_REGISTRY_MIRRORS"

// readCNB reads the variable's value, or a file that holds it.
func readCNB(r *reading) error {
	if r.src.System {
		r.cnb(&file{name: cnbVariable, data: []byte(r.getenv(cnbVariable))})
		return nil
	}
	f, err := r.single(cnbVariable)
	if err != nil || f == nil {
		return err
	}
	r.cnb(f)
	return nil
}

// cnb reads the pairs. One that is wrong refuses them all.
func (r *reading) cnb(f *file) {
	lines := newLineIndex(f.data)
	byHost := map[string]int{} // :: host → its rule
	rest, offset := string(f.data), 0
	for more := true; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, ";")
		at := lines.at(offset + len(pair) - len(strings.TrimLeft(pair, " \t\r\n")))
		offset += len(pair) + 1
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		host, ep, problem := r.cnbPair(f, pair, at)
		if problem != nil {
			r.refuse(*problem)
			continue
		}
		i, ok := byHost[canonicalHub(strings.ToLower(host))]
		if !ok {
			i = len(r.cfg.Rules)
			byHost[canonicalHub(strings.ToLower(host))] = i
			r.cfg.Rules = append(r.cfg.Rules, rules.Rule{Match: rules.Match{Kind: rules.Host, Host: host}, Origin: ep.Origin})
		}
		r.cfg.Rules[i].Endpoints = append(r.cfg.Rules[i].Endpoints, ep)
	}
}

// canonicalHub returns docker.io for every name of Docker Hub.
func canonicalHub(host string) string {
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return ref.DockerHub
	}
	return host
}

// cnbPair reads "host=mirror".
func (r *reading) cnbPair(f *file, pair string, at pos) (host string, ep rules.Endpoint, problem *rules.Problem) {
	wrong := func(hint, text string, args ...any) (string, rules.Endpoint, *rules.Problem) {
		p := r.problem(f, at, hint, text, args...)
		return "", ep, &p
	}
	key, value, ok := strings.Cut(pair, "=")
	host, value = strings.TrimSpace(key), strings.TrimSpace(value)
	const form = "the form is registry=mirror;registry=mirror"
	switch {
	case !ok:
		return wrong(form, "%q has no '='", redactPair(pair))
	case host == "" || value == "":
		return wrong(form, "a registry or a mirror is missing in %q", redactPair(pair))
	case strings.Contains(host, "*"):
		return wrong("name each registry", "%q: wildcard keys are not allowed", host)
	case !ref.ValidHost(host):
		return wrong("write the registry alone, without scheme or path", "key %q must be a registry host", redactPair(host))
	}
	ep, hint, text := cnbMirror(value)
	if text != "" {
		return wrong(hint, "the mirror of %s %s", host, text)
	}
	ep.Origin = r.at(f, at)
	return host, ep, nil
}

// cnbMirror reads "[scheme://]host[:port][/namespace]", or says what is wrong
// with it.
func cnbMirror(value string) (ep rules.Endpoint, hint, wrong string) {
	ep.Scheme = rules.HTTPS
	rest := value
	if s, after, ok := strings.Cut(value, "://"); ok {
		switch strings.ToLower(s) {
		case "https":
		case "http":
			ep.Scheme = rules.HTTP
		default:
			return ep, "write https:// or http://", "has a scheme that is neither https nor http"
		}
		rest = after
	}
	switch {
	case strings.Contains(rest, "@"):
		return ep, "credentials belong into CNB_REGISTRY_AUTH", "has credentials in it"
	case strings.ContainsAny(rest, "?#"):
		return ep, "drop everything from the question mark on", "has a query or a fragment"
	}
	host, prefix, _ := strings.Cut(rest, "/")
	prefix = strings.Trim(prefix, "/")
	if !ref.ValidHost(host) || prefix != "" && !ref.ValidPath(prefix) {
		return ep, "the form is [http://]host[:port][/namespace]", fmt.Sprintf("is no registry: %q", rest)
	}
	ep.Host, ep.Repo.Prefix = host, prefix
	return ep, "", ""
}

// redactPair hides credentials in a pair that is shown.
func redactPair(pair string) string {
	if i := strings.LastIndexByte(pair, '@'); i >= 0 {
		return "…" + pair[i:]
	}
	return pair
}
