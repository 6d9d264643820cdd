package document

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// packChart makes the archive of a chart with the rewritten files. Entries keep
// their order, names, modes and times.
func packChart(in Input, top string, files []File) ([]File, error) {
	changed := make(map[string][]byte, len(files)) // :: path in the chart → content
	for _, f := range files {
		changed[path.Join(top, f.Path)] = f.Data
	}
	body, err := in.open()
	if err != nil {
		return nil, err
	}
	data, err := packAgain(body, changed)
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	return []File{{Path: in.Path, Data: data}}, nil
}

// packAgain makes an archive of another one, with other contents for some
// entries. All else of these, and the rest, stay as they are.
func packAgain(body io.Reader, changed map[string][]byte) ([]byte, error) {
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	err := walkTar(body, func(name string, h *tar.Header, body io.Reader) error {
		if data, ok := changed[name]; ok {
			h.Size, body = int64(len(data)), bytes.NewReader(data)
		}
		h.Format = tar.FormatUnknown
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(tw, body)
		return err
	})
	if err := errors.Join(err, tw.Close(), zw.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// maxPacked is how many archives a chart may be in, one inside the other.
const maxPacked = 8

// A packed is a chart in an archive inside of a chart.
type packed struct {
	file  *file  // the archive
	top   string // the directory in it that the chart is in
	depth int    // 1 for one that is not in another archive
}

// isPacked reports whether Helm takes a file for a chart in an archive: below
// the charts/ of a chart, and not hidden.
func isPacked(dir, base string) bool {
	parent, ok := strings.CutSuffix(dir, "charts/")
	return ok && chartDir(parent) && path.Ext(base) == ".tgz" && !strings.HasPrefix(base, ".") && !strings.HasPrefix(base, "_")
}

// packedChart reads the chart in an archive. left is how many bytes it may have.
func (r *reading) packedChart(f *file, left *int64) error {
	p := &packed{file: f, depth: 1}
	if f.in != nil {
		p.depth += f.in.depth
	}
	top, files, err := unpackChart(Input{Name: f.name, Data: f.data})
	for _, inner := range files {
		*left -= int64(len(inner.Data))
	}
	switch {
	case err == nil && *left < 0:
		err = fmt.Errorf("the charts that are packed are larger than %d MiB together", maxChart>>20)
	case err == nil && p.depth > maxPacked:
		err = fmt.Errorf("it is in %d archives, one inside the other, and may be in %d", p.depth, maxPacked)
	}
	if err != nil {
		return &Error{At: Position{File: f.name}, Text: "the chart in the chart cannot be read", Err: err}
	}
	p.top = top
	f.holds = p
	return r.chart(f.name, files, p, left)
}

// repack returns the archive with other contents for some files of the chart.
func (p *packed) repack(changed map[string][]byte) ([]byte, error) {
	entries := make(map[string][]byte, len(changed))
	for name, data := range changed {
		entries[path.Join(p.top, name)] = data
	}
	data, err := packAgain(bytes.NewReader(p.file.data), entries)
	if err != nil {
		return nil, &Error{At: Position{File: p.file.name}, Text: "the chart in the chart cannot be packed again", Err: err}
	}
	return data, nil
}
