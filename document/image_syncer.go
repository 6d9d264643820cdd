package document

import (
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
	"github.com/entrepot/entrepot/ref"
)

// The files of image-syncer (AliyunContainerService/image-syncer, README): a
// table of sources and their targets, by itself or as `images` beside `auth`. A
// source is a repository (all tags), has a tag, several with commas, a digest,
// or a regular expression between slashes that matches somewhere in the tag.

func isImageSyncer(r *reading) bool {
	return r.anyDoc(func(n *tree.Node) bool {
		if m := n.Find("images"); m != nil && m.Value.Kind == tree.Table && !n.Has("apiVersion") && !n.Has("kind") {
			return len(n.Keys) == 1 || len(n.Keys) == 2 && n.Has("auth")
		}
		for i := range n.Keys {
			m := &n.Keys[i]
			targets := m.Value.Kind == tree.String || m.Value.Kind == tree.List
			if !targets || !strings.Contains(m.Name, "/") || !isSyncSource(m.Name) {
				return false
			}
		}
		return len(n.Keys) > 0
	})
}

func isSyncSource(s string) bool {
	name, _, _ := cutSyncSource(s)
	_, err := ref.Parse(name)
	return err == nil
}

// cutSyncSource takes a source apart into the name or reference, further tags,
// and a pattern of tags.
func cutSyncSource(s string) (name string, tags []string, pattern string) {
	if i := strings.Index(s, ":/"); i >= 0 && strings.HasSuffix(s, "/") && len(s) > i+2 {
		return s[:i], nil, s[i+2 : len(s)-1]
	}
	name, rest, more := strings.Cut(s, ",")
	if more {
		tags = strings.Split(rest, ",")
	}
	return name, tags, ""
}

func readImageSyncer(r *reading) error {
	if r.syntax != nil {
		return r.refuse(r.main, r.syntax)
	}
	for _, doc := range r.docs {
		root := r.root(r.main, doc)
		images := root
		if m := root.member("images"); m.n != nil && m.n.Kind == tree.Table {
			images = m
			root.only("auth", "images")
			root.syncAccess()
		}
		for i, m := range images.members() {
			m.imageSyncer(images.n.Keys[i].Name)
		}
	}
	return nil
}

// syncAccess reads the accounts beside a table of images.
func (s spot) syncAccess() {
	auth := s.member("auth")
	for i, a := range auth.members() {
		a.only("username", "password", "insecure")
		access := Access{
			Registry: auth.n.Keys[i].Name, Username: a.str("username"), Password: Secret(a.str("password")), At: a.f.at(a.n.Start),
		}
		if insecure := a.member("insecure"); insecure.n != nil {
			access.PlainHTTP = insecure.n.Text == "true"
		}
		if strings.Contains(access.Username+string(access.Password), "$") {
			a.fail("use --authfile", "variables of the environment are not supported")
		}
		s.r.doc.access = append(s.r.doc.access, access)
	}
}

// imageSyncer reads the targets of a source.
func (s spot) imageSyncer(source string) {
	targets := []spot{s}
	if s.n.Kind == tree.List {
		if targets = s.items(); len(targets) == 0 {
			s.fail("", "there is no target")
		}
	}
	for _, t := range targets {
		to, ok := t.text()
		switch {
		case !ok:
		case to == "":
			t.fail("write it out, or use a plain list of images", "there is no target")
		case strings.Contains(to, "$"):
			t.fail("write the value", "variables of the environment are not supported")
		default:
			t.syncTo(source, to)
		}
	}
}

// syncTo adds what goes from a source to a target.
func (s spot) syncTo(source, to string) {
	name, tags, pattern := cutSyncSource(source)
	r, err := ref.Parse(name)
	if err != nil {
		s.wrong("the source is no image", err)
		return
	}
	t, err := ref.Parse(to)
	if err != nil {
		s.wrong("the target is no image", err)
		return
	}
	several := pattern != "" || len(tags) > 0 || r.Tag == "" && r.Digest == ""
	switch {
	case several && (t.Tag != "" || t.Digest != ""):
		s.fail("", "the target of several tags has a tag: %s", to)
	case pattern != "":
		if e := s.pattern(pattern, false); e != nil {
			s.selector(name, to, tagSet{allow: regexps(e)})
		}
	case r.Tag == "" && r.Digest == "":
		s.selector(name, to)
	default:
		s.listed(name, to)
		repository := strings.TrimSuffix(name, ":"+r.Tag)
		for _, tag := range tags {
			s.listed(repository+":"+strings.TrimSpace(tag), to)
		}
	}
}
