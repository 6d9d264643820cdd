package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// A socket takes what it is given as the server's ResponseWriter does, and
// counts what was no file.
type socket struct {
	bytes.Buffer
	other int
}

func (s *socket) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if ok {
		_, ok = limited.R.(*os.File)
	}
	if !ok {
		s.other++
	}
	return io.Copy(struct{ io.Writer }{&s.Buffer}, r)
}

// A socket gets a growing blob out of its file, and the last 64 KiB only when
// the digest is right.
func TestPassHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		c := regtest.Random(1, mib)
		l := r.up.AddBlob(alpine.Path, c)
		rule := r.up.On(regtest.Match{}, regtest.Trouble{
			Drip: regtest.Drip{Bytes: 100 << 10, Every: time.Second}, End: regtest.EndStall, At: mib - 1})
		b := r.open(t.Context(), l.Digest)
		var to socket
		sent := int64(-1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			var err error
			if sent, err = b.Body.(io.WriterTo).WriteTo(&to); err != nil {
				t.Error(err)
			}
		}()
		<-rule.Reached()
		synctest.Wait()
		if sent != -1 || to.Len() != mib-holdBack {
			t.Errorf("got %d bytes before the digest is known, want %d", to.Len(), mib-holdBack)
		}
		rule.Release()
		<-done
		if sent != mib || !bytes.Equal(to.Bytes(), content(c)) {
			t.Errorf("got %d bytes in the end, and was told %d", to.Len(), sent)
		}
		if to.other > 0 {
			t.Errorf("%d pieces were no file", to.other)
		}
	})
}

// Wrong content is passed as it is read: never to its end, and never the
// continuation of other bytes.
func TestPassMismatch(t *testing.T) {
	for name, c := range map[string]struct {
		flip  regtest.Flip
		other regtest.Trouble
		want  error
	}{
		"given bytes are right": {regtest.FlipLast, regtest.Trouble{}, nil},
		"given bytes are wrong": {regtest.FlipFirst, regtest.Trouble{}, oci.ErrMismatch},
		"both wrong":            {regtest.FlipLast, regtest.Trouble{Flip: regtest.FlipLast}, oci.ErrMismatch},
		"the other is down":     {regtest.FlipLast, regtest.Down(), oci.ErrMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				up := &two{Memory: r.up, other: regtest.NewMemory("other", r.up.Shelf)}
				r.stop()
				r.start(up)
				body := regtest.Random(1, mib)
				l := r.up.AddBlob(alpine.Path, body)
				lastByte := r.up.On(regtest.Match{}, regtest.Trouble{Flip: c.flip, End: regtest.EndStall, At: mib - 1})
				up.other.On(regtest.Match{}, c.other)
				go func() { // once the socket has got all that it may have
					synctest.Wait()
					lastByte.Release()
				}()
				b := r.open(t.Context(), l.Digest)
				var to socket
				sent, err := b.Body.(io.WriterTo).WriteTo(&to)
				if !errors.Is(err, c.want) || sent != int64(to.Len()) {
					t.Errorf("got %d bytes, was told %d and %v, want %v", to.Len(), sent, err, c.want)
				}
				if err == nil && !bytes.Equal(to.Bytes(), content(body)) {
					t.Errorf("got %d bytes, not the right ones", to.Len())
				}
				if err != nil && to.Len() > mib-holdBack {
					t.Errorf("got %d bytes of a wrong blob", to.Len())
				}
			})
		})
	}
}

// A client that leaves, or does not take it, ends the passing and not the fill.
func TestPassEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := r.up.AddBlob(alpine.Path, regtest.Random(1, mib))
		rule := r.up.On(regtest.Match{}, regtest.Trouble{End: regtest.EndStall, At: mib / 2})
		ctx, leave := context.WithCancel(t.Context())
		leaving, refusing := r.open(ctx, l.Digest), r.open(t.Context(), l.Digest)
		refusal := errors.New("broken pipe")
		if _, err := refusing.Body.(io.WriterTo).WriteTo(refuser{refusal}); !errors.Is(err, refusal) {
			t.Errorf("got %v, want what the writer said", err)
		}
		go func() {
			synctest.Wait()
			leave()
		}()
		if n, err := leaving.Body.(io.WriterTo).WriteTo(io.Discard); n != mib/2 || !errors.Is(err, context.Canceled) {
			t.Errorf("got %d bytes and %v, want half and the end of the context", n, err)
		}
		rule.Release()
		synctest.Wait()
		if !r.isStored(l.Digest) {
			t.Error("the blob is not stored")
		}
	})
}

type refuser struct{ err error }

func (r refuser) Write([]byte) (int, error) { return 0, r.err }
