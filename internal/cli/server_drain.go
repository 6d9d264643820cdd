package cli

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// defaultDrainDelay is how long requests are still taken after a signal where
// somebody watches whether we are ready: so long a cluster may take to tell all
// its nodes that an endpoint has gone.
const defaultDrainDelay = 5 * time.Second

// byProbes is the drainDelay of a configuration that has none: the default where
// somebody probes, else none.
const byProbes time.Duration = -1

// ready says whether requests can be served. The state of upstreams has no
// part in it: what is stored is served without them.
func (s *server) ready() error {
	s.probes.Add(1)
	if s.draining.Load() {
		return errors.New("shutting down")
	}
	return s.canary.ask()
}

// drainDelay is how long requests are still taken after a signal.
func (s *server) drainDelay() time.Duration {
	if s.cfg.drainDelay != byProbes {
		return s.cfg.drainDelay
	}
	if s.probes.Load() < 2 { // a probe comes again and again, once is somebody who looks
		return 0
	}
	return min(defaultDrainDelay, s.cfg.drain/3)
}

// lettingGo ends the connection behind an answer where others wait for it, and
// where we shut down, so that the client's next request goes elsewhere.
func (s *server) lettingGo(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.draining.Load() || s.gate.Crowded() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// shutdown stops from the outside in: readiness first, so that whoever sends
// clients here stops; then, where there was a signal and so nothing is broken,
// after a delay in which they learn of it, the listener, the requests, the fills,
// the store. The admin address lasts until then, so that the draining can be
// watched.
func (s *server) shutdown(signalled bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.drain) // the caller's has ended
	defer cancel()
	s.draining.Store(true)
	s.notify.stopping()
	delay := s.drainDelay()
	s.log.Info("shutting down", "drain", s.cfg.drain, "delay", delay)
	if signalled {
		wait(ctx, delay)
	}
	if err := s.registry.Shutdown(ctx); err != nil {
		s.log.Warn("requests were cut", "err", err)
		s.registry.Close()
	}
	if err := s.pull.close(ctx); err != nil {
		s.log.Warn("downloads were cut; they go on after the next start", "err", err)
	}
	s.background.Wait()
	s.lodge.door().Close()
	s.admin.Close()
	return errors.Join(s.store.Close(), s.archives.close())
}

// wait waits for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
