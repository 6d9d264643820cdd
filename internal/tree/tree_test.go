package tree

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var strict = Options{MaxDepth: 50}

// print writes a node in one line: a scalar as what stands at its bytes.
func print(text string, n *Node) string {
	var parts []string
	switch n.Kind {
	case Table:
		for _, m := range n.Keys {
			mark := "="
			if m.Merged {
				mark = "<="
			}
			parts = append(parts, m.Name+mark+print(text, m.Value))
		}
		return "{" + strings.Join(parts, " ") + "}"
	case List:
		for _, item := range n.Items {
			parts = append(parts, print(text, item))
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
	if n.End == 0 {
		return fmt.Sprintf("%s at %d", n.Text, n.Start)
	}
	return text[n.Start:n.End]
}

func TestYAML(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"styles":   {"a: b # c\n'd': 'e''f'\n\"g\": \"h\\n\"\n", `{a=b d='e''f' g="h\n"}`},
		"runes":    {"ü: {ä: é, b: c}\n", "{ü={ä=é b=c}}"},
		"anchors":  {"a: &x !!str b\nc: *x\n", "{a=b c=b}"},
		"merge":    {"a: &x {k: v, l: w}\nb: {<<: *x, k: u}\n", "{a={k=v l=w} b={k=u l<=w}}"},
		"block":    {"a: |\n  b\nc: >-\n  d\n  e\n", "{a=b c=d e at 12}"},
		"two":      {"a: b\n  c\n", "{a=b c at 3}"},
		"mark":     {BOM + "a: b\r\nc: d\r\n", "{a=b c=d}"},
		"none":     {"# nothing\n---\n", ""},
		"many":     {"a\n---\nb\n", "a b"},
		"no value": {"a:\n", "{a=}"},
	} {
		t.Run(name, func(t *testing.T) {
			docs, lost, err := YAML([]byte(c.in), strict)
			if err != nil || lost != nil {
				t.Fatal(lost, err)
			}
			var got []string
			for _, n := range docs {
				got = append(got, print(c.in, n))
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestKinds(t *testing.T) {
	const text = `[~, a, "1", true, !!bool "true", !!bool yes, 1.5, 2020-01-01, !x y, [], {}]`
	docs, _, err := YAML([]byte(text), strict)
	if err != nil {
		t.Fatal(err)
	}
	want := []Kind{Null, String, String, Bool, Bool, Other, Number, Time, Other, List, Table}
	for i, n := range docs[0].Items {
		if n.Kind != want[i] || n.Truth != (want[i] == Bool) {
			t.Errorf("%s: is %v, %v", print(text, n), n.Kind, n.Truth)
		}
	}
}

// TestTwice holds what becomes of a key that is there twice.
func TestTwice(t *testing.T) {
	type parser func([]byte, Options) ([]*Node, []*Error, error)
	for name, c := range map[string]struct {
		parse    parser
		in, want string
		at       int
	}{
		"yaml":              {YAML, "a: {b: 1}\nc: 2\na: {d: 3}\n", "{a={d=3} c=2}", 15},
		"json":              {JSON, `{"a": [{"b": 1, "b": 2}]}`, "{a=[{b=2}]}", 16},
		"json, at the top":  {JSON, `{"a": {"b": 1, "c": 2}, "a": {"b": 3}}`, "{a={b=3 c=2}}", 24},
		"json, not a table": {JSON, `{"a": {"b": 1}, "a": 2}`, "{a=2}", 16},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := c.parse([]byte(c.in), strict)
			refused, ok := errors.AsType[*Error](err)
			if !ok || refused.Offset != c.at || !strings.Contains(refused.Text, "first in line 1") {
				t.Errorf("strictly: %v", err)
			}
			docs, lost, err := c.parse([]byte(c.in), Options{MaxDepth: 50, Lax: true})
			if err != nil || len(lost) != 1 || *lost[0] != *refused {
				t.Fatalf("lax: %v, %v; want %v", lost, err, refused)
			}
			if diff := cmp.Diff(c.want, print(c.in, docs[0])); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestJSONSingle(t *testing.T) {
	docs, _, err := JSON([]byte(" 1 {} "), strict)
	if err != nil || len(docs) != 2 {
		t.Errorf("%d values, %v", len(docs), err)
	}
	_, _, err = JSON([]byte(" 1 }"), Options{MaxDepth: 1, Single: true})
	if e, ok := errors.AsType[*Error](err); !ok || e.Offset != 3 {
		t.Errorf("single: %v", err)
	}
	if docs, _, err := JSON([]byte(BOM+" \n"), Options{MaxDepth: 1, Single: true}); len(docs) != 0 || err != nil {
		t.Errorf("nothing: %v, %v", docs, err)
	}
}

// TestBounds holds that a text made to hurt ends with an error.
func TestBounds(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 10; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	deep := strings.Repeat("[", 60) + strings.Repeat("]", 60)
	for name, c := range map[string]struct {
		in, want string
	}{
		"aliases":       {bomb, "expand to too much"},
		"cycle":         {"a: &x [*x]\n", "inside what it stands for"},
		"depth":         {deep, "more than 50 l"},
		"brackets":      {strings.Repeat("[", 2000), "too many brackets"},
		"template":      {"a: {{ b }}\n", "template"},
		"not UTF-8":     {"a: \xff\n", "UTF-8"},
		"control":       {"a: \x11\n", "U+0011"},
		"key of a kind": {"? [a]\n: b\n", "a key should be a name here"},
		"merge":         {"a: {<<: b}\n", "only a table can be merged"},
	} {
		if _, _, err := YAML([]byte(c.in), strict); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if _, _, err := JSON([]byte(deep), strict); err == nil || !strings.Contains(err.Error(), "more than 50") {
		t.Errorf("depth of JSON: %v", err)
	}
}

func TestLines(t *testing.T) {
	x := NewLines([]byte("ab\n\nc"))
	for offset, want := range [][2]int{{1, 1}, {1, 2}, {1, 3}, {2, 1}, {3, 1}, {3, 2}} {
		if line, column := x.At(offset); [2]int{line, column} != want {
			t.Errorf("%d: %d:%d, want %v", offset, line, column, want)
		}
	}
}

// hold checks what holds of every tree and error.
func hold(t *testing.T, text string, docs []*Node, err error) {
	if e, ok := errors.AsType[*Error](err); err != nil && (!ok || e.Offset < 0 || e.Offset > len(text) || e.Text == "") {
		t.Fatalf("an error without a place: %v", err)
	}
	for _, n := range docs {
		if n.Start < 0 || n.Start > len(text) || n.End > len(text) || n.End != 0 && n.End < n.Start {
			t.Fatalf("%v at %d to %d of %d", n.Kind, n.Start, n.End, len(text))
		}
		hold(t, text, n.Items, nil)
		for _, m := range n.Keys {
			if found := n.Find(m.Name); found == nil || found.Value != m.Value {
				t.Fatalf("the key %q is not found", m.Name)
			}
			hold(t, text, []*Node{m.Value}, nil)
		}
	}
}

func FuzzYAML(f *testing.F) {
	f.Add("a: &x [1, {b: c}]\nd: *x\n---\n? e\n: |\n  f\n<<: {g: ~}\n")
	f.Add(BOM + "- 'a'\r\n- \"\\u00fc\"\r\n- !!str &y b # c\n- *y\n")
	f.Fuzz(func(t *testing.T, text string) {
		docs, _, err := YAML([]byte(text), strict)
		hold(t, text, docs, err)
		if lax, _, laxErr := YAML([]byte(text), Options{MaxDepth: 50, Lax: true}); err == nil && (laxErr != nil || len(lax) != len(docs)) {
			t.Fatalf("lax refuses what strict takes: %v", laxErr)
		}
	})
}

// FuzzJSON holds besides that nothing but JSON passes.
func FuzzJSON(f *testing.F) {
	f.Add(`{"a": [1, "b\u00fc", null, {"x": true}]}`)
	f.Add(BOM + `{"a":"b", "a": {}}`)
	f.Fuzz(func(t *testing.T, text string) {
		docs, _, err := JSON([]byte(text), Options{MaxDepth: 50, Single: true, Lax: true})
		hold(t, text, docs, err)
		if len(docs) == 1 && err == nil && !json.Valid([]byte(strings.TrimPrefix(text, BOM))) {
			t.Fatal("this is no JSON")
		}
	})
}
