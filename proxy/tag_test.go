package proxy

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

func TestTagFreshness(t *testing.T) {
	immutable := []*regexp.Regexp{regexp.MustCompile(`^v\d`)}
	for name, c := range map[string]struct {
		policy Policy
		later  time.Duration
		want   oci.Result
		up     string // of the second pull
	}{
		"fresh":                {Policy{TagTTL: time.Minute}, 59 * time.Second, oci.Hit, ""},
		"just stale":           {Policy{TagTTL: time.Minute}, time.Minute, oci.Revalidated, "HEAD manifest"},
		"0 asks always":        {Policy{}, 0, oci.Revalidated, "HEAD manifest"},
		"-1 asks never again":  {Policy{TagTTL: -1}, 10 * 365 * 24 * time.Hour, oci.Hit, ""},
		"immutable":            {Policy{Immutable: immutable}, time.Hour, oci.Hit, ""},
		"clock moved back":     {Policy{TagTTL: time.Minute}, -10 * 365 * 24 * time.Hour, oci.Revalidated, "HEAD manifest"},
		"clock moved forwards": {Policy{TagTTL: time.Minute}, 10 * 365 * 24 * time.Hour, oci.Revalidated, "HEAD manifest"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{Policy: func(context.Context, ref.Name) Policy { return c.policy }})
				img := r.up.AddImage(alpine.Path, regtest.Image{}, "v1")
				m, o, err := r.pull("v1")
				if err != nil || !bytes.Equal(m.Raw, img.Raw) {
					t.Fatalf("first pull: %q, %v", m.Raw, err)
				}
				wantResult(t, o, oci.Miss)
				r.wantWire("GET manifest")
				r.up.ResetLog()
				synctest.Wait()

				r.moveClock(c.later)
				m, o, err = r.pull("v1")
				if err != nil || !bytes.Equal(m.Raw, img.Raw) {
					t.Fatalf("second pull: %q, %v", m.Raw, err)
				}
				wantResult(t, o, c.want)
				if c.up == "" {
					r.wantWire()
				} else {
					r.wantWire(c.up)
				}
			})
		})
	}
}

// Whoever got a manifest by tag gets it by its digest too, at once: while it is
// being stored the upstream is not asked for it a second time.
func TestTagIsThereByDigest(t *testing.T) {
	r := newRig(t, Config{})
	for i := range 50 {
		n := ref.Name{Host: alpine.Host, Path: fmt.Sprint("library/x", i)}
		img := r.up.AddImage(n.Path, regtest.Image{Seed: uint64(i)}, "1")
		if _, err := r.Manifest(t.Context(), n.WithTag("1")); err != nil {
			t.Fatal(err)
		}
		if m, err := r.Manifest(t.Context(), n.WithDigest(img.Digest)); err != nil || !bytes.Equal(m.Raw, img.Raw) {
			t.Errorf("by digest: %q, %v", m.Raw, err)
		}
		if d, err := r.Resolve(t.Context(), n.WithDigest(img.Digest)); err != nil || d.Digest != img.Digest {
			t.Errorf("by digest: %v, %v", d, err)
		}
	}
	if n := len(r.up.Log()); n != 50 {
		t.Errorf("the upstream was asked %d times for 50 manifests", n)
	}
	p := r.Proxy
	r.restart()
	if n := len(p.arriving.m); n != 0 {
		t.Errorf("%d manifests are still arriving", n)
	}
}

// A HEAD of a tag costs a HEAD, and its GET then only what is missing.
func TestTagHeadThenGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		img := r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
		d, err := r.Resolve(t.Context(), alpine.WithTag("3.20"))
		if err != nil || d.Digest != img.Digest || d.Size != int64(len(img.Raw)) || d.MediaType != img.MediaType {
			t.Fatalf("got %+v, %v", d, err)
		}
		r.wantWire("HEAD manifest")
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		r.wantWire("HEAD manifest", "GET manifest")
		if got := r.up.Log()[1].Ref; got != string(img.Digest) {
			t.Errorf("the manifest was fetched as %s, want its digest", got)
		}
	})
}

func TestTagCoalesces(t *testing.T) {
	for _, name := range []string{"cold", "stale"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
				if name == "stale" {
					if _, _, err := r.pull("3.20"); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Hour)
				}
				r.up.On(regtest.Match{}, regtest.Trouble{Delay: 500 * time.Millisecond})
				got := results(t, 100, func(ctx context.Context) error {
					_, err := r.Resolve(ctx, alpine.WithTag("3.20"))
					return err
				})
				if got[oci.Coalesced] != 99 {
					t.Errorf("answered as %v, want 99 coalesced", got)
				}
				if n := r.up.Count("HEAD", regtest.Manifest); n != 1 {
					t.Errorf("%d HEADs, want one", n)
				}
			})
		})
	}
}

