package cli

import (
	"bytes"
	"strings"
	"testing"
)

// TestNoArguments holds that a command without the arguments that it needs says
// so.
func TestNoArguments(t *testing.T) {
	for _, name := range []string{"map", "copy", "relocate", "load", "verify", "inspect", "rewrite", "explain", "check"} {
		var out, errs bytes.Buffer
		code := Main(t.Context(), Env{Args: []string{name}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }})
		if code != exitUsage || !strings.Contains(errs.String(), "arg(s)") || !strings.Contains(errs.String(), "hint: see 'entrepot "+name+" --help'") {
			t.Errorf("%s: exit code %d, want %d: %s", name, code, exitUsage, errs.String())
		}
	}
}
