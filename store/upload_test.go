package store

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

func newUpload(t testing.TB, v *Vault) oci.Upload {
	t.Helper()
	u, err := v.NewUpload(t.Context(), app, "")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func appendTo(t testing.TB, u oci.Upload, off int64, content string) {
	t.Helper()
	if n, err := u.Append(t.Context(), off, strings.NewReader(content)); err != nil || n != u.Size() {
		t.Fatalf("Append at %d = %d, %v, size %d", off, n, err, u.Size())
	}
}

func wantRange(t *testing.T, what string, err error, size int64) {
	t.Helper()
	if e, ok := errors.AsType[*oci.RangeError](err); !ok || e.Size != size {
		t.Errorf("%s: got %v, want a RangeError of %d", what, err, size)
	}
}

func TestUpload(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir, Config{}).Vault()
	u := newUpload(t, v)
	appendTo(t, u, 0, "first ")
	_, err := u.Append(t.Context(), 0, strings.NewReader("again"))
	wantRange(t, "an offset that was passed", err, 6)
	_, err = u.Append(t.Context(), 9, strings.NewReader("gap"))
	wantRange(t, "an offset ahead", err, 6)
	appendTo(t, u, 6, "second ")
	appendTo(t, u, -1, "third")
	appendTo(t, u, 18, "")
	again, err := v.Upload(t.Context(), app, u.ID())
	if err != nil || again.Size() != 18 {
		t.Fatalf("found again: %v", err)
	}
	if _, err := v.Upload(t.Context(), ref.Name{Path: "other"}, u.ID()); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("from another repository: got %v, want ErrNotFound", err)
	}
	d := digestOf("first second third")
	got, err := again.Commit(t.Context(), d)
	if err != nil || got.Size != 18 || got.Digest != d {
		t.Fatalf("Commit = %+v, %v", got, err)
	}
	if _, err := v.Stat(t.Context(), app, d); err != nil {
		t.Error(err)
	}
	_, err = u.Append(t.Context(), -1, strings.NewReader("late"))
	wantCode(t, "after Commit", err, oci.ErrNotFound, oci.CodeBlobUploadUnknown)
	_, err = v.Upload(t.Context(), app, u.ID())
	wantCode(t, "found after Commit", err, oci.ErrNotFound, oci.CodeBlobUploadUnknown)
	if list, err := os.ReadDir(filepath.Join(dir, "up")); err != nil || len(list) != 0 {
		t.Errorf("left in up: %v, %v", list, err)
	}
	if err := check(dir); err != nil {
		t.Error(err)
	}
}

func TestUploadDigests(t *testing.T) {
	v := open(t, t.TempDir(), Config{}).Vault()
	for _, alg := range []string{"", "sha256", "sha512"} {
		for _, like := range []oci.Digest{"sha256:x", "sha512:x"} {
			u, err := v.NewUpload(t.Context(), app, alg)
			if err != nil {
				t.Fatal(err)
			}
			content := "session " + alg + ", digest " + string(like)
			appendTo(t, u, 0, content)
			d := oci.FromBytes([]byte(content), like)
			if _, err := u.Commit(t.Context(), d); err != nil {
				t.Errorf("%s: %v", content, err)
			}
			if got, err := v.Stat(t.Context(), app, d); err != nil || got.Size != int64(len(content)) {
				t.Errorf("%s: %+v, %v", content, got, err)
			}
		}
	}
	if _, err := v.NewUpload(t.Context(), app, "md5"); !errors.Is(err, oci.ErrInvalid) {
		t.Errorf("md5: got %v, want ErrInvalid", err)
	}
	u := newUpload(t, v)
	appendTo(t, u, 0, "content")
	if _, err := u.Commit(t.Context(), "sha256:bad"); !errors.Is(err, oci.ErrInvalid) {
		t.Errorf("no digest: got %v, want ErrInvalid", err)
	}
	if _, err := u.Commit(t.Context(), some); !errors.Is(err, oci.ErrMismatch) {
		t.Errorf("a wrong digest: got %v, want ErrMismatch", err)
	}
	if _, err := v.Upload(t.Context(), app, u.ID()); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("the session after it: got %v, want ErrNotFound", err)
	}
	u = newUpload(t, v)
	if _, err := u.Commit(t.Context(), some); err != nil {
		t.Errorf("the empty blob: %v", err)
	}
}

