package document

import (
	"slices"

	"github.com/entrepot/entrepot/internal/tree"
)

// The YAML of `skopeo sync --src yaml` (containers/skopeo, cmd/skopeo/sync.go):
// a table of registries, each with images by tags and digests (none: all tags),
// by a regular expression that matches somewhere in the tag, and by a range of
// versions.

var skopeoLists = []string{"images", "images-by-tag-regex", "images-by-semver"}

// isSkopeoSync reports whether all top keys hold lists of images.
func isSkopeoSync(r *reading) bool {
	return r.anyDoc(func(n *tree.Node) bool {
		for _, m := range n.Keys {
			if !slices.ContainsFunc(skopeoLists, func(key string) bool {
				v := m.Value.Find(key)
				return v != nil && (v.Value.Kind == tree.Table || v.Value.Kind == tree.Null)
			}) {
				return false
			}
		}
		return len(n.Keys) > 0
	})
}

func readSkopeoSync(r *reading) error {
	if r.syntax != nil {
		return r.refuse(r.main, r.syntax)
	}
	for _, doc := range r.docs {
		for i, s := range r.root(r.main, doc).members() {
			s.skopeoRegistry(doc.Keys[i].Name)
		}
	}
	return nil
}

func (s spot) skopeoRegistry(registry string) {
	s.only(append([]string{"credentials", "tls-verify", "cert-dir"}, skopeoLists...)...)
	s.unsupported("give the certificate with --ca", "cert-dir")
	images := s.member("images")
	for i, repo := range images.members() {
		name := registry + "/" + images.n.Keys[i].Name
		refs := repo.items()
		if repo.n.Kind == tree.Null || repo.n.Kind == tree.List && len(refs) == 0 {
			repo.selector(name, "")
		}
		for _, one := range refs {
			if text, ok := one.text(); ok {
				one.listed(name+separator(text)+text, "")
			}
		}
	}
	s.skopeoBy("images-by-tag-regex", registry, func(v spot, text string) (tagSet, bool) {
		e := v.pattern(text, false)
		return tagSet{allow: regexps(e)}, e != nil
	})
	s.skopeoBy("images-by-semver", registry, func(v spot, text string) (tagSet, bool) {
		c := v.versions(text)
		return tagSet{versions: constraints(c)}, c != nil
	})
	s.skopeoAccess(registry)
}

// skopeoBy reads one of the tables that select by tags.
func (s spot) skopeoBy(key, registry string, set func(spot, string) (tagSet, bool)) {
	table := s.member(key)
	for i, repo := range table.members() {
		text, ok := repo.text()
		if !ok {
			continue
		}
		if conditions, ok := set(repo, text); ok {
			repo.selector(registry+"/"+table.n.Keys[i].Name, "", conditions)
		}
	}
}

func (s spot) skopeoAccess(registry string) {
	c := s.member("credentials")
	c.only("username", "password")
	verify := s.member("tls-verify")
	a := Access{Registry: registry, Username: c.str("username"), Password: Secret(c.str("password"))}
	if verify.n != nil {
		if verify.n.Kind != tree.Bool {
			verify.fail("", "this is %v and should be true or false", verify.n.Kind)
		}
		a.Insecure = verify.n.Text == "false"
	}
	if a != (Access{Registry: registry}) {
		a.At = s.f.at(s.n.Start)
		s.r.doc.access = append(s.r.doc.access, a)
	}
}

// separator returns what stands between a name and a tag or a digest.
func separator(text string) string {
	if isDigest(text) {
		return "@"
	}
	return ":"
}
