package golden

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// An Answer is a line of explain --json.
type Answer struct {
	As         string
	Normalized string
	Rule       struct{ Match, At string }
	Tries      []map[string]any
	Skips      []map[string]any
	Problems   []struct{ At, Level, Text, Hint string }
	Error      string
}

// ParseAnswer reads the one line that explain prints for a reference.
func ParseAnswer(stdout []byte) (Answer, error) {
	var a Answer
	if err := json.Unmarshal(stdout, &a); err != nil {
		return a, fmt.Errorf("%w: %q", err, stdout)
	}
	return a, nil
}

// Usable reports whether there is a place that can be asked.
func (a *Answer) Usable() bool {
	return slices.ContainsFunc(a.Tries, func(t map[string]any) bool { return t["blocked"] == false && t["unusable"] == nil })
}

// Compare returns how what the command printed, and its exit code, differ from
// what the case wants; nothing where they do not.
func (c *Case) Compare(code int, stdout []byte) []string {
	a, err := ParseAnswer(stdout)
	if err != nil {
		return []string{err.Error()}
	}
	var diffs []string
	differ := func(what string, got, want any) {
		if !reflect.DeepEqual(got, want) {
			diffs = append(diffs, fmt.Sprintf("%s:\n   got %v\n  want %v", what, got, want))
		}
	}
	differ("whether it exits with 0", code == 0, a.Error == "")
	if c.WantError != "" {
		if a.Error == "" || a.Usable() {
			diffs = append(diffs, fmt.Sprintf("got %v, want the error %q", a.Tries, c.WantError))
		}
	} else {
		differ("tries", like(a.Tries, c.Want), c.Want)
		if c.Normalized != "" {
			differ("normalized", a.Normalized, c.Normalized)
		}
	}
	if c.Skipped != nil {
		differ("skips", like(a.Skips, c.Skipped), c.Skipped)
	}
	if c.Matched != nil {
		differ("matched", a.Rule.Match, *c.Matched)
	}
	return diffs
}

// details are the keys of a try that a case always gives where they hold.
var details = []string{"capabilities", "httpFallback", "customCA", "header", "ns", "http", "unusable", "insecure", "blocked", "original"}

// like returns got with those keys alone that want has, and the details that
// want ought to have. The reasons for what is unusable are ours. Cases about
// short names give nothing but references.
func like(got, want []map[string]any) []map[string]any {
	var out []map[string]any
	for i, g := range got {
		m := map[string]any{}
		for key, v := range g {
			inWant := i < len(want) && want[i][key] != nil
			detailed := len(want) > 0 && want[0]["role"] != nil && slices.Contains(details, key) && v != false
			if inWant || detailed {
				m[key] = v
			}
			if inWant && key == "unusable" {
				m[key] = want[i][key]
			}
		}
		out = append(out, m)
	}
	return out
}
