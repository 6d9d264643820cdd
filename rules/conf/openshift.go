package conf

import (
	"regexp"
	"strings"

	"github.com/entrepot/entrepot/rules"
)

// OpenShift's ImageContentSourcePolicy, ImageDigestMirrorSet and
// ImageTagMirrorSet, and the registrySources of its Image configuration: the
// machine-config operator writes registries.conf from them. Sources:
// openshift/api config/v1 and operator/v1alpha1, machine-config-operator
// pkg/controller/container-runtime-config (validateRegistriesConfScopes).

// readOpenShift reads all objects, and makes rules of them as a whole.
func readOpenShift(r *reading) error {
	if r.src.System {
		return nil // they are in the cluster, not on a machine
	}
	docs, err := r.documents()
	if err != nil {
		return err
	}
	o := openshift{reading: r, known: map[string]*scope{}}
	for _, d := range docs {
		o.object(d.file, d.root)
	}
	o.policies()
	if r.cfg.Refused == nil {
		r.cfg.Rules = o.rules()
	}
	if r.d.Textual {
		sortRules(r.cfg.Rules)
	}
	return nil
}

// An openshift is what the objects say together.
type openshift struct {
	*reading
	sets              []mirrorSet
	insecure, blocked []place
	scopes            []*scope
	known             map[string]*scope // :: name → one of scopes
}

// A place is a scope, or a mirror, as an object names it.
type place struct {
	name string
	file *file
	at   pos
}

// A mirrorSet is an entry of one of the lists of mirrors.
type mirrorSet struct {
	source  place
	mirrors []place
	kinds   rules.Kinds
	never   bool // NeverContactSource
	// real says that it has a mirror that is not the source; a set without is
	// dropped, with its policy.
	real bool
}

// A mirrorKind is a kind of object with lists of mirrors.
type mirrorKind struct {
	kind, api, key string
	kinds          rules.Kinds
	policy         bool // it has mirrorSourcePolicy
}

var mirrorKinds = []mirrorKind{
	{"ImageContentSourcePolicy", "operator.openshift.io/v1alpha1", "repositoryDigestMirrors", rules.Digests, false},
	{"ImageDigestMirrorSet", "config.openshift.io/v1", "imageDigestMirrors", rules.Digests, true},
	{"ImageTagMirrorSet", "config.openshift.io/v1", "imageTagMirrors", rules.Tags, true},
}

// imageAPI is the group of the Image configuration; other groups have kinds of
// that name.
const imageAPI = "config.openshift.io/v1"

// object reads an object, or a list of them. Kinds that say nothing about
// mirrors are passed over.
func (o *openshift) object(f *file, root *node) {
	if root.kind != isTable {
		o.refuse(o.problem(f, root.at, "an object has apiVersion, kind, metadata and spec", "the document is %s and should be an object", root.kind))
		return
	}
	api, kind := o.str(f, root, "apiVersion"), o.str(f, root, "kind")
	defer o.endObject(f, root, kind)
	switch {
	case kind == "":
		o.refuse(o.problem(f, root.at, "write kind: ImageDigestMirrorSet, or ImageTagMirrorSet", "the object has no kind"))
		return
	case strings.HasSuffix(kind, "List"):
		for _, item := range o.tables(f, root, "items") {
			o.object(f, item)
		}
		return
	case kind == "Image" && api == imageAPI:
		o.registrySources(f, o.table(f, root, "spec"))
		return
	}
	for _, k := range mirrorKinds {
		switch {
		case k.kind == kind && k.api == api:
			o.mirrorObject(f, o.table(f, root, "spec"), k)
			return
		case k.kind == kind:
			o.refuse(o.problem(f, root.at, "write apiVersion: "+k.api, "there is no %s in apiVersion %q", kind, api))
			return
		case plainKey(k.kind) == plainKey(kind) || oneEdit(plainKey(k.kind), plainKey(kind)):
			o.refuse(o.problem(f, root.at, "write kind: "+k.kind, "there is no kind %q", kind))
			return
		}
	}
}

