package cli

import (
	"context"
	"sync"
)

// keepWarm keeps the images of [[prefetch]] in the cache until ctx ends.
func (s *server) keepWarm(ctx context.Context) {
	var work sync.WaitGroup
	for _, p := range s.cfg.prefetch {
		work.Go(func() { s.pull.proxy.KeepWarm(ctx, p.interval, p.images) })
	}
	work.Wait()
}
