package conf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// A text is a file being written.
type text struct{ strings.Builder }

// line writes a line.
func (t *text) line(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// file returns what was written as a file.
func (t *text) file(name string) File { return File{Name: name, Data: []byte(t.String())} }

// quote returns a string as JSON has it, which TOML and YAML read in the same
// way.
func quote(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return `""` // a string cannot fail
	}
	// JSON leaves DEL as it is, and TOML does not take it so.
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\u007f`)
}

// quotes returns a list of strings as JSON, TOML and YAML have it.
func quotes(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// jsonFile returns a value as a file, two spaces deep.
func jsonFile(name string, v any) File {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		panic(err) // strings and lists of them cannot fail
	}
	return File{Name: name, Data: b.Bytes()}
}
