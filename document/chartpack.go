package document

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"path"
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
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	err = walkTar(body, func(name string, h *tar.Header, body io.Reader) error {
		data, ok := changed[name]
		if !ok {
			return nil
		}
		h.Size = int64(len(data))
		h.Format = tar.FormatUnknown
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err := tw.Write(data)
		return err
	})
	if err := errors.Join(err, body.Close(), tw.Close(), zw.Close()); err != nil {
		return nil, err
	}
	return []File{{Path: in.Path, Data: out.Bytes()}}, nil
}
