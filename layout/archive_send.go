package layout

import (
	"io"
	"os"
)

// WriteTo writes what is left of the part. Each piece of a file goes to w as an
// *os.File of its own, limited to the piece, so that a connection can have the
// kernel copy it.
func (b body) WriteTo(w io.Writer) (n int64, err error) {
	at, err := b.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	start, end := b.off+at, b.off+b.Size()
	for _, e := range b.x {
		from, to := max(start, 0), min(end, e.size)
		start, end = start-e.size, end-e.size
		if from >= to {
			continue
		}
		k, err := e.part(from, to).sendTo(w)
		n += k
		if err != nil {
			return n, err
		}
	}
	_, err = b.Seek(n, io.SeekCurrent)
	return n, err
}

// part returns the bytes from one offset to another of a piece.
func (e extent) part(from, to int64) extent { return extent{e.r, e.off + from, to - from} }

// sendTo writes a piece.
func (e extent) sendTo(w io.Writer) (n int64, err error) {
	f := again(e.r)
	if f == nil {
		n, err = io.Copy(w, io.NewSectionReader(e.r, e.off, e.size))
	} else {
		defer f.Close() // only read from
		if _, err := f.Seek(e.off, io.SeekStart); err != nil {
			return 0, err
		}
		n, err = io.Copy(w, io.LimitReader(f, e.size))
	}
	if err == nil && n < e.size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// again opens a file once more, since readers of one file would move each other's
// position. It is nil where that is not the same file by now.
func again(r io.ReaderAt) *os.File {
	known, ok := r.(*os.File)
	if !ok {
		return nil
	}
	f, err := os.Open(known.Name())
	if err != nil {
		return nil
	}
	was, err := known.Stat()
	if now, bad := f.Stat(); err != nil || bad != nil || !os.SameFile(was, now) {
		f.Close()
		return nil
	}
	return f
}