// TestUploadIsOneAtATime: while a chunk is received, everything else of the
// session is refused.
func TestUploadIsOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := open(t, t.TempDir(), Config{}).Vault()
		u := newUpload(t, v)
		r, w := io.Pipe()
		done := make(chan error)
		go func() {
			_, err := u.Append(t.Context(), 0, r)
			done <- err
		}()
		if _, err := w.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, err := u.Append(t.Context(), 3, strings.NewReader("def"))
		wantRange(t, "Append", err, 3)
		_, err = u.Commit(t.Context(), digestOf("abc"))
		wantRange(t, "Commit", err, 3)
		wantRange(t, "Cancel", u.Cancel(t.Context()), 3)
		w.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := u.Cancel(t.Context()); err != nil {
			t.Error(err)
		}
		wantCode(t, "Cancel again", u.Cancel(t.Context()), oci.ErrNotFound, oci.CodeBlobUploadUnknown)
	})
}

// TestUploadKeepsWhatCame: a chunk that breaks is kept as far as it came.
func TestUploadKeepsWhatCame(t *testing.T) {
	v := open(t, t.TempDir(), Config{}).Vault()
	u := newUpload(t, v)
	n, err := u.Append(t.Context(), 0, io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if n != 3 || u.Size() != 3 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Append = %d, %v, size %d, want 3 and the reader's error", n, err, u.Size())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := u.Append(ctx, 3, strings.NewReader("xyz")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	appendTo(t, u, 3, "def")
	if _, err := u.Commit(t.Context(), digestOf("abcdef")); err != nil {
		t.Error(err)
	}
}

// TestUploadSurvives a clean restart, also of the machine, a kill and a power
// cut; after the last it may have less, but never other bytes.
func TestUploadSurvives(t *testing.T) {
	content := make([]byte, 70<<20)
	rand.Read(content)
	d := oci.FromBytes(content, "")
	dir := t.TempDir()
	s := open(t, dir, Config{boot: "a"})
	u := newUpload(t, s.Vault())
	appendTo(t, u, 0, string(content[:66<<20]))
	killed, cut := t.TempDir(), t.TempDir()
	for _, to := range []string{killed, cut} {
		if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	// The chunk that was arriving at the kill was not noted.
	f, err := os.OpenFile(filepath.Join(killed, "up", u.ID(), "data"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("more, and then the kill"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir, boot string
		want      int64
	}{
		"clean stop and reboot": {dir, "b", 66 << 20},
		"kill":                  {killed, "a", 66 << 20},
		"power cut":             {cut, "b", 64 << 20},
	} {
		v := open(t, c.dir, Config{boot: c.boot}).Vault()
		u, err := v.Upload(t.Context(), app, u.ID())
		if err != nil || u.Size() != c.want {
			t.Errorf("%s: size %d, %v, want %d", name, u.Size(), err, c.want)
			continue
		}
		appendTo(t, u, c.want, string(content[c.want:]))
		if _, err := u.Commit(t.Context(), d); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUploadIsDamaged: a session whose files do not fit is gone, and no
// session is taken from elsewhere.
func TestUploadIsDamaged(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"data cut":    func(dir string) error { return os.Truncate(dir+"/data", 1) },
		"data gone":   func(dir string) error { return os.Remove(dir + "/data") },
		"state gone":  func(dir string) error { return os.Remove(dir + "/state") },
		"state empty": func(dir string) error { return os.Truncate(dir+"/state", 0) },
		"state torn": func(dir string) error {
			b, err := os.ReadFile(dir + "/state")
			return errors.Join(err, os.Truncate(dir+"/state", int64(len(b)-10)))
		},
	} {
		dir := t.TempDir()
		s := open(t, dir, Config{})
		u := newUpload(t, s.Vault())
		appendTo(t, u, 0, "abc")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := damage(filepath.Join(dir, "up", u.ID())); err != nil {
			t.Fatal(err)
		}
		v := open(t, dir, Config{}).Vault()
		u, err := v.Upload(t.Context(), app, u.ID())
		if err != nil {
			wantCode(t, name, err, oci.ErrNotFound, oci.CodeBlobUploadUnknown)
			continue
		}
		appendTo(t, u, u.Size(), "abc"[u.Size():])
		if _, err := u.Commit(t.Context(), digestOf("abc")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
