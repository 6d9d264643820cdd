package document

import (
	"slices"
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
)

// An object is a Kubernetes object that sites belong to.
type object struct{ at spot }

func isKubernetes(r *reading) bool {
	return r.anyDoc(func(n *tree.Node) bool { return n.Str("apiVersion") != "" && n.Str("kind") != "" })
}

// readKubernetes reads a stream of Kubernetes objects.
func readKubernetes(r *reading) error {
	if r.syntax != nil {
		return r.refuse(r.main, r.syntax)
	}
	f := r.addFile(r.main)
	for _, doc := range r.docs {
		root := r.root(f, doc)
		if doc.Kind != tree.Table {
			root.fail("", "this is %v and should be a Kubernetes object", doc.Kind)
			continue
		}
		r.object(root, "", "")
	}
	return nil
}

// A podKind says where the pod of a built-in kind is.
type podKind struct {
	groups []string // of the API; "" is the core
	path   []string // of the pod's spec
}

var template = []string{"spec", "template", "spec"}

// podKinds returns the built-in kinds that hold pods.
//
//	:: kind → where
func podKinds() map[string]podKind {
	apps := []string{"apps", "extensions"}
	return map[string]podKind{
		"Pod":                   {[]string{""}, []string{"spec"}},
		"PodTemplate":           {[]string{""}, []string{"template", "spec"}},
		"ReplicationController": {[]string{""}, template},
		"Deployment":            {apps, template},
		"ReplicaSet":            {apps, template},
		"DaemonSet":             {apps, template},
		"StatefulSet":           {apps, template},
		"ControllerRevision":    {apps, append([]string{"data"}, template...)},
		"Job":                   {[]string{"batch"}, template},
		"CronJob":               {[]string{"batch"}, append([]string{"spec", "jobTemplate"}, template...)},
	}
}

// object reads one object. apiVersion and kind are those that its list gives to
// it where it has none.
func (r *reading) object(s spot, apiVersion, kind string) {
	if v := s.str("apiVersion"); v != "" {
		apiVersion = v
	}
	if k := s.str("kind"); k != "" {
		kind = k
	}
	if kind == "" || apiVersion == "" {
		s.fail("", "this is no Kubernetes object: it has no apiVersion and kind")
		return
	}
	if elements, ok := strings.CutSuffix(kind, "List"); ok && s.n.Has("items") {
		if elements == "" {
			apiVersion = ""
		}
		for _, item := range s.member("items").items() {
			r.object(item, apiVersion, elements)
		}
		return
	}
	r.single(s, apiVersion, kind)
}

// single reads an object that is no list.
func (r *reading) single(s spot, apiVersion, kind string) {
	first := len(r.doc.sites)
	r.owner = &object{s}
	defer func() { r.owner = nil }()
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		group = ""
	}
	if p, ok := podKinds()[kind]; ok && slices.Contains(p.groups, group) {
		r.pod(s.down(p.path...))
		if len(p.path) > 1 {
			r.findAnnotations(s.down(p.path[:len(p.path)-1]...))
		}
	}
	r.findAnnotations(s)
	r.rules(s, apiVersion, kind)
	switch {
	case group == "" && kind == "ConfigMap":
		r.configMap(s)
	case strings.Contains(group, "."): // no group of Kubernetes' own that holds images has one
		r.suspects(s, r.doc.sites[first:])
	}
}

// configMap looks into the values of a ConfigMap.
func (r *reading) configMap(s spot) {
	if r.opts.Find.ConfigMaps {
		for _, v := range s.member("data").members() {
			v.maybe("")
		}
	}
}

// pod reads the spec of a pod.
func (r *reading) pod(spec spot) {
	for _, field := range []string{"initContainers", "containers", "ephemeralContainers"} {
		for _, c := range spec.member(field).items() {
			c.member("image").image()
			r.findContainer(c)
		}
	}
	for _, v := range spec.member("volumes").items() {
		v.down("image", "reference").image()
	}
}
