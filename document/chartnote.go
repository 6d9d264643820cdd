package document

import (
	"bytes"
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
)

// imagesNote reads the annotation of a chart that lists its images: a text that
// is YAML itself, a list of tables with an image each
// (https://artifacthub.io/docs/topics/annotations/helm/).
func (s spot) imagesNote() {
	if s.n == nil {
		return
	}
	if s.n.Kind != tree.String {
		s.fail("", "this is %v and should be a text", s.n.Kind)
		return
	}
	docs, err := parseYAML([]byte(s.n.Text))
	if err != nil || len(docs) > 1 || len(docs) == 1 && docs[0].Kind != tree.List {
		s.fail("", "this is no list of images in YAML")
		return
	}
	if len(docs) == 0 {
		return
	}
	for _, item := range (spot{s.r, s.f, docs[0], s.path}).items() {
		inner := item.member("image")
		if inner.n == nil || inner.n.Kind != tree.String || checkRef(inner.n.Text) != nil {
			s.fail("", "an item of the list has no image")
			continue
		}
		n, ok := s.inBlock(inner.n)
		site := s.r.add(inner.n.Text, inner.path, part{role: wholeRef, f: s.f, n: n})
		if !ok {
			site.pinned = "the list is not written as a block of lines (|), in which it could be changed"
		}
	}
}

// inBlock returns a scalar of the text of a literal block as one of the file.
func (s spot) inBlock(inner *tree.Node) (*tree.Node, bool) {
	out := *inner
	out.Start, out.End = s.n.Start, 0
	if s.n.Style != tree.Literal || inner.End == 0 {
		return &out, false
	}
	before := s.n.Text[:inner.Start]
	line := strings.Count(before, "\n")
	column := len(before) - (strings.LastIndexByte(before, '\n') + 1)
	want := strings.Split(s.n.Text, "\n")[line]
	// Each line of the text is one of the file, from the one after the header on.
	at, _ := s.f.text.At(s.n.Head)
	if at+line >= len(s.f.text) {
		return &out, false
	}
	start := s.f.text[at+line]
	raw := bytes.TrimRight(s.f.data[start:lineEnd(s.f.data, start)], "\r")
	indent := len(raw) - len(want)
	if indent < 0 || string(raw[indent:]) != want || strings.Trim(string(raw[:indent]), " ") != "" {
		return &out, false
	}
	out.Start = start + indent + column
	out.End = out.Start + (inner.End - inner.Start)
	return &out, true
}