// The first tag of a repository costs one GET, however many ask for it. From
// then on a tag costs a HEAD, and a GET only where its manifest is not there.
func TestTagFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		img := r.up.AddImage(alpine.Path, regtest.Image{}, "3.20", "latest")
		r.up.On(regtest.Match{Times: 1}, regtest.Trouble{Delay: time.Second})
		got := results(t, 100, func(ctx context.Context) error {
			m, err := r.Manifest(ctx, alpine.WithTag("3.20"))
			if err == nil && !bytes.Equal(m.Raw, img.Raw) {
				t.Errorf("got %q", m.Raw)
			}
			return err
		})
		if got[oci.Miss] != 1 || got[oci.Coalesced] != 99 {
			t.Errorf("answered as %v, want 1 miss and 99 coalesced", got)
		}
		r.wantWire("GET manifest")
		synctest.Wait()
		if _, _, err := r.pull("latest"); err != nil {
			t.Error(err)
		}
		r.wantWire("GET manifest", "HEAD manifest")
		if d, err := r.Resolve(t.Context(), alpine.WithTag("3.20")); err != nil || d.Digest != img.Digest {
			t.Errorf("got %s, %v", d.Digest, err)
		}
		r.wantWire("GET manifest", "HEAD manifest")
	})
}

// A first tag that is not there is a remembered "no" as any other.
func TestTagFirstMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
		for _, want := range []oci.Result{oci.Miss, oci.Negative} {
			_, o, err := r.pull("none")
			wantError(t, err, oci.ErrNotFound)
			wantResult(t, o, want)
		}
		r.wantWire("GET manifest")
	})
}

func TestTagMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.up.AddImage(alpine.Path, regtest.Image{Seed: 1}, "3.20")
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		second := r.up.AddImage(alpine.Path, regtest.Image{Seed: 2}, "3.20")
		time.Sleep(time.Hour)
		r.up.ResetLog()
		m, o, err := r.pull("3.20")
		if err != nil || m.Digest != second.Digest {
			t.Fatalf("got %s, %v, want the new %s", m.Digest, err, second.Digest)
		}
		wantResult(t, o, oci.Miss)
		r.wantWire("HEAD manifest", "GET manifest")

		// Moving back to what is stored costs no GET.
		r.up.AddImage(alpine.Path, regtest.Image{Seed: 1}, "3.20")
		time.Sleep(time.Hour)
		r.up.ResetLog()
		if m, _, err := r.pull("3.20"); err != nil || m.Digest == second.Digest {
			t.Errorf("got %s, %v, want the first one again", m.Digest, err)
		}
		r.wantWire("HEAD manifest")
	})
}

// The tag moves between HEAD and GET, and what it pointed at is gone.
func TestTagMovesBetweenHeadAndGet(t *testing.T) {
	for _, name := range []string{"cold", "stale"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				known := map[string]string{"cold": "3.19", "stale": "3.20"}[name]
				r.up.AddImage(alpine.Path, regtest.Image{Seed: 1}, known)
				if _, _, err := r.pull(known); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				short := r.up.AddImage(alpine.Path, regtest.Image{Seed: 2}, "3.20")
				var last regtest.Built
				r.up.ResetLog()
				r.up.On(regtest.Match{Method: "HEAD", Times: 1}, regtest.Trouble{After: func() {
					r.up.Delete(alpine.Path, string(short.Digest))
					last = r.up.AddImage(alpine.Path, regtest.Image{Seed: 3}, "3.20")
				}})
				for range 2 {
					m, _, err := r.pull("3.20")
					if err != nil || m.Digest != last.Digest {
						t.Fatalf("got %s, %v, want %s", m.Digest, err, last.Digest)
					}
					synctest.Wait()
				}
				r.wantWire("HEAD manifest", "GET manifest", "GET manifest")
			})
		})
	}
}

// The old image is answered while the new one cannot be fetched.
func TestTagMovesToWhatCannotBeFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		old := r.up.AddImage(alpine.Path, regtest.Image{Seed: 1}, "3.20")
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		next := r.up.AddImage(alpine.Path, regtest.Image{Seed: 2}, "3.20")
		rule := r.up.On(regtest.Match{Method: "GET"}, regtest.Down())
		m, o, err := r.pull("3.20")
		if err != nil || m.Digest != old.Digest {
			t.Fatalf("got %s, %v, want the old %s", m.Digest, err, old.Digest)
		}
		wantResult(t, o, oci.Stale)
		rule.Remove()
		time.Sleep(time.Hour)
		if m, _, err := r.pull("3.20"); err != nil || m.Digest != next.Digest {
			t.Errorf("got %s, %v, want the new %s", m.Digest, err, next.Digest)
		}
	})
}

func TestTagSurvivesRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Policy: ttl(time.Hour)})
		r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if _, _, err := r.pull("3.20"); err != nil { // revalidates, and that is written too
			t.Fatal(err)
		}
		r.restart()
		r.up.ResetLog()
		time.Sleep(50 * time.Minute)
		_, o, err := r.pull("3.20")
		if err != nil || o.Age != 50*time.Minute {
			t.Errorf("age %v, %v, want 50m", o.Age, err)
		}
		wantResult(t, o, oci.Hit)
		r.wantWire()
	})
}
