package registry

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
)

// checkRange judges a Range header for content of that size: is its unit known,
// and is any of its ranges there? A malformed range is none that is there (the
// conformance suite wants 416 for "bytes=500-0").
func checkRange(header string, size int64) (known, overlap bool) {
	specs, known := strings.CutPrefix(header, "bytes=")
	if !known || size == 0 { // net/http answers any range of nothing with all of it
		return known, known
	}
	for spec := range strings.SplitSeq(specs, ",") {
		spec = strings.Trim(spec, " \t")
		if spec == "" {
			continue
		}
		first, last, ok := strings.Cut(spec, "-")
		start, end := parseOffset(first), parseOffset(last)
		switch {
		case !ok, first == "" && end < 0, first != "" && start < 0, last != "" && end < 0:
			return true, false
		case first == "":
			overlap = overlap || end > 0
		case last != "" && end < start:
			return true, false
		case start < size:
			overlap = true
		}
	}
	return true, overlap
}

// parseOffset reads decimal digits; -1 where there is something else, or more
// than an int64 holds.
func parseOffset(s string) int64 {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return -1
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// A seekBody makes an io.ReadSeeker of any blob of known size: where its body
// cannot seek, it is opened again at the offset. It remembers the first error
// of the body, which http.ServeContent keeps to itself.
type seekBody struct {
	mu   sync.Mutex // net/http reads several ranges from a goroutine of its own
	open func(off int64) (io.ReadCloser, error)
	size int64
	body io.ReadCloser // nil after Close
	at   int64         // where body stands
	pos  int64         // where the next Read begins
	read int64         // bytes read in all
	err  error

	first func() // is called before the first Read, where the answer has begun; nil for nothing
}

// Seek never touches the body.
func (b *seekBody) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += b.pos
	case io.SeekEnd:
		offset += b.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of a blob")
	}
	b.pos = offset
	return offset, nil
}

func (b *seekBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pos >= b.size {
		return 0, io.EOF
	}
	if b.first != nil {
		b.first()
		b.first = nil
	}
	if err := b.move(); err != nil {
		b.err = err
		return 0, err
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.size-b.pos)])
	b.at += int64(n)
	b.pos += int64(n)
	b.read += int64(n)
	if err == io.EOF && b.pos < b.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// move brings the body to where the next read begins.
func (b *seekBody) move() error {
	if b.body == nil {
		return errors.New("read of a closed blob")
	}
	if b.at == b.pos {
		return nil
	}
	if s, ok := b.body.(io.Seeker); ok {
		if _, err := s.Seek(b.pos, io.SeekStart); err != nil {
			return err
		}
		b.at = b.pos
		return nil
	}
	body, err := b.open(b.pos)
	if err != nil {
		return err
	}
	b.body.Close() // only read from
	b.body, b.at = body, b.pos
	return nil
}

// Close closes the body. It waits for a Read.
func (b *seekBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.body == nil {
		return nil
	}
	body := b.body
	b.body = nil
	return body.Close()
}

// result returns how many bytes were read and what went wrong.
func (b *seekBody) result() (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read, b.err
}
