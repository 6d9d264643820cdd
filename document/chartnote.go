package document

import (
	"bytes"
	"strings"
)

// imagesNote reads the annotation of a chart that lists its images: a text that
// is YAML itself, a list of tables with an image each
// (https://artifacthub.io/docs/topics/annotations/helm/).
func (s spot) imagesNote() {
	if s.n == nil {
		return
	}
	if s.n.kind != isString {
		s.fail("", "this is %v and should be a text", s.n.kind)
		return
	}
	docs, err := parseYAML([]byte(s.n.text))
	if err != nil || len(docs) > 1 || len(docs) == 1 && docs[0].kind != isList {
		s.fail("", "this is no list of images in YAML")
		return
	}
	if len(docs) == 0 {
		return
	}
	for _, item := range (spot{s.r, s.f, docs[0], s.path}).items() {
		inner := item.member("image")
		if inner.n == nil || inner.n.kind != isString || checkRef(inner.n.text) != nil {
			s.fail("", "an item of the list has no image")
			continue
		}
		n, ok := s.inBlock(inner.n)
		site := s.r.add(inner.n.text, inner.path, part{role: wholeRef, f: s.f, n: n})
		if !ok {
			site.pinned = "the list is not written as a block of lines (|), in which it could be changed"
		}
	}
}

// inBlock returns a scalar of the text of a literal block as one of the file.
func (s spot) inBlock(inner *node) (*node, bool) {
	out := *inner
	out.start, out.end = s.n.start, 0
	if s.n.style != literal || inner.end == 0 {
		return &out, false
	}
	before := s.n.text[:inner.start]
	line := strings.Count(before, "\n")
	column := len(before) - (strings.LastIndexByte(before, '\n') + 1)
	want := strings.Split(s.n.text, "\n")[line]
	// Each line of the text is one of the file, from the one after the header on.
	at, _ := s.f.text.at(s.n.head)
	if at+line >= len(s.f.text) {
		return &out, false
	}
	start := s.f.text[at+line]
	raw := bytes.TrimRight(s.f.data[start:lineEnd(s.f.data, start)], "\r")
	indent := len(raw) - len(want)
	if indent < 0 || string(raw[indent:]) != want || strings.Trim(string(raw[:indent]), " ") != "" {
		return &out, false
	}
	out.start = start + indent + column
	out.end = out.start + (inner.end - inner.start)
	return &out, true
}
