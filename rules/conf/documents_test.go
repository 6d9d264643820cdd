package conf

import (
	"fmt"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/rules"
)

// readOne reads a text in a format as a client does; "" is the native reading.
func readOne(t *testing.T, format, client, text string) (rules.Config, rules.Dialect) {
	t.Helper()
	d := rules.Native()
	if client != "" {
		var err error
		if d, err = rules.DialectOf(client); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := Read(Source{Format: format, Name: "f", Text: []byte(text)}, d)
	if err != nil {
		t.Fatal(err)
	}
	return cfg, d
}

// planOne returns the addresses that are tried for a reference, or "error: …".
func planOne(t *testing.T, cfg rules.Config, d rules.Dialect, name string) string {
	t.Helper()
	r, err := d.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	plan := rules.New(cfg).Plan(r, rules.Pull, d)
	if plan.Err != nil {
		return "error: " + plan.Err.Error()
	}
	var urls []string
	for i := range plan.Tries {
		try := &plan.Tries[i]
		url := try.URL()
		switch {
		case url == "":
			url = "unusable"
		case try.Blocked:
			url = "blocked"
		case try.Insecure():
			url = "insecure " + url
		}
		urls = append(urls, url)
	}
	return strings.Join(urls, "\n")
}

// A problemCase is a text that something is wrong with.
type problemCase struct {
	name, text string
	native     string // a line of problemLines, or the beginning of one
	refused    bool   // the client refuses it all
}

// checkProblems holds what is said about each text: natively that text, and the
// same place by the client.
func checkProblems(t *testing.T, format, client string, cases []problemCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg, _ := readOne(t, format, "", c.text)
			if got := problemLines(cfg); !strings.Contains("\n"+got, "\n"+c.native) {
				t.Errorf("natively:\n%swant:\n%s", got, c.native)
			}
			cfg, _ = readOne(t, format, client, c.text)
			if (cfg.Refused != nil) != c.refused {
				t.Errorf("client: refused because of %v, want %v", cfg.Refused, c.refused)
			}
			_, place, _ := strings.Cut(c.native, " ")
			place, _, _ = strings.Cut(place, " ")
			if got := problemLines(cfg); !strings.Contains(got, " "+place+" ") {
				t.Errorf("client:\n%swant one at %s", got, place)
			}
		})
	}
}

// problemLines returns a line for each problem: level, place and text.
func problemLines(cfg rules.Config) string {
	var b strings.Builder
	for i := range cfg.Problems {
		p := &cfg.Problems[i]
		fmt.Fprintf(&b, "%s %s:%d:%d: %s\n", p.Level, p.At.File, p.At.Line, p.At.Column, p.Text)
	}
	return b.String()
}
