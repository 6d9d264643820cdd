package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A landlord is an upstream that lets each login into its own repositories.
type landlord struct {
	*regtest.Memory
	refusal error

	mu     sync.Mutex          // guards rights and asked
	rights map[string][]string // :: login → repositories
	asked  []string            // "operation login", in order
}

func (l *landlord) admit(ctx context.Context, op string, n ref.Name) error {
	login := oci.LoginOf(ctx).Reveal()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, op+" "+login)
	if !slices.Contains(l.rights[login], n.Path) {
		return l.refusal
	}
	return nil
}

func (l *landlord) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	asked := l.asked
	l.asked = nil
	return asked
}

func (l *landlord) let(login string, repos ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rights[login] = repos
}

func (l *landlord) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	if err := l.admit(ctx, "resolve", r.Name); err != nil {
		return oci.Descriptor{}, err
	}
	return l.Memory.Resolve(ctx, r)
}

func (l *landlord) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	if err := l.admit(ctx, "manifest", r.Name); err != nil {
		return oci.Manifest{}, err
	}
	return l.Memory.Manifest(ctx, r)
}

func (l *landlord) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	if err := l.admit(ctx, "stat", n); err != nil {
		return oci.Descriptor{}, err
	}
	return l.Memory.Stat(ctx, n, d)
}

func (l *landlord) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	if err := l.admit(ctx, "blob", n); err != nil {
		return oci.Blob{}, err
	}
	return l.Memory.Blob(ctx, n, d, off)
}

// startLandlord starts a rig whose callers log in to the upstream themselves:
// "a" may read team/private, "b" library/alpine.
func startLandlord(t *testing.T, refusal error) (*rig, *landlord) {
	r := newRig(t, Config{Policy: func(_ context.Context, n ref.Name) Policy {
		return Policy{Scope: n.Host + "+passthrough", Passthrough: true, TagTTL: time.Minute}
	}})
	l := &landlord{Memory: r.up, refusal: refusal, rights: map[string][]string{"a": {other.Path}, "b": {alpine.Path}}}
	r.stop()
	r.start(l)
	return r, l
}

// requests are all ways to ask for an image, which a login may or may not have.
func requests(r *rig, login string, n ref.Name, img regtest.Built) map[string]func() error {
	ctx := oci.WithLogin(context.Background(), oci.NewSecret(login))
	return map[string]func() error{
		"tag":     func() error { _, err := r.Manifest(ctx, n.WithTag("v1")); return err },
		"digest":  func() error { _, err := r.Manifest(ctx, n.WithDigest(img.Digest)); return err },
		"head":    func() error { _, err := r.Resolve(ctx, n.WithTag("v1")); return err },
		"resolve": func() error { _, err := r.Resolve(ctx, n.WithDigest(img.Digest)); return err },
		"stat":    func() error { _, err := r.Stat(ctx, n, img.Layers[0].Digest); return err },
		"tags": func() error {
			for _, err := range r.Tags(ctx, n, "") {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"blob": func() error {
			b, err := r.Blob(ctx, n, img.Layers[0].Digest, 0)
			if err != nil {
				return err
			}
			defer b.Body.Close()
			_, err = io.Copy(io.Discard, b.Body)
			return err
		},
	}
}

// D3, D4: with a guessed digest nobody finds out what another one's image has
// brought here: not by the answer, nor by what the upstream is asked for it.
func TestEntryIsNoOracle(t *testing.T) {
	for name, refusal := range map[string]error{
		"hidden": &oci.Error{Kind: oci.ErrNotFound},
		"denied": &oci.Error{Kind: oci.ErrDenied},
	} {
		for _, login := range []string{"b", "b, who was let in", "nobody", ""} {
			for _, where := range []ref.Name{other, alpine} {
				for _, what := range []string{"tag", "digest", "head", "resolve", "stat", "blob"} {
					t.Run(fmt.Sprintf("%s: %s of %s by %q", name, what, where.Path, login), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { guess(t, refusal, login, where, what) })
					})
				}
			}
		}
	}
}

