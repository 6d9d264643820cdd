package document

import (
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
	"github.com/entrepot/entrepot/ref"
)

// Find says in which further places of Kubernetes objects references are looked
// for. Whatever stands there counts only where it is a reference and nothing
// else: with a digest, with a registry and a tag, or naming an image that a
// field names as well. The zero value looks nowhere.
type Find struct {
	Env         bool // values of environment variables
	Args        bool // command and args, also behind "--flag="
	Annotations bool // of objects and of pod templates
	ConfigMaps  bool // values of ConfigMaps
}

// ParseFind reads a list as the command line has it: "env,args".
func ParseFind(list string) (Find, error) {
	var f Find
	for name := range strings.SplitSeq(list, ",") {
		switch name {
		case "":
		case "env":
			f.Env = true
		case "args":
			f.Args = true
		case "annotations":
			f.Annotations = true
		case "configmaps":
			f.ConfigMaps = true
		default:
			return f, fmt.Errorf("%q is none of env, args, annotations and configmaps", name)
		}
	}
	return f, nil
}

// maybe adds the image that a string names, if it turns out to be one. before
// is what stands before it.
func (s spot) maybe(before string) {
	if s.n == nil || s.n.Kind != tree.String {
		return
	}
	text := strings.TrimRight(s.n.Text, "\n")
	r, err := ref.Parse(strings.TrimPrefix(text, before))
	if err != nil {
		return
	}
	p := part{role: wholeRef, f: s.f, n: s.n, before: before}
	if s.n.Style != tree.Literal && s.n.Style != tree.Folded {
		p.after = s.n.Text[len(text):]
	}
	site := s.r.add(text[len(before):], s.path, p)
	site.doubtful = !unmistakable(site.Ref, r)
}

// unmistakable reports whether a string can hardly be anything but a reference.
func unmistakable(written string, r ref.Ref) bool {
	host, _, ok := strings.Cut(written, "/")
	return r.Digest != "" || ok && r.Tag != "" && (host == "localhost" || strings.ContainsAny(host, ".:"))
}

// settle drops the doubtful mentions of images that nothing else names.
func (d *Document) settle(known map[ref.Ref]bool) {
	kept := d.sites[:0]
	for _, s := range d.sites {
		if r, err := ref.Parse(s.Ref); !s.doubtful || err == nil && known[r.WithDefaultTag()] {
			kept = append(kept, s)
		}
	}
	d.sites = kept
}

// known adds the images that are certain.
func (d *Document) known(all map[ref.Ref]bool) map[ref.Ref]bool {
	for _, s := range d.sites {
		if r, err := ref.Parse(s.Ref); err == nil && !s.doubtful {
			all[r.WithDefaultTag()] = true
		}
	}
	return all
}

// findContainer looks into the environment and the arguments of a container.
func (r *reading) findContainer(c spot) {
	if r.opts.Find.Env {
		for _, e := range c.member("env").items() {
			e.member("value").maybe("")
		}
	}
	if r.opts.Find.Args {
		for _, list := range []string{"command", "args"} {
			for _, a := range c.member(list).items() {
				before := ""
				if flag, _, ok := strings.Cut(a.n.Text, "="); ok && strings.HasPrefix(flag, "-") {
					before = flag + "="
				}
				a.maybe(before)
			}
		}
	}
}

// findAnnotations looks into the annotations of an object or a template.
func (r *reading) findAnnotations(s spot) {
	if !r.opts.Find.Annotations {
		return
	}
	for _, a := range s.down("metadata", "annotations").tableMembers() {
		a.maybe("")
	}
}

// tableMembers is members without an error for what is no table.
func (s spot) tableMembers() []spot {
	if s.n == nil || s.n.Kind != tree.Table {
		return nil
	}
	return s.members()
}

// suspects notes strings of a custom resource that are references by their
// looks and that none of the given sites is.
func (r *reading) suspects(s spot, sites []*site) {
	named := map[*tree.Node]bool{}
	for _, site := range sites {
		for _, p := range site.parts {
			named[p.n] = true
		}
	}
	s.follow([]step{{deep: true}}, func(at spot) {
		if at.n.Kind != tree.String || named[at.n] || strings.HasPrefix(at.path, s.below("status")) || strings.HasPrefix(at.path, s.below("metadata")) {
			return
		}
		if x, err := ref.Parse(at.n.Text); err == nil && unmistakable(at.n.Text, x) {
			r.note(at.f, at.n.Start, at.path, "name the field in a file for --fields", "%s looks like an image and is left out", at.n.Text)
		}
	})
}

// below returns what the paths below a member begin with.
func (s spot) below(key string) string { return s.member(key).path + "." }