// endObject refuses an object with a value of a wrong type.
func (o *openshift) endObject(f *file, root *node, kind string) {
	if wrong := o.takeWrong(); wrong != nil {
		o.refuse(*wrong)
	}
	for _, k := range mirrorKinds {
		if k.kind == kind {
			o.value(root, "metadata")
			o.value(root, "status")
			o.unknown(f, root, kind, nil)
		}
	}
}

// mirrorObject reads the spec of an object with lists of mirrors.
func (o *openshift) mirrorObject(f *file, spec *node, k mirrorKind) {
	for _, t := range o.tables(f, spec, k.key) {
		o.mirrorSet(f, t, k)
	}
	home := map[string]string{}
	for _, other := range mirrorKinds {
		if other.kind != k.kind {
			home[other.key] = "an object of kind " + other.kind
		}
	}
	o.unknown(f, spec, "the spec of "+k.kind, home)
}

// The patterns are those of the API. They know no tags, no digests, no capitals
// in paths and no IPv6.
const (
	mirrorLabel = `(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])`
	mirrorName  = mirrorLabel + `(?:\.` + mirrorLabel + `)*(?::[0-9]+)?(?:/[a-z0-9]+(?:(?:[._]|__|-*)[a-z0-9]+)*)*`
)

var (
	sourcePattern = regexp.MustCompile(`^\*(?:\.` + mirrorLabel + `)+$|^` + mirrorName + `$`)
	mirrorPattern = regexp.MustCompile(`^` + mirrorName + `$`)
)

// mirrorSet reads an entry of a list of mirrors.
func (o *openshift) mirrorSet(f *file, t *node, k mirrorKind) {
	const form = "the form is host[:port][/namespace…][/repository]"
	set := mirrorSet{source: place{o.str(f, t, "source"), f, t.at}, kinds: k.kinds}
	if m := t.find("source", o.fold); m != nil {
		set.source.at = m.value.at
	}
	source := set.source.name
	if !sourcePattern.MatchString(source) {
		o.refuse(o.problem(f, set.source.at, form+", or *.domain, without tag or digest", "invalid format for source %q", source))
	}
	seen := map[string]bool{}
	for _, v := range o.strs(f, t, "mirrors") {
		if !mirrorPattern.MatchString(v.text) {
			o.refuse(o.problem(f, v.at, form+", without tag or digest", "invalid format for mirror %q", v.text))
		}
		if seen[v.text] && k.policy {
			o.silent(f, v.at, "remove it: the API takes no mirror twice in a list", "mirror %q is in the list twice", v.text)
		}
		seen[v.text] = true
		set.real = set.real || v.text != source
		set.mirrors = append(set.mirrors, place{v.text, f, v.at})
	}
	home := map[string]string{}
	if k.policy {
		set.never = o.policy(f, t)
	} else {
		home["mirrorSourcePolicy"] = "an ImageDigestMirrorSet"
	}
	o.unknown(f, t, k.key, home)
	if len(o.wrong) == 0 {
		o.doubts(&set)
	}
	o.sets = append(o.sets, set)
}

// policy reads mirrorSourcePolicy, and reports whether the source must not be
// asked.
func (o *openshift) policy(f *file, t *node) bool {
	switch p := o.str(f, t, "mirrorSourcePolicy"); p {
	case "", "AllowContactingSource":
	case "NeverContactSource":
		return true
	default:
		o.refuse(o.problem(f, t.find("mirrorSourcePolicy", o.fold).value.at, `it may be "AllowContactingSource" or "NeverContactSource"`, "mirrorSourcePolicy is %q", p))
	}
	return false
}

