package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

var other = ref.Name{Host: "docker.io", Path: "team/private"}

// scoped gives each upstream a scope with credentials, so that nothing is
// public.
func scoped(_ context.Context, n ref.Name) Policy {
	return Policy{Scope: n.Host + "|user", TagTTL: time.Minute}
}

func anonymous(_ context.Context, n ref.Name) Policy {
	return Policy{Scope: n.Host, Anonymous: true, TagTTL: time.Minute}
}

// Bytes that are here are read by another repository only when the upstream
// says that it has them.
func TestBlobRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Policy: scoped})
		c := regtest.Random(1, mib)
		l := r.up.AddBlob(other.Path, c)
		if _, _, err := r.read(other, l.Digest); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.up.ResetLog()

		got, _, err := r.read(alpine, l.Digest) // has it not
		if e := wantError(t, err, oci.ErrNotFound); e.Code != oci.CodeBlobUnknown || got != nil {
			t.Errorf("got %d bytes, code %q", len(got), e.Code)
		}
		_, err = r.Stat(t.Context(), alpine, l.Digest)
		wantError(t, err, oci.ErrNotFound)
		r.wantWire("HEAD blob") // the second is remembered

		time.Sleep(time.Minute)
		r.up.AddBlob(alpine.Path, c) // has it now
		for range 2 {
			got, _, err = r.read(alpine, l.Digest)
			if err != nil || !bytes.Equal(got, content(c)) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		}
		r.wantWire("HEAD blob", "HEAD blob") // no second download, no second proof

		r.restart()
		r.up.On(regtest.Match{}, regtest.Down())
		if _, _, err = r.read(alpine, l.Digest); err != nil {
			t.Errorf("the right was not kept: %v", err)
		}
	})
}

// While one repository's fill runs, another one's client reads along only after
// the proof, and never fetches the bytes again.
func TestBlobRightDuringFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Policy: scoped})
		c := regtest.Random(1, mib)
		l := r.up.AddBlob(other.Path, c)
		rule := r.up.On(regtest.Match{Method: "GET"}, regtest.Trouble{End: regtest.EndStall, At: mib / 2})
		first := make(chan error)
		go func() { _, _, err := r.read(other, l.Digest); first <- err }()
		<-rule.Reached()
		_, _, err := r.read(alpine, l.Digest)
		wantError(t, err, oci.ErrNotFound)

		time.Sleep(time.Minute)
		r.up.AddBlob(alpine.Path, c)
		second := make(chan error)
		var o oci.Outcome
		go func() {
			var err error
			_, o, err = r.read(alpine, l.Digest)
			second <- err
		}()
		synctest.Wait()
		rule.Release()
		if err := <-first; err != nil {
			t.Error(err)
		}
		if err := <-second; err != nil {
			t.Error(err)
		}
		wantResult(t, o, oci.Coalesced)
		r.wantWire("GET blob", "HEAD blob", "HEAD blob")
	})
}

// The fill of a repository that may not have the blob fails; that is not the
// answer for one that may.
func TestBlobOthersRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Policy: scoped})
		c := regtest.Random(1, 1000)
		l := r.up.AddBlob(other.Path, c)
		rule := r.up.On(regtest.Match{Repo: alpine.Path}, regtest.Trouble{Hold: true})
		refused := make(chan error)
		go func() { _, _, err := r.read(alpine, l.Digest); refused <- err }()
		<-rule.Reached()
		good := make(chan error)
		go func() {
			got, _, err := r.read(other, l.Digest)
			if !bytes.Equal(got, content(c)) {
				t.Errorf("got %d bytes", len(got))
			}
			good <- err
		}()
		synctest.Wait()
		rule.Release()
		wantError(t, <-refused, oci.ErrNotFound)
		if err := <-good; err != nil {
			t.Error(err)
		}
	})
}

// What was fetched without credentials is public in its upstream, and in no
// other scope.
func TestBlobPublic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Policy: anonymous})
		c := regtest.Random(1, 1000)
		l := r.up.AddBlob(other.Path, c)
		if _, _, err := r.read(other, l.Digest); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, o, err := r.read(alpine, l.Digest)
		if err != nil {
			t.Fatal(err)
		}
		wantResult(t, o, oci.Hit)
		r.wantWire("GET blob")

		quay := ref.Name{Host: "quay.io", Path: "a/b"}
		_, _, err = r.read(quay, l.Digest)
		wantError(t, err, oci.ErrNotFound)

		r.cfg.Policy = scoped
		r.restart()
		_, _, err = r.read(alpine, l.Digest)
		wantError(t, err, oci.ErrNotFound)
	})
}

func TestStat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Policy: scoped})
		img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{1000}}, "3.20")
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		r.up.ResetLog()
		layer := img.Layers[0]
		stat := func(want oci.Result) {
			t.Helper()
			var o oci.Outcome
			d, err := r.Stat(oci.WithOutcome(t.Context(), &o), alpine, layer.Digest)
			if err != nil || d.Size != layer.Size || d.Digest != layer.Digest {
				t.Errorf("got %+v, %v", d, err)
			}
			wantResult(t, o, want)
		}
		stat(oci.Miss) // a manifest that names it gives no right
		stat(oci.Hit)  // proved, and the manifest says the size
		r.wantWire("HEAD blob")
		if _, _, err := r.read(alpine, layer.Digest); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.up.On(regtest.Match{}, regtest.Down())
		stat(oci.Hit)
		r.restart()
		stat(oci.Hit)
		r.wantWire("HEAD blob", "GET blob")
	})
}

func TestStatDuringFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Policy: scoped})
		l := r.up.AddBlob(alpine.Path, regtest.Random(1, mib))
		rule := r.up.On(regtest.Match{Method: "GET"}, regtest.Trouble{End: regtest.EndStall, At: 10})
		b := r.open(t.Context(), l.Digest)
		<-rule.Reached()
		d, err := r.Stat(t.Context(), alpine, l.Digest)
		if err != nil || d.Size != mib {
			t.Errorf("got %+v, %v", d, err)
		}
		r.wantWire("GET blob")
		rule.Release()
		b.Body.Close()
	})
}

// Files vanish or are cut short under us: a miss, and never a short body
// (reliability 5, row 20; distribution#2367, distribution#4191: 200, a length,
// and nothing).
func TestBlobDamaged(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"deleted": os.Remove,
		"emptied": func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{Policy: scoped})
				img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{mib}}, "3.20")
				l := img.Layers[0]
				pull := func() {
					t.Helper()
					if m, _, err := r.pull("3.20"); err != nil || !bytes.Equal(m.Raw, img.Raw) {
						t.Fatalf("manifest %q, %v", m.Raw, err)
					}
					got, _, err := r.read(alpine, l.Digest)
					if err != nil || oci.FromBytes(got, "") != l.Digest {
						t.Fatalf("got %d bytes, %v", len(got), err)
					}
					synctest.Wait()
				}
				pull()
				err := filepath.WalkDir(filepath.Join(r.dir, "c", "b"), func(path string, e os.DirEntry, err error) error {
					if err != nil || e.IsDir() {
						return err
					}
					return damage(path)
				})
				if err != nil {
					t.Fatal(err)
				}
				r.restart() // manifests may be in memory
				r.up.ResetLog()
				pull()
				r.wantWire("GET manifest", "GET blob")
			})
		})
	}
}

// The manifest says another size than the upstream: no answer at all is better
// than one whose length somebody must find wrong.
func TestBlobClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Policy: scoped})
		l := r.up.AddBlob(alpine.Path, regtest.Random(1, mib))
		doc := fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q,"size":2},"layers":[{"digest":%q,"size":%d}]}`,
			oci.FromBytes([]byte("{}"), ""), l.Digest, l.Size-1)
		r.up.AddManifest(alpine.Path, oci.TypeImageManifest, []byte(doc), "lies")
		if _, _, err := r.pull("lies"); err != nil {
			t.Fatal(err)
		}
		rule := r.up.On(regtest.Match{}, regtest.Trouble{End: regtest.EndStall, At: 10})
		_, err := r.Blob(t.Context(), alpine, l.Digest, 0)
		wantError(t, err, oci.ErrMismatch)
		rule.Release()
		synctest.Wait()
		if !r.isStored(l.Digest) { // it is the manifest that is wrong
			t.Error("the blob is not stored")
		}
	})
}

func TestBlobOfUnknownSize(t *testing.T) {
	for _, size := range []int64{0, 1000, mib} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				c := regtest.Random(1, size)
				l := r.up.AddBlob(alpine.Path, c)
				rule := r.up.On(regtest.Match{}, regtest.Trouble{NoSize: true, End: regtest.EndStall, At: size})
				go func() {
					synctest.Wait()
					if size <= holdBack {
						rule.Release()
					}
				}()
				b := r.open(t.Context(), l.Digest)
				_, seekable := b.Body.(io.Seeker)
				if small := size <= holdBack; small != seekable || small != (b.Size == size) || !small && b.Size != -1 {
					t.Errorf("size %d, seekable %v", b.Size, seekable)
				}
				rule.Release()
				if got, err := io.ReadAll(b.Body); err != nil || !bytes.Equal(got, content(c)) {
					t.Errorf("got %d bytes, %v", len(got), err)
				}
			})
		})
	}
}

// Ranges of every kind, while the blob is being filled and after: the same
// answers, and one request upstream.
func TestBlobRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		c := regtest.Random(1, mib)
		l := r.up.AddBlob(alpine.Path, c)
		want := content(c)
		drip := regtest.Drip{Bytes: 8 << 10, Every: 10 * time.Millisecond}
		r.up.On(regtest.Match{}, regtest.Trouble{Drip: drip})
		ranges := []string{"", "bytes=0-", "bytes=0-0", "bytes=500000-500999", "bytes=-10", "bytes=1048575-", "bytes=900000-",
			"bytes=1048576-", "bytes=10-19,1000000-1000009,-5"}
		for round := range 2 {
			done := make(chan bool)
			for _, h := range ranges {
				go func() {
					defer func() { done <- true }()
					req := httptest.NewRequest("GET", "/", nil)
					if h != "" {
						req.Header.Set("Range", h)
					}
					got, reference := httptest.NewRecorder(), httptest.NewRecorder()
					reference.Header().Set("Content-Type", "application/octet-stream")
					http.ServeContent(reference, req, "", time.Time{}, bytes.NewReader(want))
					b, err := r.Blob(t.Context(), alpine, l.Digest, 0)
					if err != nil {
						t.Error(err)
						return
					}
					defer b.Body.Close()
					got.Header().Set("Content-Type", "application/octet-stream")
					http.ServeContent(got, req, "", time.Time{}, b.Body.(io.ReadSeeker))
					if got.Code != reference.Code || got.Header().Get("Content-Range") != reference.Header().Get("Content-Range") {
						t.Errorf("round %d, %q: %d %v", round, h, got.Code, got.Header())
					}
					same := bytes.Equal(got.Body.Bytes(), reference.Body.Bytes())
					if strings.Contains(h, ",") { // the boundary is random
						same = got.Body.Len() == reference.Body.Len()
					}
					if !same {
						t.Errorf("round %d, %q: %d other bytes", round, h, got.Body.Len())
					}
				}()
			}
			for range ranges {
				<-done
			}
			synctest.Wait()
		}
		r.wantWire("GET blob")
	})
}
