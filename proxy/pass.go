package proxy

import (
	"io"
	"math"
	"os"
)

var _ io.WriterTo = (*follower)(nil)

// WriteTo writes what is left of the blob, as it comes. It hands the spool's
// file itself to w, piece by piece, so that a socket gets the bytes from the
// kernel: read and written by us, they cost twice the processor time.
func (r *follower) WriteTo(w io.Writer) (sent int64, err error) {
	var p passage
	defer p.close()
	for {
		n, err := r.await(math.MaxInt)
		if err == io.EOF {
			return sent, nil
		}
		if err == errStranded {
			m, err := io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{r})
			return sent + m, err
		}
		if err != nil {
			return sent, err
		}
		file, err := p.open(r)
		if err != nil { // of a spool that was just thrown away; what it had can still be read
			m, err := io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{r})
			return sent + m, err
		}
		m, err := io.CopyN(w, file, int64(n))
		r.advance(int(m))
		sent += m
		if err != nil {
			return sent, err
		}
	}
}

// A passage is a follower's own descriptor of its spool's file: that of the
// spool has the writer's offset.
type passage struct {
	file *os.File // nil before the first piece
	try  int      // whose spool it is
}

// open returns the file, positioned where the follower stands.
func (p *passage) open(r *follower) (*os.File, error) {
	if p.file != nil && p.try == r.try {
		return p.file, nil
	}
	p.close()
	f, err := r.spool.Open()
	if err == nil {
		p.file, p.try = f, r.try
		_, err = f.Seek(r.pos, io.SeekStart)
	}
	return f, err
}

func (p *passage) close() {
	if p.file != nil {
		p.file.Close() // only read from
		p.file = nil
	}
}