// guess asks for an image of somebody else before it is here and after it, and
// compares what comes of it.
func guess(t *testing.T, refusal error, login string, where ref.Name, what string) {
	r, l := startLandlord(t, refusal)
	login, letIn := strings.CutSuffix(login, ", who was let in")
	img := r.up.AddImage(other.Path, regtest.Image{Layers: []int64{1000}, Seed: 1}, "v1")
	own := r.up.AddImage(alpine.Path, regtest.Image{Seed: 2}, "own")
	var answers, wires []string
	for _, here := range []bool{false, true} {
		if here {
			for what, request := range requests(r, "a", other, img) {
				if err := request(); err != nil {
					t.Fatalf("a: %s: %v", what, err)
				}
				synctest.Wait()
			}
		}
		time.Sleep(time.Hour) // so that nothing is remembered
		if letIn {
			if err := requests(r, login, alpine, own)["resolve"](); err != nil {
				t.Fatal(err)
			}
		}
		l.take()
		err := requests(r, login, where, img)[what]()
		e, ok := errors.AsType[*oci.Error](err)
		if !ok {
			t.Fatalf("here %v: got %v", here, err)
		}
		answers = append(answers, fmt.Sprintf("%v %s %s", e.Kind, e.Code, e.Message))
		wires = append(wires, fmt.Sprint(l.take()))
	}
	if answers[0] != answers[1] {
		t.Errorf("not here %q, here %q", answers[0], answers[1])
	}
	// Who may read the repository is not asked for a proof of that first, so
	// that its own content costs one request: a GET, or a HEAD for bytes that
	// are here.
	if wires[0] != wires[1] && !letIn {
		t.Errorf("the upstream is asked %s where it is not here, %s where it is", wires[0], wires[1])
	}
}

// A proof lasts 15 minutes; who is refused then gets nothing any more, not even
// what is stored, and the upstream is not asked again for 30 s.
func TestEntryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, l := startLandlord(t, &oci.Error{Kind: oci.ErrDenied})
		img := r.up.AddImage(other.Path, regtest.Image{Layers: []int64{1000}}, "v1")
		digest, blob := requests(r, "a", other, img)["digest"], requests(r, "a", other, img)["blob"]
		for _, request := range []func() error{digest, blob} {
			if err := request(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		l.take()
		l.let("a")
		time.Sleep(entryTTL - time.Second)
		if err := digest(); err != nil || len(l.take()) > 0 {
			t.Errorf("a proof does not last: %v", err)
		}
		time.Sleep(time.Second)
		for range 3 {
			wantError(t, digest(), oci.ErrDenied)
			wantError(t, blob(), oci.ErrDenied)
			time.Sleep(9 * time.Second)
		}
		if asked := l.take(); !slices.Equal(asked, []string{"resolve a"}) {
			t.Errorf("the upstream was asked %v within 30 s", asked)
		}
		l.let("a", other.Path)
		time.Sleep(refusedAccess)
		if err := digest(); err != nil {
			t.Error(err)
		}
		l.let("a")
		time.Sleep(2 * time.Minute) // the tag is checked, within the life of the proof
		wantError(t, requests(r, "a", other, img)["tag"](), oci.ErrDenied)
		wantError(t, digest(), oci.ErrDenied)
	})
}

// Content is brought once for all who may read a repository; each of them has
// proved it by his own login, also while it is being brought.
func TestEntrySharesContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, l := startLandlord(t, &oci.Error{Kind: oci.ErrDenied})
		l.let("b", alpine.Path, other.Path)
		img := r.up.AddImage(other.Path, regtest.Image{Layers: []int64{3 << 20}}, "v1")
		var wg sync.WaitGroup
		for _, login := range []string{"a", "b", "a", "b"} {
			wg.Go(func() {
				if err := requests(r, login, other, img)["blob"](); err != nil {
					t.Errorf("%s: %v", login, err)
				}
			})
		}
		wg.Wait()
		if n := r.up.Count("GET", regtest.Blob); n != 1 {
			t.Errorf("%d downloads", n)
		}
		if asked := l.take(); !slices.Contains(asked, "stat a") || !slices.Contains(asked, "stat b") {
			t.Errorf("proofs: %v", asked)
		}
	})
}

// Nothing that is printed tells a login.
func TestEntryTellsNoLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := startLandlord(t, &oci.Error{Kind: oci.ErrDenied})
		const login = "Basic c2VjcmV0"
		ctx := oci.WithLogin(t.Context(), oci.NewSecret(login))
		pol, in := r.policy(ctx, alpine)
		_, err := r.Manifest(ctx, alpine.WithTag("v1"))
		for _, v := range []any{pol, in, err, in.lane(true)} {
			if s := fmt.Sprintf("%v %+v %#v", v, v, v); strings.Contains(s, "c2VjcmV0") {
				t.Errorf("it is told: %s", s)
			}
		}
	})
}
