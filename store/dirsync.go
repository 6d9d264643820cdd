package store

import "sync"

// A dirSyncer syncs directories, and serves everybody who waits for the same
// directory with one sync. Without it, 32 commits into one directory would
// wait for 32 flushes of the disk in a row.
type dirSyncer struct {
	sync func(dir string) error

	mu      sync.Mutex
	running map[string]*syncRound // :: directory → the sync under way
	next    map[string]*syncRound // :: directory → the one after it, which newcomers join
}

type syncRound struct {
	done chan struct{} // closed when err is set
	err  error
}

func newDirSyncer(sync func(string) error) *dirSyncer {
	return &dirSyncer{sync: sync, running: map[string]*syncRound{}, next: map[string]*syncRound{}}
}

// Sync returns when a sync of dir that started after the call has ended. A
// sync that was under way already may have missed the caller's name, so it
// does not count.
func (s *dirSyncer) Sync(dir string) error {
	s.mu.Lock()
	round, joined := s.next[dir]
	if !joined {
		round = &syncRound{done: make(chan struct{})}
		s.next[dir] = round
	}
	before := s.running[dir]
	s.mu.Unlock()
	if joined {
		<-round.done
		return round.err
	}
	if before != nil {
		<-before.done
	}
	s.mu.Lock()
	delete(s.next, dir)
	s.running[dir] = round
	s.mu.Unlock()

	round.err = s.sync(dir)

	s.mu.Lock()
	if s.running[dir] == round {
		delete(s.running, dir)
	}
	s.mu.Unlock()
	close(round.done)
	return round.err
}
