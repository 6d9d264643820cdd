package access

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/go-jose/go-jose/v4"
)

// A ring is a keyring whose issuer answers as the test says, after a second.
type ring struct {
	*keyring
	asked atomic.Int64

	mu   sync.Mutex // guards what follows
	keys []jose.JSONWebKey
	err  error
}

func newRing(t *testing.T, keys ...jose.JSONWebKey) *ring {
	r := &ring{keys: keys}
	r.keyring = newKeyring(func(ctx context.Context) ([]jose.JSONWebKey, error) {
		r.asked.Add(1)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.keys, r.err
	}, slog.New(slog.DiscardHandler))
	t.Cleanup(r.close)
	return r
}

func (r *ring) answers(err error, keys ...jose.JSONWebKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys, r.err = keys, err
}

func (r *ring) has(kid string) error {
	_, err := r.find(context.Background(), kid, jose.ES256)
	return err
}

func (r *ring) wantAsked(t *testing.T, want int64) {
	t.Helper()
	synctest.Wait()
	if got := r.asked.Load(); got != want {
		t.Errorf("the issuer was asked %d times, want %d", got, want)
	}
}

func TestKeyringRotation(t *testing.T) {
	_, one := pair(t, jose.ES256, "one")
	_, two := pair(t, jose.ES256, "two")
	synctest.Test(t, func(t *testing.T) {
		r := newRing(t, one)
		var wg sync.WaitGroup
		for range 100 { // at once: one asking
			wg.Go(func() {
				if err := r.has("one"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		r.wantAsked(t, 1)
		time.Sleep(time.Minute)
		r.answers(nil, one, two)
		if err := r.has("two"); err != nil { // nobody has to wait for a new key's time
			t.Error(err)
		}
		r.wantAsked(t, 2)
		for i := range 1000 { // names that somebody makes up
			if err := r.has("made up " + strconv.Itoa(i)); !errors.Is(err, errNoKey) {
				t.Fatalf("got %v", err)
			}
		}
		r.wantAsked(t, 2)
		time.Sleep(unknownEvery)
		if err := r.has("made up"); !errors.Is(err, errNoKey) {
			t.Errorf("got %v", err)
		}
		r.wantAsked(t, 3)

		r.answers(nil, two) // one is withdrawn
		time.Sleep(keysFor)
		if err := r.has("one"); err != nil {
			t.Errorf("asking holds a request up: %v", err)
		}
		r.wantAsked(t, 4)
		time.Sleep(time.Second)
		synctest.Wait() // the answer comes at the same instant
		if err := r.has("one"); !errors.Is(err, errNoKey) {
			t.Errorf("a key that was withdrawn: got %v", err)
		}
		r.wantAsked(t, 4)
	})
}

func TestKeyringWithoutIssuer(t *testing.T) {
	_, one := pair(t, jose.ES256, "one")
	synctest.Test(t, func(t *testing.T) {
		r := newRing(t)
		r.answers(errors.New("away"))
		for range 100 {
			if err := r.has("one"); !errors.Is(err, oci.ErrUnavailable) {
				t.Fatalf("got %v", err)
			}
		}
		r.wantAsked(t, 1)
		for range 10 { // twice as long each time, up to a limit
			time.Sleep(failedAtMost)
			r.has("one")
		}
		r.wantAsked(t, 11)
		r.answers(nil, one)
		time.Sleep(failedAtMost)
		if err := r.has("one"); err != nil {
			t.Fatal(err)
		}
		r.answers(errors.New("away"))
		for range 23 { // hours
			time.Sleep(time.Hour)
			if err := r.has("one"); err != nil {
				t.Fatalf("a key that is known: %v", err)
			}
			if err := r.has("two"); !errors.Is(err, oci.ErrUnavailable) {
				t.Fatalf("one that is not: %v", err)
			}
		}
		time.Sleep(time.Hour)
		if err := r.has("one"); !errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("keys of yesterday: got %v", err)
		}
	})
}

// TestKeyringHangs holds how long an issuer that says nothing holds up a
// request, and that one that gave up is not waited for.
func TestKeyringHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyring(func(ctx context.Context) ([]jose.JSONWebKey, error) { <-ctx.Done(); return nil, ctx.Err() }, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := k.find(ctx, "x", jose.ES256); !errors.Is(err, oci.ErrUnavailable) || time.Since(start) != time.Second {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
		if _, err := k.find(t.Context(), "x", jose.ES256); !errors.Is(err, oci.ErrUnavailable) || time.Since(start) != fetchTimeout {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
		time.Sleep(time.Hour)
		go k.find(context.Background(), "x", jose.ES256)
		synctest.Wait()
		k.close() // does not wait for the timeout
		if _, err := k.find(t.Context(), "x", jose.ES256); !errors.Is(err, oci.ErrUnavailable) || time.Since(start) != time.Hour+fetchTimeout {
			t.Errorf("after close: %v, %s", err, time.Since(start))
		}
	})
}

func TestFitting(t *testing.T) {
	_, es := pair(t, jose.ES256, "es")
	_, rs := pair(t, jose.RS256, "rs")
	unnamed := es
	unnamed.KeyID = ""
	for _, c := range []struct {
		keys []jose.JSONWebKey
		kid  string
		alg  jose.SignatureAlgorithm
		want int
	}{
		{[]jose.JSONWebKey{es, rs}, "es", jose.ES256, 1},
		{[]jose.JSONWebKey{es, rs}, "es", jose.RS256, 0},
		{[]jose.JSONWebKey{es, rs}, "rs", jose.RS512, 0}, // the key says RS256
		{[]jose.JSONWebKey{es, rs}, "", jose.ES256, 0},
		{[]jose.JSONWebKey{es}, "", jose.ES256, 1},
		{[]jose.JSONWebKey{unnamed}, "es", jose.ES256, 0},
		{nil, "", jose.ES256, 0},
	} {
		if got := fitting(c.keys, c.kid, c.alg); len(got) != c.want {
			t.Errorf("%q by %s: got %d keys, want %d", c.kid, c.alg, len(got), c.want)
		}
	}
}
