package store

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/entrepot/entrepot/oci"
)

const (
	scrubWait = time.Minute    // after the start, which others have more need of
	scrubEach = 24 * time.Hour // from the start of one round to that of the next, at least
	// checkEach is how many times blobs are opened for one that is read again
	// out of turn: what is asked for most is checked most.
	checkEach = 1000
)

// scrubState says how far the scrub has come.
type scrubState struct {
	Since time.Time `json:"since"` // start of the round
	After string    `json:"after"` // key of the last blob; "" where the round has ended
}

const scrubKey Key = "x/scrub"

// sampled notes that a blob was opened.
func (c *Cache) sampled(d oci.Digest) {
	if c.store.checks == nil || c.opens.Add(1)%checkEach != 0 {
		return
	}
	select {
	case c.store.checks <- oci.Digest(strings.Clone(string(d))):
	default: // others wait already
	}
}

// checkAlways reads blobs that are asked for until ctx ends.
func (s *Store) checkAlways(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-s.checks:
			if k, err := cacheBlobKey(d); err == nil {
				r := verifyRun{Verification: Verification{Rate: s.cfg.Scrub}, s: s, ctx: ctx, buf: make([]byte, 256<<10)}
				if err := r.blob(k); err != nil && ctx.Err() == nil {
					s.log.Warn("cannot check a blob", "digest", d, "err", err)
				}
			}
		}
	}
}

// scrubAlways verifies all blobs, round after round, until ctx ends. A round goes
// on after a restart where it was.
func (s *Store) scrubAlways(ctx context.Context) {
	state := scrubState{}
	if b, err := s.readRecord(ctx, scrubKey); err == nil {
		_ = json.Unmarshal(b, &state) // a damaged one begins again
	}
	if sleep(ctx, scrubWait) != nil {
		return
	}
	for {
		if now := s.cfg.now(); state.After == "" {
			if wait := scrubEach - now.Sub(state.Since); wait > 0 && wait <= scrubEach {
				if sleep(ctx, wait) != nil {
					return
				}
			}
			state.Since = s.cfg.now()
		}
		if s.scrub(ctx, &state) != nil {
			return
		}
	}
}

// scrub goes on with a round. Its error is that of ctx: what else may happen is
// logged, and the round begins again later.
func (s *Store) scrub(ctx context.Context, state *scrubState) error {
	noted := time.Now()
	got, err := s.Verify(ctx, Verification{Rate: s.cfg.Scrub, After: state.After, Each: func(c Checked) {
		if !c.Missing {
			state.After = string(c.Key)
		}
		if time.Since(noted) > time.Minute {
			noted = time.Now()
			s.noteScrub(state)
		}
	}})
	if ctx.Err() != nil {
		s.noteScrub(state)
		return ctx.Err()
	}
	if err != nil {
		s.log.Error("cannot verify what is stored", "err", err)
	} else {
		s.log.Info("verified what is stored", "blobs", got.Blobs, "bytes", got.Bytes, "dropped", got.Dropped, "damaged", got.Damaged, "missing", got.Missing)
	}
	state.After = ""
	s.noteScrub(state)
	return nil
}

func (s *Store) noteScrub(state *scrubState) {
	b, err := json.Marshal(state)
	if err == nil {
		err = s.putLoose(scrubKey, b)
	}
	if err != nil {
		s.log.Debug("cannot note how far the scrub has come", "err", err)
	}
}

// sleep waits, and returns the error of ctx where that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
