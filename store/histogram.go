package store

import (
	"maps"
	"math"
	"slices"
)

// A histogram says how many bytes were used when. It stays small however many
// blobs there are: where their times differ too much, its steps get longer.
type histogram struct {
	step  int64           // seconds
	bytes map[int64]int64 // :: time in steps → bytes
}

// maxSteps is how many steps a histogram keeps apart: 1.5 MiB of memory.
const maxSteps = 32 << 10

func newHistogram() *histogram { return &histogram{step: 1, bytes: map[int64]int64{}} }

func (h *histogram) add(used, size int64) {
	h.bytes[h.at(used)] += size
	for len(h.bytes) > maxSteps {
		h.step *= 2
		coarse := map[int64]int64{}
		for at, n := range h.bytes {
			coarse[at>>1] += n
		}
		h.bytes = coarse
	}
}

func (h *histogram) at(used int64) int64 { return floorDiv(used, h.step) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// A cut says what goes: everything that was used before a step, and some bytes
// of what was used in it.
type cut struct {
	step, at, rest int64
}

// none cuts nothing.
var none = cut{step: 1, at: math.MinInt64}

// cut returns the one that frees need bytes, and how many bytes it can free.
func (h *histogram) cut(need int64) (cut, int64) {
	freed := int64(0)
	at := slices.Sorted(maps.Keys(h.bytes))
	for _, t := range at {
		if freed >= need {
			break
		}
		if n := h.bytes[t]; freed+n >= need {
			return cut{h.step, t, need - freed}, need
		} else {
			freed += n
		}
	}
	if need <= 0 {
		return none, 0
	}
	return cut{h.step, math.MaxInt64, 0}, freed
}

// takes reports whether a blob goes, and counts it.
func (c *cut) takes(used, size int64) bool {
	switch at := floorDiv(used, c.step); {
	case at < c.at:
		return true
	case at > c.at || c.rest <= 0:
		return false
	}
	c.rest -= size
	return true
}
