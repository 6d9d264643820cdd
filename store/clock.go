package store

import (
	"context"
	"encoding/json"
	"sync"
	"time"
)

// A useClock reads the times of last use that blobs have. They were written by
// the machine's clock, which may have been wrong then and may be wrong now: so it
// notices jumps of the clock, and after one counts ages from there. What was
// used before the jump is never taken for years old because of it.
type useClock struct {
	mu     sync.Mutex // guards all below
	loaded bool
	state  clockState
	wall   time.Time // when it was looked at last, and
	steady time.Time // what the monotonic clock said then
}

// clockState is what survives a restart.
type clockState struct {
	Jump time.Time `json:"jump,omitzero"` // the time after the last jump; zero for none
	Last time.Time `json:"last,omitzero"` // when the clock was last looked at
}

const clockKey Key = "x/clock"

// Jumps of less than an hour are those of daylight and of leap; a machine that
// was off for a month may have lost its battery.
const (
	jumpWhileRunning = time.Hour
	jumpWhileOff     = 30 * 24 * time.Hour
)

// A reading is the clock at one time.
type reading struct {
	now, jump time.Time
}

// look reads the clock, and notices a jump.
func (u *useClock) look(ctx context.Context, s *Store) reading {
	u.mu.Lock()
	defer u.mu.Unlock()
	now, steady := s.cfg.now().Round(0), time.Now()
	jumped := false
	if !u.loaded {
		u.loaded = true
		if b, err := s.readRecord(ctx, clockKey); err == nil && json.Unmarshal(b, &u.state) == nil && !u.state.Last.IsZero() {
			away := now.Sub(u.state.Last)
			jumped = away < -jumpWhileRunning || away > jumpWhileOff
		}
	} else {
		jumped = (now.Sub(u.wall) - steady.Sub(u.steady)).Abs() > jumpWhileRunning
	}
	u.wall, u.steady = now, steady
	if jumped {
		s.log.Warn("the clock has jumped: ages in the cache count from now on", "now", now, "before", u.state.Last)
		u.state.Jump = now
	}
	if jumped || now.Sub(u.state.Last).Abs() > jumpWhileRunning {
		u.state.Last = now
		if b, err := json.Marshal(u.state); err == nil && !s.attached() {
			if err := s.putLoose(clockKey, b); err != nil {
				s.log.Debug("cannot note the time", "err", err)
			}
		}
	}
	return reading{now, u.state.Jump}
}

// used returns the time of last use in the order of uses: a time in the future
// was written before the last jump.
func (r reading) used(t time.Time) time.Time {
	if !t.After(r.now) {
		return t
	}
	if !r.jump.IsZero() && !r.jump.After(r.now) {
		return r.jump.Add(-time.Second)
	}
	return r.now
}

// age returns how long ago something was used that was used at t, as far as
// that can be known.
func (r reading) age(t time.Time) time.Duration {
	t = r.used(t)
	if t.Before(r.jump) {
		t = r.jump
	}
	return r.now.Sub(t)
}
