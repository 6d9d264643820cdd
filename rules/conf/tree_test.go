package conf

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// print writes a tree in one line, with the positions of its keys.
func print(n *node) string {
	switch n.kind {
	case isTable:
		var parts []string
		for _, m := range n.keys {
			parts = append(parts, fmt.Sprintf("%s@%d:%d=%s", m.name, m.at.line, m.at.column, print(m.value)))
		}
		return "{" + strings.Join(parts, " ") + "}"
	case isList:
		var parts []string
		for _, item := range n.items {
			parts = append(parts, print(item))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case isNull:
		return "null"
	default:
		return fmt.Sprintf("%s@%d:%d", n.text, n.at.line, n.at.column)
	}
}

// parsers are the three languages, with the text in which depth nests lists.
var parsers = []struct {
	name  string
	parse func([]byte) (*node, error)
	open  string
}{
	{"toml", parseTOML, "a = "},
	{"json", parseJSON, ""},
	{"yaml", firstYAML, ""},
}

func firstYAML(data []byte) (*node, error) {
	docs, err := parseYAML(data)
	if err != nil || len(docs) == 0 {
		return &node{kind: isNull}, err
	}
	return docs[0], nil
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, lang, in, want string }{
		{"table", "toml", "a = 1\n[t]\nb = \"x\"\n", `{a@1:1=1@1:5 t@2:2={b@3:1=x@3:5}}`},
		{"crlf", "toml", "a = 1\r\n[t]\r\nb = \"x\"\r\n", `{a@1:1=1@1:5 t@2:2={b@3:1=x@3:5}}`},
		{"bytes not runes", "toml", "\"ü\" = 'ü' # ü\nb = ['ü', 2]\n", `{ü@1:1=ü@1:8 b@2:1=[ü@2:6 2@2:12]}`},
		{"list of tables", "toml", "[[r]]\na = true\n[[r.m]]\nb = 2\n[[r]]\n", `{r@1:3=[{a@2:1=true@2:5 m@3:5=[{b@4:1=2@4:5}]} {}]}`},
		{"dotted", "toml", "a.b.\"c.d\" = 1\na.b.e = 2\n", `{a@1:1={b@1:3={c.d@1:5=1@1:13 e@2:5=2@2:9}}}`},
		{"inline", "toml", "t = { a = 1, b = [true] }\n", `{t@1:1={a@1:7=1@1:11 b@1:14=[true@1:19]}}`},
		{"late parent", "toml", "[a.b]\nx = 1\n[a]\ny = 2\n", `{a@1:2={b@1:4={x@2:1=1@2:5} y@4:1=2@4:5}}`},
		{"json", "json", "{\"a\": [1, \"b\\u00fc\", null],\n \"t\": {\"x\": true}}", `{a@1:2=[1@1:8 bü@1:11 null] t@2:2={x@2:8=true@2:13}}`},
		{"json empty", "json", " \n", `null`},
		{"yaml", "yaml", "a: [1, b]\nt:\n  x: true\n  \"y\": ~\n", `{a@1:1=[1@1:5 b@1:8] t@2:1={x@3:3=true@3:6 y@4:3=null}}`},
		{"yaml runes", "yaml", "ü: {ä: é, b: c}\n", `{ü@1:1={ä@1:6=é@1:10 b@1:14=c@1:17}}`},
		{"yaml anchors", "yaml", "a: &x {k: v}\nb: *x\nc: {<<: *x, l: w}\n", `{a@1:1={k@1:8=v@1:11} b@2:1={k@1:8=v@1:11} c@3:1={l@3:13=w@3:16 k@1:8=v@1:11}}`},
	} {
		t.Run(c.lang+" "+c.name, func(t *testing.T) {
			n, err := parserOf(c.lang)([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, print(n)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func parserOf(lang string) func([]byte) (*node, error) {
	for _, p := range parsers {
		if p.name == lang {
			return p.parse
		}
	}
	panic("no parser for " + lang)
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ name, lang, in, at string }{
		{"twice", "toml", "a = 1\nb = 2\na = 3\n", "3:1"},
		{"table twice", "toml", "[a]\nx = 1\n[b]\n[a]\n", "4:2"},
		{"inline is closed", "toml", "a = {b = 1}\n[a.c]\n", "2:2"},
		{"list and table", "toml", "[[a]]\n[a]\n", "2:2"},
		{"dotted into header", "toml", "[a.b]\nx = 1\n[a]\nb.y = 2\n", "4:1"},
		{"header of dotted", "toml", "[a]\nb.y = 2\n[a.b]\n", "3:4"},
		{"number", "toml", "a = 1__0\n", "1:6"},
		{"date", "toml", "a = 2020-13-40\n", "1:5"},
		{"not closed", "toml", "a = 1\nb = \"x\n", "2:7"},
		{"no value", "toml", "a = 1\n  b = \n", "2:7"},
		{"not UTF-8", "toml", "a = 1\nb = \"\xff\"\n", "2:6"},
		{"truncated", "toml", "[[registry]]\nlocation = \"quay", "2:16"},
		{"twice", "json", "{\"a\": 1,\n \"a\": 2}", "2:2"},
		{"comma", "json", "{\"a\": 1,\n}", "2:1"},
		{"comment", "json", "{\n // x\n}", "2:2"},
		{"truncated", "json", "{\"a\": [1,", "1:10"},
		{"number", "json", "{\"a\": 01}", "1:7"},
		{"more", "json", "{}\n{}", "2:1"},
		{"control character", "json", "{\"a\": \"\x01\"}", "1:7"},
		{"twice", "yaml", "a: 1\nb: 2\n'a': 3\n", "3:1"},
		{"tab", "yaml", "a:\n\t- b\n", "2:1"},
		{"not closed", "yaml", "a: [1,\n", "2:1"},
		{"control character", "yaml", "a: b\nc: \x11\n", "2:4"},
		{"carriage return alone", "yaml", "?\r\"\r", "1:2"},
		{"line separator", "yaml", "a: b\u2028c\n", "1:5"},
		{"merge of a string", "yaml", "a: {<<: b}\n", "1:9"},
	} {
		t.Run(c.lang+" "+c.name, func(t *testing.T) {
			n, err := parserOf(c.lang)([]byte(c.in))
			if err == nil {
				t.Fatalf("parsed as %s, want an error", print(n))
			}
			se, ok := errors.AsType[*syntaxError](err)
			if !ok {
				t.Fatalf("%v is no *syntaxError", err)
			}
			if got := fmt.Sprintf("%d:%d", se.at.line, se.at.column); got != c.at {
				t.Errorf("at %s, want %s: %v", got, c.at, err)
			}
		})
	}
}

// TestParseHostile holds that text made to hurt ends with an error, soon.
func TestParseHostile(t *testing.T) {
	for _, p := range parsers {
		for _, n := range []int{maxDepth + 2, 1 << 20} {
			deep := p.open + strings.Repeat("[", n) + strings.Repeat("]", n)
			if p.name == "yaml" && n < 1<<20 {
				deep = strings.Repeat("[", 20*maxDepth)
			}
			if _, err := p.parse([]byte(deep)); err == nil {
				t.Errorf("%s: %d lists inside each other are taken", p.name, n)
			}
		}
	}
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	if _, err := firstYAML([]byte(bomb.String())); err == nil {
		t.Error("aliases that expand to 9^12 nodes are taken")
	}
	if _, err := firstYAML([]byte("a: &a [*a]\n")); err == nil {
		t.Error("an alias inside itself is taken")
	}
}

// TestParseLarge holds that many keys do not take the square of their number.
func TestParseLarge(t *testing.T) {
	var toml, js, yml bytes.Buffer
	js.WriteString("{")
	for i := range 30_000 {
		fmt.Fprintf(&toml, "key%d = %d\n", i, i)
		fmt.Fprintf(&js, "\"key%d\": %d,\n", i, i)
		fmt.Fprintf(&yml, "key%d: %d\n", i, i)
	}
	js.WriteString("\"last\": 1}")
	for _, c := range []struct {
		lang string
		text []byte
	}{{"toml", toml.Bytes()}, {"json", js.Bytes()}, {"yaml", yml.Bytes()}} {
		n, err := parserOf(c.lang)(c.text)
		if err != nil {
			t.Fatalf("%s: %v", c.lang, err)
		}
		if m := n.exact("key29999"); m == nil || m.at.line < 30_000 {
			t.Errorf("%s: the last key is %+v", c.lang, m)
		}
	}
}
