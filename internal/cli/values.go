package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A scalar is a value of the file as it was written, a text or a number. What
// it means is decided where its line is known, so that each error has one. The
// zero value was not written.
type scalar struct {
	text string
	set  bool
}

// UnmarshalText keeps the text.
func (s *scalar) UnmarshalText(b []byte) error {
	*s = scalar{text: string(b), set: true}
	return nil
}

// parseDuration reads a time: "60s", "12h", "7d", or "0" without a unit.
func parseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is no number of days", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is no time", s)
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is less than nothing", s)
	}
	return d, nil
}

// sizeUnits are the units of a size, longest spelling first.
var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// parseSize reads a number of bytes: "200GiB", "1.5TB", or a bare number.
func parseSize(s string) (int64, error) {
	number, unit := s, 1.0
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(n) {
		return 0, fmt.Errorf("%q is no size", s)
	}
	n *= unit
	if n < 0 || n >= math.MaxInt64 {
		return 0, fmt.Errorf("the size %q is out of range", s)
	}
	return int64(n), nil
}

// A share is an amount of the disk: bytes, or a part of the whole.
type share struct {
	bytes   int64
	percent float64 // 0 to 100; where it is not 0, bytes is
}

// parseShare reads a size, or a part of the disk as "5%".
func parseShare(s string) (share, error) {
	number, ok := strings.CutSuffix(s, "%")
	if !ok {
		n, err := parseSize(s)
		return share{bytes: n}, err
	}
	p, err := strconv.ParseFloat(number, 64)
	if err != nil || !(p >= 0 && p <= 100) {
		return share{}, errors.New("a percentage is between 0% and 100%")
	}
	return share{percent: p}, nil
}

// distance is the number of letters that have to be inserted, dropped or
// changed to get from a to b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// nearest returns the candidate that s is most likely a misspelling of, "" for
// none.
func nearest(s string, candidates []string) string {
	best, limit := "", max(1, len(s)/3)
	for _, c := range candidates {
		if d := distance(s, c); d <= limit {
			best, limit = c, d-1
		}
	}
	return best
}
