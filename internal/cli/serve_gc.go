package cli

import (
	"context"
	"errors"
	"time"

	"github.com/entrepot/entrepot/internal/web"
	"github.com/entrepot/entrepot/store"
)

// collectSoonest is how long after its start a server collects at the soonest:
// whoever restarts it often should not wait for a walk each time.
const collectSoonest = 10 * time.Minute

// collectAlways collects what was pushed and nobody needs, each interval, until
// ctx ends. The interval goes on across restarts.
func (s *server) collectAlways(ctx context.Context) {
	if s.cfg.gcInterval <= 0 {
		return
	}
	timer := time.NewTimer(s.nextCollection(ctx))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			s.collect(ctx)
			timer.Reset(s.cfg.gcInterval)
		}
	}
}

// nextCollection returns how long to wait for the first collection. A clock
// that is wrong makes that neither longer than the interval nor nothing.
func (s *server) nextCollection(ctx context.Context) time.Duration {
	at, err := s.store.Vault().CollectedAt(ctx)
	if err != nil {
		s.log.Warn("cannot read when garbage was collected last", "err", err)
	}
	soonest := min(collectSoonest, s.cfg.gcInterval)
	return min(max(time.Until(at.Add(s.cfg.gcInterval)), soonest), s.cfg.gcInterval)
}

func (s *server) collect(ctx context.Context) {
	begun := time.Now()
	got, err := s.store.Vault().Collect(ctx, store.Collection{})
	if ctx.Err() != nil {
		return // what was begun is ended by the next one
	}
	result := "done"
	log := s.log.With("manifests", got.Pins, "garbage", got.Garbage.Blobs, "removed_bytes", got.Trashed.Bytes, "freed_bytes", got.Purged.Bytes, "dur", time.Since(begun))
	switch {
	case errors.Is(err, store.ErrRefused):
		result = "refused"
		log.Error("garbage is not collected; if this is a wish, run 'entrepot store gc --force'", "err", err)
	case err != nil:
		result = "failed"
		log.Error("garbage was not collected", "err", err)
	default:
		log.Info("garbage was collected")
	}
	s.metrics.Collection(web.Collection{Result: result, Blobs: got.Trashed.Blobs, Bytes: got.Trashed.Bytes, Duration: time.Since(begun)})
}
