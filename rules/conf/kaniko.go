package conf

import (
	"net/url"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// kaniko's flags, one a line, or its two variables of the environment. Source:
// GoogleContainerTools/kaniko 236ba5690 (its last commit), cmd/executor/cmd
// (validateFlags), pkg/config (multiKeyMultiValueArg), pkg/image/remote
// (RetrieveRemoteImage, remapRepository) and pkg/util (MakeTransport); names are
// read by go-containerregistry, pkg/name.

const (
	kanikoMap    = "KANIKO_REGISTRY_MAP"
	kanikoMirror = "KANIKO_REGISTRY_MIRROR"
	// kanikoHub is the only key under which kaniko looks for Docker Hub.
	kanikoHub = "index.docker.io"
)

// A kaniko is a set of flags that is being read.
type kaniko struct {
	*reading
	maps    []kanikoPair
	mirrors []kanikoValue
	// insecure and unverified are registries that flags name.
	insecure, unverified []kanikoValue
	// ca and client are the last value of each registry.
	ca, client []kanikoPair
	// noFallback, insecurePull and skipVerify are flags without a registry;
	// nil means that they are not set.
	noFallback, insecurePull, skipVerify *kanikoValue
}

// A kanikoValue is a text with its place.
type kanikoValue struct {
	text string
	f    *file
	at   pos
}

// A kanikoPair is key=value with its place.
type kanikoPair struct {
	key string
	kanikoValue
}

// readKaniko reads a file of flags, or the environment.
func readKaniko(r *reading) error {
	k := &kaniko{reading: r}
	if r.src.System {
		k.environment()
		k.build()
		return nil
	}
	f, err := r.single("kaniko.flags", "kaniko")
	if err != nil || f == nil {
		return err
	}
	k.flags(f)
	k.build()
	return nil
}

// environment reads the variables, whose errors kaniko drops.
func (k *kaniko) environment() {
	first := pos{line: 1, column: 1}
	if v := k.getenv(kanikoMap); v != "" {
		f := &file{name: kanikoMap, data: []byte(v)}
		pairs, wrong := k.pairs(kanikoValue{v, f, first})
		k.maps = append(k.maps, pairs...)
		if wrong != nil {
			k.silent(f, wrong.at, "write registry=mirror;registry=mirror",
				"%q has no '=': kaniko drops it, and everything behind it, without a word", redactPair(wrong.text))
		}
	}
	if v := k.getenv(kanikoMirror); v != "" {
		k.mirrors = append(k.mirrors, kanikoValue{v, &file{name: kanikoMirror, data: []byte(v)}, first})
	}
}

// pairs splits key=value;key=value (multiKeyMultiValueArg.Set). It returns the
// pairs in front of one without '=', and that one.
func (k *kaniko) pairs(v kanikoValue) (pairs []kanikoPair, wrong *kanikoValue) {
	if v.text == "" {
		return nil, nil
	}
	at := v.at
	for piece := range strings.SplitSeq(v.text, ";") {
		key, value, ok := strings.Cut(piece, "=")
		if !ok {
			return pairs, &kanikoValue{piece, v.f, at}
		}
		pairs = append(pairs, kanikoPair{key, kanikoValue{value, v.f, at}})
		at.column += len(piece) + 1
	}
	return pairs, nil
}

// hubPairs returns what --registry-mirror means: it becomes a map of Docker Hub
// as text, so that a semicolon begins another pair, whose errors are dropped.
func (k *kaniko) hubPairs(v kanikoValue) []kanikoPair {
	pairs, wrong := k.pairs(kanikoValue{kanikoHub + "=" + v.text, v.f, v.at})
	for i := 1; i < len(pairs); i++ {
		pairs[i].at.column -= len(kanikoHub) + 1
	}
	if len(pairs) > 1 || wrong != nil {
		k.silent(v.f, v.at, "write --registry-mirror once for each mirror, or use --registry-map",
			"a mirror is one value: what follows the semicolon in %q is not another mirror", redactPair(v.text))
	}
	if wrong == nil || !k.d.Strict() {
		return pairs
	}
	pairs = pairs[:0]
	for m := range strings.SplitSeq(v.text, ";") {
		if m != "" {
			pairs = append(pairs, kanikoPair{kanikoHub, kanikoValue{m, v.f, v.at}})
		}
	}
	return pairs
}

// build makes the rules. Maps come before mirrors, wherever their flags are.
func (k *kaniko) build() {
	k.hosts()
	pairs := k.maps
	for _, m := range k.mirrors {
		pairs = append(pairs, k.hubPairs(m)...)
	}
	byKey := map[string]int{}    // :: key → its rule
	stopped := map[string]bool{} // :: key → what follows is never reached
	for _, p := range pairs {
		key := p.key
		if k.d.Strict() {
			key = canonicalHub(key)
		}
		i, ok := byKey[key]
		if !ok {
			i = len(k.cfg.Rules)
			byKey[key] = i
			k.cfg.Rules = append(k.cfg.Rules, k.rule(p))
		}
		rule := &k.cfg.Rules[i]
		if stopped[key] {
			k.silent(p.f, p.at, "correct the mirror in front of it", "%q is never tried, because the mirror in front of it ends every pull", redactPair(p.text))
			continue
		}
		ep, fatal := k.endpoint(p)
		rule.Endpoints = append(rule.Endpoints, ep)
		if fatal {
			stopped[key] = true
			rule.Upstream.Kind = rules.None
		}
	}
	k.everything()
}

// rule begins the rule of a key.
func (k *kaniko) rule(p kanikoPair) rules.Rule {
	rule := rules.Rule{Match: rules.Match{Kind: rules.Host, Host: p.key, Text: p.key}, Origin: k.at(p.f, p.at)}
	switch {
	case p.key == ref.DockerHub:
		k.silent(p.f, p.at, "write index.docker.io", "the key docker.io never matches: kaniko calls Docker Hub index.docker.io")
		if !k.d.Strict() {
			rule.Match.Kind = rules.Never
		}
	case !ref.ValidHost(p.key):
		k.silent(p.f, p.at, "write the registry alone, without scheme or path", "the key %q never matches: it is no registry", redactPair(p.key))
		rule.Match = rules.Match{Kind: rules.Never, Text: redactPair(p.key)}
	}
	rule.Upstream.Endpoint = k.global(rules.Endpoint{})
	if k.noFallback != nil {
		rule.Upstream.Kind = rules.None
	}
	return rule
}

// everything adds the rule for registries without a map where a flag holds for
// all of them.
func (k *kaniko) everything() {
	v := k.insecurePull
	if v == nil {
		v = k.skipVerify
	}
	if v == nil {
		return
	}
	k.cfg.Rules = append(k.cfg.Rules, rules.Rule{
		Match:    rules.Match{Kind: rules.Any, Text: v.text},
		Upstream: rules.Upstream{Endpoint: k.global(rules.Endpoint{})}, Origin: k.at(v.f, v.at),
	})
}

// global puts the settings that hold for every registry into an endpoint.
func (k *kaniko) global(ep rules.Endpoint) rules.Endpoint {
	if k.insecurePull != nil {
		ep.Scheme = rules.HTTPSThenHTTP
	}
	if k.skipVerify != nil {
		ep.Transport = &rules.Transport{SkipVerify: true}
		if i := k.clientOf(ep.Host); i >= 0 {
			ep.Transport.Client = keyPairs(k.client[i].text)
		}
	}
	return ep
}

func (k *kaniko) clientOf(host string) int {
	return slices.IndexFunc(k.client, func(p kanikoPair) bool { return p.key == host })
}

// endpoint reads the target of a map: everything up to the first slash is the
// host, whatever it looks like. fatal says that kaniko gives up when it comes to
// it.
func (k *kaniko) endpoint(p kanikoPair) (ep rules.Endpoint, fatal bool) {
	text, scheme := p.text, rules.SchemeUnset
	if s, rest, ok := strings.Cut(text, "://"); ok {
		k.silent(p.f, p.at, "write "+redactPair(rest), "the scheme of %q is taken for the host: the mirror is never reached", redactPair(text))
		if k.d.Strict() {
			text, scheme = rest, rules.HTTPS
			if strings.EqualFold(s, "http") {
				scheme = rules.HTTP
			}
		}
	}
	host, prefix, _ := strings.Cut(text, "/")
	ep = k.global(rules.Endpoint{
		Scheme: scheme, Host: strings.TrimSuffix(host, ":"), Repo: rules.Repo{Prefix: strings.TrimSuffix(prefix, "/")}, Origin: k.at(p.f, p.at),
	})
	k.checkHost(p, &ep)
	return ep, k.checkPrefix(p, &ep)
}

// checkHost finds hosts that cannot be asked. kaniko does not look at them, so
// that only the request fails, and the next mirror follows.
func (k *kaniko) checkHost(p kanikoPair, ep *rules.Endpoint) {
	if i := strings.LastIndexByte(ep.Host, '@'); i >= 0 {
		ep.Host = ep.Host[i+1:]
		ep.Transport = &rules.Transport{InlineAuth: true}
		k.silent(p.f, p.at, "use a docker config.json", "the mirror of %s has credentials in it", p.key)
	}
	u, err := url.Parse("//" + ep.Host)
	switch {
	case ep.Host == "":
		ep.Host, ep.Unusable = "?", "the mirror has no host"
	case err != nil || u.Host != ep.Host:
		ep.Unusable = "the mirror's host is none"
	default:
		return
	}
	k.silent(p.f, p.at, "the form is host[:port][/namespace]", "the mirror %q of %s cannot be asked", redactPair(p.text), p.key)
}

// checkPrefix looks at the namespace as go-containerregistry does. It reports
// whether it makes a name that ends the pull.
func (k *kaniko) checkPrefix(p kanikoPair, ep *rules.Endpoint) (fatal bool) {
	prefix := ep.Repo.Prefix
	if first, rest, _ := strings.Cut(prefix, "/"); first == "localhost" || strings.ContainsAny(first, ".:") {
		k.silent(p.f, p.at, "choose a namespace without a dot in its first part",
			"the namespace %q looks like a host, and kaniko asks that instead of the mirror", first)
		prefix = rest
	}
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789_-./"
	if strings.Trim(prefix, allowed) == "" {
		return false
	}
	ep.Unusable = "the namespace is not allowed in a repository's name"
	k.silent(p.f, p.at, "write it in lower case", "the namespace of %q is not allowed in a name: kaniko gives up there", redactPair(p.text))
	return true
}
