package store

import (
	"sync"
	"testing"
)

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory[int](10, func(v int) int64 { return int64(v) })
	for i := range 100 {
		m.put(i, 3)
	}
	if len(m.entries) != 3 || m.used != 9 {
		t.Errorf("%d entries of %d, want 3 of 9", len(m.entries), m.used)
	}
	m.put(1000, 11)
	if _, ok := m.get(1000); ok || m.used > 10 {
		t.Error("a value larger than the memory was kept")
	}
	m.put(99, 1) // replaces
	if m.used != 7 {
		t.Errorf("used is %d, want 7", m.used)
	}
	for i := range 100 {
		m.forget(i)
	}
	if m.used != 0 || m.oldest != nil || len(m.entries) != 0 {
		t.Errorf("after forgetting all: used %d, %d entries", m.used, len(m.entries))
	}
}

func TestMemoryKeepsWhatIsUsed(t *testing.T) {
	m := newMemory[int, int](4, nil)
	m.put(0, 0)
	for i := 1; i < 100; i++ {
		if _, ok := m.get(0); !ok {
			t.Fatalf("0 was evicted when %d came", i)
		}
		m.put(i, i)
	}
	if _, ok := m.get(50); ok {
		t.Error("50 is still there")
	}
}

// TestMemoryRefusesWhatIsOld plays the race that add is made for.
func TestMemoryRefusesWhatIsOld(t *testing.T) {
	m := newMemory[string, int](4, nil)
	epoch := m.now()
	m.forget("tag") // a writer, after it wrote 2
	m.add("tag", 1, epoch)
	if v, ok := m.get("tag"); ok {
		t.Errorf("got %d, which was read before the write", v)
	}
	m.add("tag", 2, m.now())
	if v, ok := m.get("tag"); !ok || v != 2 {
		t.Errorf("got %d, %v, want 2", v, ok)
	}
}

func TestMemoryConcurrently(t *testing.T) {
	m := newMemory[int, int](8, nil)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				k := (i * (g + 1)) % 20
				switch i % 4 {
				case 0:
					m.put(k, k)
				case 1:
					m.add(k, k, m.now())
				case 2:
					m.forget(k)
				}
				if v, ok := m.get(k); ok && v != k {
					t.Errorf("got %d for %d", v, k)
				}
			}
		})
	}
	wg.Wait()
	if m.used != int64(len(m.entries)) || m.used > 8 {
		t.Errorf("used %d, %d entries", m.used, len(m.entries))
	}
}
