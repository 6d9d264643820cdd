package document

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"

	"github.com/entrepot/entrepot/internal/tree"
)

func isChart(r *reading) bool {
	return slices.ContainsFunc(r.in.Files, func(f File) bool { return f.Path == "Chart.yaml" }) || r.look().chart
}

// readChart reads a Helm chart: the images of its annotations, those of its
// values, and with a way to render it those that it runs. A chart's files are
// rewritten where annotations and values have the images; what a template has by
// itself cannot be, and reading the rewritten chart again finds that out.
func readChart(r *reading) error {
	files := r.in.Files
	if r.in.isArchive() {
		top, unpacked, err := unpackChart(r.in)
		if err != nil {
			return &Error{At: Position{File: r.in.Name}, Text: "the chart cannot be read", Err: err}
		}
		files = unpacked
		r.doc.repack = func(files []File) ([]File, error) { return packChart(r.in, top, files) }
	}
	left := int64(maxChart)
	if err := r.chart(r.in.Name, files, nil, &left); err != nil {
		return err
	}
	// Helm's loader follows archives in archives without an end, so it comes
	// after what has limits.
	if err := checkChart(files); err != nil {
		return &Error{At: Position{File: r.in.Name}, Text: "the chart cannot be read", Err: err}
	}
	return r.rendered(files)
}

// chart reads the files of a chart, those of the charts in it as well. Those
// that are archives may be unpacked to as many bytes as are left.
func (r *reading) chart(name string, files []File, in *packed, left *int64) error {
	all := make([]*file, 0, len(files))
	for _, f := range files {
		added := r.addFile(newFile(path.Join(name, f.Path), f.Path, f.Data))
		added.in = in
		all = append(all, added)
	}
	for _, f := range all {
		dir, base := path.Split(f.path)
		switch {
		case base == "Chart.yaml" && chartDir(dir):
			r.chartFiles(f, all, dir)
		case isPacked(dir, base):
			if err := r.packedChart(f, left); err != nil {
				return err
			}
		}
	}
	return nil
}

// chartDir reports whether a directory is the chart's or one of its charts/.
func chartDir(dir string) bool {
	for dir != "" {
		rest, ok := strings.CutPrefix(dir, "charts/")
		if !ok {
			return false
		}
		_, dir, ok = strings.Cut(rest, "/")
		if !ok {
			return false
		}
	}
	return true
}

// checkChart has Helm's own loader judge a chart, with all that is in it.
func checkChart(files []File) error {
	buffered := make([]*loader.BufferedFile, 0, len(files))
	for _, f := range files {
		buffered = append(buffered, &loader.BufferedFile{Name: f.Path, Data: f.Data})
	}
	c, err := loader.LoadFiles(buffered)
	if err == nil && c.Metadata.Type == "library" {
		return nil
	}
	var invalid chart.ValidationError
	if errors.As(err, &invalid) && strings.Contains(string(invalid), "chart.metadata.version") {
		return nil // some are released by tools that fill it in
	}
	return err
}

// chartFiles reads the Chart.yaml of a chart, and its values.yaml.
func (r *reading) chartFiles(f *file, all []*file, dir string) {
	version := ""
	if root, ok := r.tree(f); ok {
		version = root.str("appVersion")
		notes := root.member("annotations")
		for _, key := range []string{"artifacthub.io/images", "images"} {
			notes.member(key).imagesNote()
		}
	}
	for _, v := range all {
		if v.path == dir+"values.yaml" {
			if root, ok := r.tree(v); ok {
				r.rules(root, "", "")
				root.values(version)
			}
		}
	}
}

// tree parses a file that is one table, or empty.
func (r *reading) tree(f *file) (spot, bool) {
	docs, err := parseYAML(f.data)
	if err != nil {
		r.errs = append(r.errs, r.refuse(f, err))
		return spot{}, false
	}
	if len(docs) != 1 || docs[0].Kind != tree.Table {
		return spot{}, false
	}
	return r.root(f, docs[0]), true
}

// imageKey matches the keys below which charts have images, by convention.
var imageKey = regexp.MustCompile(`(?i)image$`)

// values finds the images of a table of values, and of those below it, by the
// conventions of charts: tables with a repository, and strings at "image".
func (s spot) values(appVersion string) {
	switch s.n.Kind {
	case tree.Table:
		if s.isImageTable() {
			s.imageTable(appVersion)
		} else if m := s.member("image"); m.n != nil && m.n.Kind == tree.String {
			s.imageString(appVersion)
		}
		for _, m := range s.members() {
			if m.n.Kind == tree.String && imageKey.MatchString(m.key()) && m.key() != "image" && strings.ContainsAny(m.n.Text, ":/@") {
				m.valueImage(m.n.Text, nil, part{role: wholeRef, f: m.f, n: m.n})
			}
			m.values(appVersion)
		}
	case tree.List:
		for _, item := range s.items() {
			item.values(appVersion)
		}
	}
}

