package document

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
)

// instructions are those that a Dockerfile may have.
const instructions = " ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR "

func isDockerfile(r *reading) bool {
	if r.in.isArchive() || r.in.Files != nil {
		return false
	}
	base := strings.ToLower(path.Base(r.in.Name))
	named := base == "dockerfile" || base == "containerfile" || strings.HasPrefix(base, "dockerfile.") || strings.HasSuffix(base, ".dockerfile")
	if r.syntax == nil && len(r.docs) > 0 && r.docs[0].Kind != tree.String {
		return false
	}
	all := dockerLines(r.main)
	from := slices.ContainsFunc(all.list, func(i instruction) bool { return i.name == "FROM" && len(i.words) > 0 })
	unknown := slices.ContainsFunc(all.list, func(i instruction) bool { return !i.known() })
	return from && (named || !unknown)
}

func (i instruction) known() bool { return strings.Contains(instructions, " "+i.name+" ") }

// A dockerfile is one while it is read, after BuildKit's
// frontend/dockerfile/parser and instructions.
type dockerfile struct {
	r      *reading
	f      *file
	escape byte
	// args are the values of the ARGs before the first FROM.
	//
	//	:: name → value
	args map[string]buildArg
	// stages are the names of the stages so far, in lower case; "" for one
	// without a name.
	stages []string
	begun  bool // a stage began
}

// A buildArg is the default of an ARG.
type buildArg struct {
	value string
	at    *tree.Node // nil where the text is not just the value
}

// readDockerfile reads the images that a Dockerfile builds from.
func readDockerfile(r *reading) error {
	lines := dockerLines(r.main)
	d := &dockerfile{r: r, f: r.addFile(r.main), escape: lines.escape, args: map[string]buildArg{}}
	if s := lines.syntax; s != nil {
		d.image(s, "syntax", part{role: wholeRef, f: d.f, n: s})
	}
	for _, i := range lines.list {
		switch i.name {
		case "ARG":
			if !d.begun {
				d.arg(i)
			}
		case "FROM":
			d.begun = true
			d.from(i)
		case "COPY":
			d.copyFrom(i)
		case "RUN":
			d.mounts(i)
		default:
			if !i.known() {
				r.fail(d.f, i.start, i.name, "", "this is no instruction of a Dockerfile")
			}
		}
	}
	if !d.begun {
		r.fail(d.f, 0, "", "", "there is no FROM: this is no Dockerfile")
	}
	return nil
}

// arg keeps the defaults of an ARG. One without a default has no value.
func (d *dockerfile) arg(i instruction) {
	for _, w := range i.words {
		name, value, ok := strings.Cut(w.text, "=")
		if !ok {
			continue
		}
		at := w.sub(len(name) + 1)
		if len(value) > 1 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			value = value[1 : len(value)-1]
			at = &tree.Node{Kind: tree.String, Style: tree.Bare, Text: value, Start: at.Start + 1, End: max(at.End-1, 0)}
		}
		if strings.ContainsAny(value, `$\"'`) {
			at = nil
			expanded, err := d.expand(value)
			if err != nil {
				continue // whoever needs it says so
			}
			value = expanded
		}
		d.args[name] = buildArg{value, at}
	}
}

func (d *dockerfile) expand(text string) (string, error) {
	return expand(text, d.escape, func(name string) (string, bool) { a, ok := d.args[name]; return a.value, ok })
}

// from reads a FROM: an image, or a stage before it.
func (d *dockerfile) from(i instruction) {
	words := i.words
	for len(words) > 0 && strings.HasPrefix(words[0].text, "--") {
		words = words[1:]
	}
	name := ""
	if len(words) == 3 && strings.EqualFold(words[1].text, "as") {
		name = strings.ToLower(words[2].text)
	} else if len(words) != 1 {
		d.r.fail(d.f, i.start, "FROM", "", "a FROM has an image, and perhaps AS and a name")
		return
	}
	defer func() { d.stages = append(d.stages, name) }()
	field := "FROM"
	if name != "" {
		field = "FROM " + name
	}
	w := words[0]
	text, err := d.expand(w.text)
	if err != nil {
		d.r.errs = append(d.r.errs, &Error{At: d.f.at(w.start), Field: field, Text: w.text + " names no image", Err: err, Hint: "give its ARG a default before the first FROM"})
		return
	}
	if strings.EqualFold(text, "scratch") || slices.Contains(d.stages, strings.ToLower(text)) {
		return
	}
	d.image(&tree.Node{Text: text, Start: w.start}, field, d.fromPart(w, text))
}

// fromPart returns where the image of a FROM is written: in the default of the
// one ARG that it consists of, or in the FROM itself.
func (d *dockerfile) fromPart(w word, text string) part {
	here := part{role: wholeRef, f: d.f, n: w.node()}
	name, ok := strings.CutPrefix(w.text, "$")
	if !ok {
		return here
	}
	if inner, braced := strings.CutPrefix(name, "{"); braced {
		name = strings.TrimSuffix(inner, "}")
	}
	if a, ok := d.args[name]; ok && a.at != nil {
		return part{role: wholeRef, f: d.f, n: a.at}
	}
	here.before, here.after = aroundDefault(w.text, text)
	return here
}

// copyFrom reads the image of COPY --from, where it is none of the stages.
func (d *dockerfile) copyFrom(i instruction) {
	for _, w := range i.words {
		if !strings.HasPrefix(w.text, "--") {
			return
		}
		if from, ok := strings.CutPrefix(w.text, "--from="); ok {
			d.stageOrImage(w.sub(len(w.text)-len(from)), "COPY --from")
		}
	}
}

// mounts reads the images of RUN --mount=…,from=IMAGE.
func (d *dockerfile) mounts(i instruction) {
	for _, w := range i.words {
		if !strings.HasPrefix(w.text, "--") {
			return
		}
		options, ok := strings.CutPrefix(w.text, "--mount=")
		if !ok {
			continue
		}
		at := len(w.text) - len(options)
		for option := range strings.SplitSeq(options, ",") {
			if from, ok := strings.CutPrefix(option, "from="); ok {
				d.stageOrImage(cut(w.sub(at+len("from=")), len(from)), "RUN --mount from")
			}
			at += len(option) + 1
		}
	}
}

// stageOrImage adds the image that a name means which may be a stage's.
func (d *dockerfile) stageOrImage(n *tree.Node, field string) {
	if _, err := strconv.Atoi(n.Text); err == nil || slices.Contains(d.stages, strings.ToLower(n.Text)) || n.Text == "scratch" {
		return
	}
	if strings.Contains(n.Text, "$") {
		d.r.fail(d.f, n.Start, field, "use a stage of its own: FROM "+n.Text+" AS name", "variables are not expanded here")
		return
	}
	d.image(n, field, part{role: wholeRef, f: d.f, n: n})
}

// image adds an image.
func (d *dockerfile) image(n *tree.Node, field string, p part) {
	if err := checkRef(n.Text); err != nil {
		d.r.errs = append(d.r.errs, &Error{At: d.f.at(n.Start), Field: field, Text: "this is no image", Err: err})
		return
	}
	d.r.add(n.Text, field, p).At = d.f.at(n.Start)
}
