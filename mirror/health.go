package mirror

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// A place that failed is asked last for a while, so that a dead mirror does
// not cost its timeout in each request. It is never left out: it may be the
// only one that has an image.
const (
	unwellFor    = 30 * time.Second
	maxUnwellFor = 5 * time.Minute // however long it asks to be left alone
)

// note remembers how a place did. What it lacks or refuses is no failure.
func (m *Mirror) note(ctx context.Context, label string, err error) {
	if !errors.Is(err, oci.ErrUnavailable) && !errors.Is(err, oci.ErrMismatch) {
		m.health.forget(label)
		return
	}
	pause := unwellFor
	if e, ok := errors.AsType[*oci.Error](err); ok {
		pause = min(max(pause, e.RetryAfter), maxUnwellFor)
	}
	if !m.health.has(label) {
		m.log.LogAttrs(ctx, slog.LevelInfo, "mirror place is unwell", slog.String("endpoint", label), slog.Duration("dur", pause), slog.Any("err", err))
	}
	m.health.add(label, pause)
}

// Forget forgets how places did: one whose configuration has changed may be
// well again. Who gave wrong bytes stays known.
func (m *Mirror) Forget() { m.health.clear() }

// wellFirst returns the indexes of the places in the order in which they are
// asked. When the time of a place is over, one request tries it: of a hundred
// that come at once not all shall wait for it.
func (m *Mirror) wellFirst(places []Place) []int {
	order := make([]int, 0, len(places))
	var unwell []int
	for i, p := range places {
		if len(places) > 1 && m.health.probe(p.Label, unwellFor) {
			unwell = append(unwell, i)
		} else {
			order = append(order, i)
		}
	}
	return append(order, unwell...)
}

// maxMemory bounds a memory: labels may come from names that clients choose.
const maxMemory = 1024

// A memory remembers keys for a time. The zero value is ready. It is safe for
// concurrent use.
type memory[K comparable] struct {
	mu    sync.Mutex      // guards until
	until map[K]time.Time // :: key → when it is forgotten
}

func (m *memory[K]) has(k K) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Before(m.until[k])
}

// probe is like has, but where the time has run out, only the first caller is
// told so; for the others it begins anew.
func (m *memory[K]) probe(k K, d time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	until, ok := m.until[k]
	if now := time.Now(); ok && !now.Before(until) {
		m.until[k] = now.Add(d)
		return false
	}
	return ok
}

func (m *memory[K]) add(k K, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.until == nil {
		m.until = map[K]time.Time{}
	}
	now := time.Now()
	if len(m.until) >= maxMemory {
		for k, until := range m.until {
			if !now.Before(until) {
				delete(m.until, k)
			}
		}
	}
	if len(m.until) >= maxMemory {
		clear(m.until) // a flood; what was worth remembering will show itself again
	}
	m.until[k] = now.Add(d)
}

func (m *memory[K]) forget(k K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.until, k)
}

func (m *memory[K]) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.until)
}
