package cli

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// canaryLimit is how long the store may take to show that it can be read.
const canaryLimit = 2 * time.Second

// errStuck says that a canary has not come back.
var errStuck = errors.New("the store does not answer")

// A canary goes where requests go, so that a server which would let all of them
// hang says so. It is safe for concurrent use.
type canary struct {
	check func() error
	limit time.Duration

	mu  sync.Mutex // guards out
	out *flown     // the one that is not back yet, nil for none
}

// A flown is a canary on its way.
type flown struct {
	back chan struct{} // closed when it is
	err  error         // valid then
}

// ask returns what the check returns, or errStuck where it takes too long. There
// is one check at a time, however many ask: one that hangs, as on a disk that has
// gone, is waited for by nobody for ever, and not joined by others.
func (c *canary) ask() error {
	c.mu.Lock()
	f := c.out
	if f == nil {
		f = &flown{back: make(chan struct{})}
		c.out = f
		go func() {
			f.err = c.check()
			c.mu.Lock()
			c.out = nil
			c.mu.Unlock()
			close(f.back)
		}()
	}
	c.mu.Unlock()
	t := time.NewTimer(c.limit)
	defer t.Stop()
	select {
	case <-f.back:
		return f.err
	case <-t.C:
		return errStuck
	}
}

// readStore reads the store as a hit does: its directory, and under the locks
// that requests take.
func (s *server) readStore() error {
	_, err := os.ReadFile(filepath.Join(s.cfg.storage, "FORMAT"))
	s.store.Usage()
	s.pull.proxy.Filling()
	return err
}
