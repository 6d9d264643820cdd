package oci

import (
	"context"
	"strings"
	"testing"
)

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestParseTrace(t *testing.T) {
	got, ok := ParseTrace(parent)
	if !ok || got.String() != parent || !got.Sampled {
		t.Errorf("got %v %v", got, ok)
	}
	// Other flags are not passed on: we do not know what they promise.
	if got, ok := ParseTrace(strings.TrimSuffix(parent, "01") + "fe"); !ok || got.String() != strings.TrimSuffix(parent, "01")+"00" {
		t.Errorf("other flags: got %v %v", got, ok)
	}
	if got, ok := ParseTrace("01" + parent[2:] + "-more"); !ok || got.String() != parent {
		t.Errorf("a later version: got %v %v", got, ok)
	}
	for name, s := range map[string]string{
		"empty":                "",
		"short":                parent[:54],
		"longer than it says":  parent + "-more",
		"a later one, run on":  "01" + parent[2:] + "more",
		"the version that not": "ff" + parent[2:],
		"capitals":             strings.ToUpper(parent),
		"no trace":             "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
		"no span":              "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
		"no digits":            strings.Replace(parent, "4bf", "4bg", 1),
		"other separators":     strings.ReplaceAll(parent, "-", "_"),
	} {
		if got, ok := ParseTrace(s); ok {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestTraceGoesOn(t *testing.T) {
	a := NewTrace(true)
	b := a.Child()
	if b.ID != a.ID || b.Span == a.Span || !b.Sampled {
		t.Errorf("the child of %v is %v", a, b)
	}
	if again, ok := ParseTrace(a.String()); !ok || again != a {
		t.Errorf("%v is read as %v", a, again)
	}
	if c := NewTrace(false); c.ID == a.ID || c.Sampled {
		t.Errorf("another trace: got %v after %v", c, a)
	}
	if (Trace{}).String() != "" {
		t.Error("no trace has a header")
	}
}

func TestCause(t *testing.T) {
	c := &Cause{ID: "a"}
	if got := CauseOf(WithCause(context.Background(), c)); got != c {
		t.Errorf("got %v", got)
	}
	if got := CauseOf(WithCause(context.Background(), nil)); got != nil {
		t.Errorf("none: got %v", got)
	}
}

func FuzzParseTrace(f *testing.F) {
	f.Add(parent)
	f.Add("01" + parent[2:] + "-more")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if got, ok := ParseTrace(s); ok {
			if again, ok := ParseTrace(got.String()); !ok || again != got {
				t.Errorf("%q: %v is read as %v", s, got, again)
			}
		}
	})
}