// isImageTable reports whether a table with a repository is about an image; a
// repository can be many things.
func (s spot) isImageTable() bool {
	return s.str("repository") != "" && (imageKey.MatchString(s.key()) || s.n.Has("pullPolicy") || s.n.Has("imagePullPolicy") ||
		s.n.Find("registry") != nil && (s.n.Find("tag") != nil || s.n.Find("digest") != nil))
}

// imageTable adds the image of a table with registry, repository, tag and digest.
func (s spot) imageTable(appVersion string) {
	var parts []part
	name, suffix := []string{}, ""
	for _, p := range []struct {
		key  string
		role role
	}{{"registry", registry}, {"repository", repository}, {"tag", tag}, {"digest", digestPart}} {
		m := s.member(p.key)
		if m.n == nil || m.n.Kind == tree.List || m.n.Kind == tree.Table {
			continue
		}
		text, ok := m.word()
		if !ok {
			return
		}
		parts = append(parts, part{role: p.role, f: m.f, n: m.n})
		switch {
		case text == "":
		case p.role == tag || p.role == digestPart:
			suffix += joint(p.role, text) + text
		default:
			name = append(name, text)
		}
	}
	s.defaulted(strings.Join(name, "/"), suffix, appVersion, parts)
}

// imageString adds the image of a string at "image", with the tag beside it.
func (s spot) imageString(appVersion string) {
	m := s.member("image")
	if strings.ContainsAny(m.n.Text, ":@") || !s.n.Has("tag") {
		m.valueImage(m.n.Text, nil, part{role: wholeRef, f: m.f, n: m.n})
		return
	}
	t := s.member("tag")
	text, ok := t.word()
	if !ok {
		return
	}
	if text != "" {
		text = joint(tag, text) + text
	}
	s.defaulted(m.n.Text, text, appVersion, []part{{role: imageName, f: m.f, n: m.n}, {role: tag, f: t.f, n: t.n}})
}

// defaulted adds the image of parts; one without a tag and a digest has the
// chart's appVersion, as charts do it by convention.
func (s spot) defaulted(name, suffix, appVersion string, parts []part) {
	if suffix != "" || appVersion == "" {
		s.valueImage(name+suffix, nil, parts...)
		return
	}
	s.valueImage(name+":"+appVersion, &appVersion, parts...)
}

// valueImage adds an image of the values, if it is one: by convention alone
// nothing can be wrong. implied is the tag that is not written; nil for none.
func (s spot) valueImage(text string, implied *string, parts ...part) {
	if checkRef(text) != nil || s.r.seen[mention{parts[0].n, s.path}] {
		return
	}
	site := s.r.add(text, s.path, parts...)
	if implied != nil {
		site.impliedTag = *implied
	}
}

// rendered adds what the chart has when it is rendered. These images are
// rewritten where the values have them.
func (r *reading) rendered(files []File) error {
	if r.opts.Render == nil {
		return nil
	}
	in := r.in
	in.Files, in.Data, in.Open = files, nil, nil
	text, err := r.opts.Render(in)
	if err != nil {
		return &Error{At: Position{File: r.in.Name}, Text: "render the chart", Err: err}
	}
	sub := &reading{in: Input{Name: r.in.Name + " (rendered)"}, opts: r.opts, doc: &Document{Kind: r.doc.Kind}}
	sub.main = newFile(sub.in.Name, "", text)
	if sub.docs, sub.syntax = parseYAML(text); sub.syntax != nil {
		return sub.refuse(sub.main, sub.syntax)
	}
	if err := readKubernetes(sub); err != nil {
		return err
	}
	for _, s := range sub.doc.sites {
		s.rendered, s.owner = true, nil
	}
	r.doc.sites = append(r.doc.sites, sub.doc.sites...)
	r.doc.notes = append(r.doc.notes, sub.doc.notes...)
	r.errs = append(r.errs, sub.errs...)
	return nil
}

// unpackChart returns the files of a chart in an archive, and the directory that
// they are in.
func unpackChart(in Input) (top string, files []File, err error) {
	body, err := in.open()
	if err != nil {
		return "", nil, err
	}
	defer body.Close()
	size := int64(0)
	err = walkTar(body, func(name string, h *tar.Header, body io.Reader) error {
		dir, rest, ok := strings.Cut(name, "/")
		if h.Typeflag == tar.TypeDir || !ok || h.Typeflag == tar.TypeXGlobalHeader {
			return nil
		}
		if top == "" {
			top = dir
		}
		if dir != top {
			return fmt.Errorf("the archive has files in %s and in %s: a chart has one directory", top, dir)
		}
		data, err := readEntry(name, h, body, maxChart)
		if err != nil {
			return err
		}
		if size += int64(len(data)); size > maxChart {
			return archiveError{fmt.Errorf("it is larger than %d MiB", maxChart>>20)}
		}
		files = append(files, File{Path: rest, Data: data})
		return nil
	})
	return top, files, err
}
