package remote

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
)

var limitTestKey = limitKey{"example.com:443", KindManifest}

func (l *limits) size(k limitKey) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.window(k).size)
}

// TestLimitsFindTheirSize holds that a window widens with each answer, is
// halved once by those of one round that were too much, and grows slowly then.
func TestLimitsFindTheirSize(t *testing.T) {
	l := limits{most: 32}
	for range 100 {
		l.answered(limitTestKey, l.epoch(limitTestKey), http.StatusOK)
	}
	if got := l.size(limitTestKey); got != 32 {
		t.Errorf("after 100 answers %d at once, want 32", got)
	}
	epoch := l.epoch(limitTestKey)
	for range 10 { // of requests that were sent together
		l.answered(limitTestKey, epoch, http.StatusTooManyRequests)
	}
	if got := l.size(limitTestKey); got != 16 {
		t.Errorf("after a round of 429 %d at once, want 16", got)
	}
	for range 16 {
		l.answered(limitTestKey, l.epoch(limitTestKey), http.StatusOK)
	}
	if got := l.size(limitTestKey); got != 16 && got != 17 {
		t.Errorf("a round later %d at once, want one more", got)
	}
	for range 10 {
		l.answered(limitTestKey, l.epoch(limitTestKey), http.StatusServiceUnavailable)
	}
	if got := l.size(limitTestKey); got != 1 {
		t.Errorf("after ten rounds of 503 %d at once, want 1", got)
	}
	if got := l.size(limitKey{"other.example.com:443", KindManifest}); got != firstWindow {
		t.Errorf("another host has %d, want %d", got, firstWindow)
	}
}

func TestLimitsLetInInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limits{most: 1}
		leave, err := l.enter(t.Context(), limitTestKey)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var gaveUp error
		var order []int
		go func() { _, gaveUp = l.enter(ctx, limitTestKey) }()
		synctest.Wait()
		for i := range 3 {
			go func() {
				leave, err := l.enter(t.Context(), limitTestKey)
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, i)
				leave()
			}()
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		leave()
		synctest.Wait()
		if !errors.Is(gaveUp, context.Canceled) || len(order) != 3 || order[0] != 0 || order[2] != 2 {
			t.Errorf("gave up: %v, order %v", gaveUp, order)
		}
	})
}
