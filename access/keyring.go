package access

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// keysFor is how old keys may get before they are asked for again, beside
	// the requests that use them; a key that was withdrawn counts for so long.
	keysFor = 10 * time.Minute
	// keysAtMost is how old they may get while that fails.
	keysAtMost = 24 * time.Hour
	// unknownEvery is how often keys are asked for because a token names one
	// that we do not know, which anybody can write into one.
	unknownEvery = 10 * time.Second
	// failedFor is how long an issuer is left alone after it could not be
	// asked; each further time twice as long, up to failedAtMost.
	failedFor    = 5 * time.Second
	failedAtMost = time.Minute
	// fetchTimeout limits one asking, discovery and keys together.
	fetchTimeout = 5 * time.Second
)

// errNoKey says that a token is signed by a key that is not the issuer's.
var errNoKey = errors.New("the issuer has no such key")

// A keyring holds the keys of an issuer and keeps them up to date: one asking at
// a time, however many wait for it, by a goroutine that close waits for.
type keyring struct {
	fetch func(context.Context) ([]jose.JSONWebKey, error)
	log   *slog.Logger

	ctx  context.Context // ends with the keyring
	stop context.CancelFunc
	work sync.WaitGroup

	mu     sync.Mutex // guards what follows
	closed bool
	keys   []jose.JSONWebKey
	came   time.Time     // when they came; zero: never
	ended  time.Time     // when the last asking ended; zero: there was none
	failed int           // askings in a row that failed
	err    error         // of the last one
	flight chan struct{} // closed when the one under way ends; nil where there is none
}

func newKeyring(fetch func(context.Context) ([]jose.JSONWebKey, error), log *slog.Logger) *keyring {
	k := &keyring{fetch: fetch, log: log}
	k.ctx, k.stop = context.WithCancel(context.Background())
	return k
}

func (k *keyring) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.stop()
	k.work.Wait()
}

// find returns the keys with which a token can be signed that names a key and an
// algorithm; never none. It waits for the issuer where it has to, and only then.
func (k *keyring) find(ctx context.Context, kid string, alg jose.SignatureAlgorithm) ([]jose.JSONWebKey, error) {
	for {
		found, flight, err := k.look(kid, alg, time.Now())
		if found != nil || err != nil {
			return found, err
		}
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, unreachable(failedFor, ctx.Err())
		}
	}
}

// look finds keys, or what to wait for.
func (k *keyring) look(kid string, alg jose.SignatureAlgorithm, now time.Time) ([]jose.JSONWebKey, chan struct{}, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	due := k.flight == nil && !k.closed && now.Sub(k.ended) >= k.pause()
	old := now.Sub(k.came)
	if found := fitting(k.keys, kid, alg); found != nil && old < keysAtMost {
		if old >= keysFor && due {
			k.ask()
		}
		return found, nil, nil
	}
	switch {
	case due:
		k.ask()
	case k.flight != nil:
	case k.err != nil || k.closed:
		return nil, nil, unreachable(max(0, k.pause()-now.Sub(k.ended)), k.err)
	default:
		return nil, nil, errNoKey
	}
	return nil, k.flight, nil
}

// pause is how long after the last asking there may be another one.
func (k *keyring) pause() time.Duration {
	if k.failed == 0 {
		return unknownEvery
	}
	return min(failedFor<<min(k.failed-1, 10), failedAtMost)
}

// ask begins to ask the issuer. The caller holds mu.
func (k *keyring) ask() {
	k.flight = make(chan struct{})
	k.work.Go(func() {
		ctx, cancel := context.WithTimeout(k.ctx, fetchTimeout)
		defer cancel()
		keys, err := k.fetch(ctx)
		k.answered(keys, err)
	})
}

func (k *keyring) answered(keys []jose.JSONWebKey, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	first := k.came.IsZero() || k.err != nil
	k.ended, k.err = time.Now(), err
	if err == nil {
		k.keys, k.came, k.failed = keys, k.ended, 0
	} else {
		k.failed++
	}
	close(k.flight)
	k.flight = nil
	switch {
	case k.closed:
	case err != nil:
		k.log.Warn("the keys of tokens cannot be read", slog.Any("err", err), slog.Int("known", len(k.keys)))
	case first:
		k.log.Info("keys of tokens read", slog.Int("keys", len(keys)))
	}
}

// fitting returns the keys that a token can be signed with. One that names none
// is taken where there is no choice (OpenID Connect Core 1.0, section 10.1).
func fitting(keys []jose.JSONWebKey, kid string, alg jose.SignatureAlgorithm) []jose.JSONWebKey {
	if kid == "" && len(keys) != 1 {
		return nil
	}
	var found []jose.JSONWebKey
	for _, k := range keys {
		if (kid == "" || k.KeyID == kid) && fits(k, alg) {
			found = append(found, k)
		}
	}
	return found
}
