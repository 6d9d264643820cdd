package document

import (
	"strings"
	"testing"
)

func TestThrough(t *testing.T) {
	ab, err := ParseMapping("ab.json", []byte(`{"istio/proxyv2:1.2": "b.example/x/proxyv2:1.2"}`))
	if err != nil {
		t.Fatal(err)
	}
	bc := Mapping{"b.example/x/proxyv2:1.2": "c.example/proxyv2:1.2"}
	ac := Mapping{"docker.io/istio/proxyv2:1.2": "c.example/proxyv2:1.2"}
	for _, c := range []struct {
		name, written, want string
		maps                []Mapping
	}{
		{"none", "nginx", "nginx", nil},
		{"one", "istio/proxyv2:1.2", "b.example/x/proxyv2:1.2", []Mapping{ab}},
		{"another spelling", "index.docker.io/istio/proxyv2:1.2", "b.example/x/proxyv2:1.2", []Mapping{ab}},
		{"chained by the names in between", "istio/proxyv2:1.2", "c.example/proxyv2:1.2", []Mapping{ab, bc}},
		{"chained by the original names", "istio/proxyv2:1.2", "c.example/proxyv2:1.2", []Mapping{ab, ac}},
		{"another tag", "istio/proxyv2:1.3", "istio/proxyv2:1.3", []Mapping{ab, bc}},
	} {
		if got := Through(c.written, c.maps...); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestMappingRefused(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:                    "m.json: a relocation mapping is one JSON object of strings",
		`{"a": 1}`:              "m.json:1: a: this is a number and should be a reference",
		"{\n\"a\": \"b c\"}":    "m.json:2: this is no relocation mapping: ",
		`{"a": "b", "a": "c"}`:  `m.json:1: key "a" is here twice, first in line 1`,
		`{"a": "b"} {"a": "b"}`: "m.json: a relocation mapping is one JSON object of strings",
		`{"a": "b",}`:           "m.json:1: a key in quotes should be here",
	} {
		if _, err := ParseMapping("m.json", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s…", text, err, want)
		}
	}
}
