package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The example that the documentation shows has to work.
func TestExampleFile(t *testing.T) {
	text, err := os.ReadFile("../../entrepot.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	accounts := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(accounts, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte("/etc/entrepot/htpasswd"), []byte(accounts))
	dir := t.TempDir()
	writeCertificate(t, dir)
	const mounted = "/var/run/secrets/kubernetes.io/serviceaccount/"
	for name, file := range map[string]string{"ca.crt": "cert.pem", "token": "key.pem"} {
		text = bytes.ReplaceAll(text, []byte(mounted+name), []byte(filepath.Join(dir, file)))
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), []byte("token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := parse(t, string(text)); err != nil {
		t.Errorf("as it is: %v", err)
	}
	// With every commented key taken in.
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, "#: ")
		if ok {
			line = rest
		}
		b.WriteString(line)
	}
	if _, err := parse(t, b.String()); err != nil {
		t.Errorf("with all keys: %v", err)
	}
}
