package document

import (
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
	"github.com/entrepot/entrepot/ref"
)

// A listLine is a line of a plain list: SRC, SRC=DST or SRC DST.
type listLine struct {
	source, target string
	start          int // of source, in bytes from the start of the line
}

// cutLine takes a line of a list apart. source is empty where the line has
// nothing but space and a comment, which starts with '#' at its front or after
// space.
func cutLine(line string) listLine {
	for i := range len(line) {
		if line[i] == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			line = line[:i]
			break
		}
	}
	start := len(line) - len(strings.TrimLeft(line, " \t"))
	text := strings.TrimSpace(line)
	if rest, ok := strings.CutPrefix(text, "docker://"); ok {
		start, text = start+len("docker://"), rest
	}
	source, target := text, ""
	if i := strings.IndexAny(text, "= \t"); i > 0 {
		source, target = text[:i], strings.TrimLeft(text[i:], " \t")
		target = strings.TrimLeft(strings.TrimPrefix(target, "="), " \t")
		if target == "" {
			source = text // a '=' too many is no reference
		}
	}
	return listLine{source: source, target: strings.TrimPrefix(target, "docker://"), start: start}
}

// isPlainList reports whether every line is one of a list.
func isPlainList(r *reading) bool {
	if r.main == nil || r.in.Files != nil || isGzip(r.in.Data) {
		return false
	}
	some := false
	for line := range strings.Lines(string(r.main.data)) {
		l := cutLine(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
		if l.source == "" {
			continue
		}
		if _, err := ref.Parse(l.source); err != nil || strings.ContainsAny(l.target, " \t=") {
			return false
		}
		some = true
	}
	return some
}

// readPlainList reads a list of images, one a line.
func readPlainList(r *reading) error {
	f := r.addFile(r.main)
	offset := 0
	for line := range strings.Lines(string(f.data)) {
		l := cutLine(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
		if l.source != "" {
			r.listed(f, offset+l.start, l)
		}
		offset += len(line)
	}
	return nil
}

// listed adds the image of a line.
func (r *reading) listed(f *file, start int, l listLine) {
	n := &tree.Node{Kind: tree.String, Style: tree.Bare, Text: l.source, Start: start, End: start + len(l.source)}
	if strings.ContainsAny(l.target, " \t=") {
		r.fail(f, start, "", "", "a line is SRC, SRC=DST or SRC DST, and then perhaps a # comment")
		return
	}
	s := spot{r, f, n, ""}.image()
	if s == nil {
		return
	}
	s.Target = l.target
}

// isStored reports whether the input is an archive of images, which somebody
// else has opened.
func isStored(r *reading) bool { return r.in.Images != nil }

// readStored reads the names of the images in an archive.
func readStored(r *reading) error {
	if r.in.Images == nil {
		return &Error{At: Position{File: r.in.Name}, Text: "this is no archive of images", Hint: "an archive is a tar that is not compressed, or a directory with an OCI image layout"}
	}
	f := r.addFile(r.main)
	for i, name := range r.in.Images {
		at := spot{r, f, &tree.Node{Kind: tree.String, Text: name}, fmt.Sprintf("images[%d]", i)}
		if s := at.image(); s != nil {
			s.At = Position{File: r.in.Name} // it has no lines
			s.pinned = "an archive has its images under their original names; it is not rewritten"
		}
	}
	return nil
}
