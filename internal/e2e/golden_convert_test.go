package e2e

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/entrepot/entrepot/internal/golden"
)

// TestGoldenConversions runs conversions.json: both sides through explain, and
// the source through convert, whose result has to ask the source's places.
func TestGoldenConversions(t *testing.T) {
	conversions, losses, err := golden.ReadConversions(kit.root)
	if err != nil {
		t.Fatal(err)
	}
	sides, made, lost := tally{file: "conversions, both sides"}, tally{file: "conversions, converted"}, tally{file: "losses"}
	for _, c := range conversions {
		from, to := writeSide(t, c.From), writeSide(t, c.To)
		sides.count(t, c.Name, append(
			explainSide(t, &c, c.From, from, "from"),
			explainSide(t, &c, c.To, to, "to")...))
		made.count(t, c.Name, convert(t, &c, from))
	}
	for _, c := range losses {
		out := filepath.Join(t.TempDir(), "out")
		code, _, errs := runEntrepot(t, nil, "convert", "--from", c.From.Format+"="+writeSide(t, c.From), "--to", c.To.Format+"="+out)
		var diffs []string
		if want := map[string]int{"refuse": 4, "warn": 0, "lossless": 0}[c.Expect]; code != want {
			diffs = append(diffs, fmt.Sprintf("exits with %d, want %d: %s", code, want, c.Why))
		}
		if told := bytes.Contains(errs, []byte("warning: ")); c.Expect == "warn" && !told {
			diffs = append(diffs, "no warning")
		}
		lost.count(t, c.Name, diffs)
	}
	printTallies(t, []tally{sides, made, lost})
}

func writeSide(t *testing.T, s golden.Side) string {
	t.Helper()
	dir := t.TempDir()
	if err := golden.WriteFiles(dir, s.Files); err != nil {
		t.Fatal(err)
	}
	return dir
}

// explainSide holds what explain says of a configuration against the places of
// a side.
func explainSide(t *testing.T, c *golden.Conversion, s golden.Side, path, side string) []string {
	t.Helper()
	var diffs []string
	for _, name := range c.References {
		_, out, _ := runEntrepot(t, nil, "explain", "--json", "--as", s.Client(), "--rules", s.Format+"="+path, name)
		a, err := golden.ParseAnswer(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, diff := range c.Compare(a, c.Endpoints[name][side]) {
			diffs = append(diffs, side+", "+name+": "+diff)
		}
	}
	return diffs
}

// convert converts the source. What looks right and is not is refused, warned
// about, or comes out otherwise, and right.
func convert(t *testing.T, c *golden.Conversion, from string) []string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	code, _, errs := runEntrepot(t, nil, "convert", "--from", c.From.Format+"="+from, "--to", c.To.Format+"="+out)
	switch {
	case code == 4 && !c.Equivalent:
		return nil
	case code != 0:
		return []string{fmt.Sprintf("exits with %d", code)}
	}
	if !c.Equivalent && bytes.Contains(errs, []byte("warning: ")) {
		return nil
	}
	return explainSide(t, c, c.To, out, "from")
}
