package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// read reads a blob to its end.
func read(ctx context.Context, r oci.Reader, d oci.Digest, off int64) ([]byte, error) {
	b, err := r.Blob(ctx, name, d, off)
	if err != nil {
		return nil, err
	}
	defer b.Body.Close()
	return io.ReadAll(b.Body)
}

// sent returns how many bytes of a blob each place gave.
func (w *world) sent(d oci.Digest) []int64 {
	var n []int64
	for _, p := range w.places {
		n = append(n, p.BlobBytes(d))
	}
	return n
}

func sum(n []int64) (s int64) {
	for _, x := range n {
		s += x
	}
	return s
}

// TestOtherSize holds that a place with another total is left out for good,
// and that its error is ErrMismatch where there is no other.
func TestOtherSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("original")
		d := w.AddBlob(path, regtest.Random(1, 1000)).Digest
		w.places[0].On(regtest.Match{Times: 1}, regtest.Trouble{End: regtest.EndCut, At: 10})
		w.all(0, regtest.Trouble{Extra: -1})
		got, err := read(t.Context(), w, d, 0)
		if len(got) != 10 || !errors.Is(err, oci.ErrMismatch) {
			t.Errorf("%d bytes, %v, want 10 and a mismatch", len(got), err)
		}
		expect(t, "one more request", w.asked(), []int{2})
	})
}

// TestNeverSilentlyShort holds that an end that comes too early is no end, and
// that a body that is too long is cut.
func TestNeverSilentlyShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("original")
		d := w.AddBlob(path, regtest.Random(1, 1000)).Digest
		w.all(0, regtest.Trouble{End: regtest.EndCut, At: 0, Short: true})
		if got, err := read(t.Context(), w, d, 0); len(got) != 0 || !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("%d bytes, %v, want an error", len(got), err)
		}
	})
	long := readerFunc(func(context.Context, int64) (oci.Blob, error) {
		return oci.Blob{Descriptor: oci.Descriptor{Size: 5}, Body: io.NopCloser(bytes.NewReader([]byte("1234567")))}, nil
	})
	m := mirror.New(mirror.Config{Plan: planOf(long)})
	if got, err := read(t.Context(), m, regtest.DigestOf(regtest.Bytes([]byte("12345"))), 0); string(got) != "12345" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestWrongOffset holds that a place that starts elsewhere than asked is
// never believed.
func TestWrongOffset(t *testing.T) {
	wrong := readerFunc(func(_ context.Context, off int64) (oci.Blob, error) {
		return oci.Blob{Descriptor: oci.Descriptor{Size: 5}, Offset: 0, Body: io.NopCloser(bytes.NewReader([]byte("12345")))}, nil
	})
	m := mirror.New(mirror.Config{Plan: planOf(wrong)})
	if got, err := read(t.Context(), m, regtest.DigestOf(regtest.Bytes(nil)), 3); !errors.Is(err, oci.ErrMismatch) {
		t.Errorf("%q, %v, want a mismatch", got, err)
	}
}

// A readerFunc opens blobs and does nothing else.
type readerFunc func(ctx context.Context, off int64) (oci.Blob, error)

func (f readerFunc) Resolve(context.Context, ref.Ref) (oci.Descriptor, error) {
	return oci.Descriptor{}, oci.ErrUnsupported
}
func (f readerFunc) Manifest(context.Context, ref.Ref) (oci.Manifest, error) {
	return oci.Manifest{}, oci.ErrUnsupported
}
func (f readerFunc) Stat(context.Context, ref.Name, oci.Digest) (oci.Descriptor, error) {
	return oci.Descriptor{}, oci.ErrUnsupported
}
func (f readerFunc) Blob(ctx context.Context, _ ref.Name, _ oci.Digest, off int64) (oci.Blob, error) {
	return f(ctx, off)
}

func planOf(r oci.Reader) func(mirror.Op, ref.Ref) ([]mirror.Place, error) {
	return func(_ mirror.Op, asked ref.Ref) ([]mirror.Place, error) {
		return []mirror.Place{{Reader: r, Name: asked.Name, Label: "x", Tags: true}}, nil
	}
}

// TestUnknownSize holds that a blob whose size nobody knows ends where its
// place says so, and that one that is learnt later holds.
func TestUnknownSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("original")
		d := w.AddBlob(path, regtest.Random(1, 1000)).Digest
		w.places[0].On(regtest.Match{Times: 1}, regtest.Trouble{NoSize: true})
		b, err := w.Blob(t.Context(), name, d, 0)
		if err != nil || b.Size != -1 {
			t.Fatalf("size %d, %v, want -1", b.Size, err)
		}
		if err := iotest.TestReader(b.Body, mustRead(regtest.Random(1, 1000))); err != nil {
			t.Error(err)
		}
		b.Body.Close()
		w.places[0].On(regtest.Match{Times: 1}, regtest.Trouble{NoSize: true, End: regtest.EndCut, At: 10})
		w.places[0].On(regtest.Match{Times: 1}, regtest.Trouble{End: regtest.EndCut, At: 10, Short: true})
		if got, err := read(t.Context(), w, d, 0); err != nil || len(got) != 1000 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

func mustRead(c regtest.Content) []byte {
	b, _ := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	return b
}

// TestBodyEnds holds what ends a reading that waits.
func TestBodyEnds(t *testing.T) {
	gone := errors.New("gone")
	for label, end := range map[string]func(cancel context.CancelCauseFunc, body io.Closer){
		"the context": func(cancel context.CancelCauseFunc, _ io.Closer) { cancel(gone) },
		"Close":       func(_ context.CancelCauseFunc, body io.Closer) { body.Close() },
	} {
		for _, trouble := range []regtest.Trouble{{End: regtest.EndStall, At: 10}, {End: regtest.EndCut, At: 10}} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld("original")
				d := w.AddBlob(path, regtest.Random(1, 1000)).Digest
				w.places[0].On(regtest.Match{Times: 1}, trouble)
				w.all(0, regtest.Trouble{Hold: true}) // for the stream that goes on
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				b, err := w.Blob(ctx, name, d, 0)
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error)
				go func() {
					_, err := io.Copy(io.Discard, b.Body)
					done <- err
				}()
				synctest.Wait()
				end(cancel, b.Body)
				err = <-done
				if err == nil || label == "the context" && !errors.Is(err, gone) {
					t.Errorf("%s: %v", label, err)
				}
				b.Body.Close()
				if _, err := b.Body.Read(make([]byte, 1)); err == nil {
					t.Errorf("%s: reading goes on after the end", label)
				}
				w.places[0].Idle()
			})
		}
	}
}

func TestReadsAsAReaderShould(t *testing.T) {
	w := newWorld("a", "original")
	d := w.AddBlob(path, regtest.Random(1, 5000)).Digest
	w.places[0].On(regtest.Match{Times: 3}, regtest.Trouble{End: regtest.EndCut, At: 700})
	b, err := w.Blob(t.Context(), name, d, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Body.Close()
	if err := iotest.TestReader(b.Body, mustRead(regtest.Random(1, 5000))); err != nil {
		t.Error(err)
	}
}