// doubts notes what is accepted in a set and does not do what it seems to say.
func (o *openshift) doubts(set *mirrorSet) {
	s := set.source
	host, _, _ := strings.Cut(s.name, "/")
	switch {
	case !set.real:
		o.silent(s.file, s.at, "add a mirror other than the source", "the entry for %q has no mirror but the source: it is dropped, and its policy with it", s.name)
	case !isRegistryHost(host):
		o.silent(s.file, s.at, "write the registry in front: docker.io/"+s.name, "source %q names no registry and matches nothing", s.name)
	case host == "index.docker.io" || host == "registry-1.docker.io":
		o.silent(s.file, s.at, "write docker.io", "source %q matches nothing: Docker Hub is docker.io here", s.name)
	}
	for i, m := range set.mirrors {
		host, _, _ := strings.Cut(m.name, "/")
		switch {
		case m.name == s.name && i+1 < len(set.mirrors):
			o.warn(m.file, m.at, "the source comes last by itself: remove it here", "the source is in front of a mirror: it is tried there, and last again")
		case !isRegistryHost(host):
			o.silent(m.file, m.at, "write the registry's full name, or its port", "mirror %q is no registry's name: with it in the list every pull from %q fails", m.name, s.name)
		}
	}
}

// isRegistryHost reports whether a name begins with a registry, and not with a
// namespace of Docker Hub.
func isRegistryHost(host string) bool {
	return strings.ContainsAny(host, ".:") || host == "localhost"
}

// policies refuses sets for one source that contradict each other, or
// themselves.
func (o *openshift) policies() {
	first := map[string]*mirrorSet{}  // :: source → first set
	kinds := map[string]rules.Kinds{} // :: source → kinds of reference that it has mirrors for
	for i := range o.sets {
		set := &o.sets[i]
		s := set.source
		if other := first[s.name]; other == nil {
			first[s.name] = set
		} else if other.never != set.never {
			o.refuse(o.problem(s.file, s.at, "write the same policy in all of them; left out, it is AllowContactingSource",
				"conflicting mirrorSourcePolicy for the source %q, which is in %s, too", s.name, o.at(other.source.file, other.source.at)))
		}
		if set.real {
			kinds[s.name] |= set.kinds
		}
		for _, m := range set.mirrors {
			if set.never && m.name == s.name {
				o.refuse(o.problem(m.file, m.at, "remove the source from its mirrors", "mirrorSourcePolicy is NeverContactSource and the source %q is one of the mirrors", s.name))
			}
		}
	}
	for i := range o.sets {
		set := &o.sets[i]
		if first[set.source.name] == set && set.never {
			o.unreachable(set.source, kinds[set.source.name])
		}
	}
}

// unreachable warns of a source that is never contacted and has mirrors for one
// kind of reference only (containers/image#2497).
func (o *openshift) unreachable(s place, kinds rules.Kinds) {
	what, kind := "tag", "an ImageTagMirrorSet"
	switch kinds {
	case rules.Digests:
	case rules.Tags:
		what, kind = "digest", "an ImageDigestMirrorSet"
	default:
		return
	}
	o.warn(s.file, s.at, "add "+kind+" for the source", "the source %q is never contacted and has no mirror for references with a %s: they cannot be pulled", s.name, what)
}

// registrySources reads what the cluster's Image configuration says about
// registries.
func (o *openshift) registrySources(f *file, spec *node) {
	t := o.table(f, spec, "registrySources")
	if t == nil {
		return
	}
	for _, key := range []string{"insecureRegistries", "blockedRegistries"} {
		for _, v := range o.strs(f, t, key) {
			if !validScope(v.text) {
				o.refuse(o.problem(f, v.at, "a wildcard is *.domain, without path or port", "invalid entry in %s: %q", key, v.text))
				continue
			}
			p := place{v.text, f, v.at}
			if key == "insecureRegistries" {
				o.insecure = append(o.insecure, p)
			} else {
				o.blocked = append(o.blocked, p)
			}
		}
	}
	if len(o.strs(f, t, "allowedRegistries")) > 0 {
		o.warn(f, t.find("allowedRegistries", o.fold).at, "look into /etc/containers/policy.json of a node, too",
			"allowedRegistries is no mirror rule: the signature policy refuses all other registries")
	}
	o.strs(f, t, "containerRuntimeSearchRegistries")
	o.unknown(f, t, "registrySources", nil)
}

// validScope reports whether a scope is accepted (IsValidRegistriesConfScope).
func validScope(s string) bool {
	if domain, ok := strings.CutPrefix(s, "*."); ok {
		return !strings.ContainsAny(domain, "/@:*")
	}
	return s != "" && !strings.Contains(s, "*")
}
