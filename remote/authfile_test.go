package remote

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func writeFile(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAuthFile: an entry is for its host, with its port, and for nothing else.
// CVE-2021-41092, CVE-2019-10214, CVE-2021-32690.
func TestAuthFile(t *testing.T) {
	file := writeFile(t, filepath.Join(t.TempDir(), "auth.json"), `{"auths":{
		"registry.example.com": {"auth":"`+b64("host:p1")+`"},
		"registry.example.com/team": {"auth":"`+b64("team:p2")+`"},
		"registry.example.com/team/app": {"username":"app","password":"p:3"},
		"registry.example.com:5000": {"auth":"`+b64("port:p4\x00\x00")+`"},
		"https://index.docker.io/v1/": {"auth":"`+b64("hub:p5")+`"},
		"https://old.example.com/v1/": {"auth":"`+b64("old:p6")+`"},
		"empty.example.com": {},
		"token.example.com": {"auth":"`+b64("<token>:x")+`","identitytoken":"id"},
		"bearer.example.com": {"registrytoken":"reg"},
		"other.example.com/only": {"auth":"`+b64("only:p7")+`"},
		"colon.example.com": {"auth":"`+b64("c:a:b:c")+`"},
		"Upper.Example.com": {"auth":"`+b64("upper:p8")+`"}
	}}`, 0o600)
	creds := AuthFile(file)
	for _, tt := range []struct{ host, path, want string }{
		{"registry.example.com", "team/app", "app/p:3//"},
		{"registry.example.com", "team/app/deeper", "app/p:3//"},
		{"registry.example.com", "team/apple", "team/p2//"},
		{"registry.example.com", "team", "team/p2//"},
		{"registry.example.com", "teams/x", "host/p1//"},
		{"registry.example.com", "", "host/p1//"},
		{"registry.example.com:5000", "team/app", "port/p4//"},
		{"registry.example.com:443", "team/app", "///"},
		{"sub.registry.example.com", "x", "///"},
		{"example.com", "x", "///"},
		{"docker.io", "library/alpine", "hub/p5//"},
		{"registry-1.docker.io", "library/alpine", "hub/p5//"},
		{"old.example.com", "x", "old/p6//"},
		{"empty.example.com", "x", "///"},
		{"token.example.com", "x", "<token>/x/id/"},
		{"bearer.example.com", "x", "///reg"},
		{"other.example.com", "x", "///"}, // a bare host never gets another path's credential
		{"other.example.com", "only/x", "only/p7//"},
		{"colon.example.com", "x", "c/a:b:c//"},
		{"upper.example.com", "x", "upper/p8//"},
		{"unknown.example.com", "x", "///"},
	} {
		c, err := creds.Credential(t.Context(), tt.host, tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join([]string{c.Username, c.Password.Reveal(), c.IdentityToken.Reveal(), c.RegistryToken.Reveal()}, "/"); got != tt.want {
			t.Errorf("%s/%s: %q, want %q", tt.host, tt.path, got, tt.want)
		}
	}
}

func TestAuthFileErrorsTellNoSecrets(t *testing.T) {
	for _, text := range []string{
		`{"auths":{"x":{"auth":"` + b64(canary) + `"}}}`, `{"auths":{"x":{"auth":"` + canary + `!"}}}`, `{"auths":{"x":{"password":["` + canary + `"]}}}`,
		canary, `{"auths":"` + canary + `"}`, `{"credHelpers":{"x":"../../bin/sh"}}`, `{"credsStore":"/bin/sh"}`,
	} {
		_, err := AuthFile(writeFile(t, filepath.Join(t.TempDir(), "f"), text, 0o600)).Credential(t.Context(), "x", "")
		if err == nil || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), b64(canary)) {
			t.Errorf("%s: error %v", text, err)
		}
	}
	_, err := AuthFile(filepath.Join(t.TempDir(), "none")).Credential(t.Context(), "x", "")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestAuthFileIsReadAgain(t *testing.T) {
	file := writeFile(t, filepath.Join(t.TempDir(), "f"), `{"auths":{"x.example":{"auth":"`+b64("a:1")+`"}}}`, 0o600)
	creds, password := AuthFile(file), PasswordFile("u", writeFile(t, filepath.Join(t.TempDir(), "p"), "one\n", 0o600))
	if c, err := creds.Credential(t.Context(), "x.example", ""); err != nil || c.Username != "a" {
		t.Fatal(c, err)
	}
	if c, err := password.Credential(t.Context(), "", ""); err != nil || c.Password.Reveal() != "one" {
		t.Fatal(c.Password.Reveal(), err)
	}
	writeFile(t, file, `{"auths":{"x.example":{"auth":"`+b64("another:2")+`"}}}`, 0o600)
	writeFile(t, password.(*passwordFile).file.path, "second\r\n", 0o600)
	if c, err := creds.Credential(t.Context(), "x.example", ""); err != nil || c.Username != "another" {
		t.Error(c, err)
	}
	if c, err := password.Credential(t.Context(), "", ""); err != nil || c.Password.Reveal() != "second" {
		t.Error(c.Password.Reveal(), err)
	}
}

// TestHelperChoice holds which helper is asked, and for which name.
func TestHelperChoice(t *testing.T) {
	cfg, err := parseAuthConfig([]byte(`{"credsStore":"store","credHelpers":{"gcr.io":"gcloud","x.example/team":"team"},
		"auths":{"x.example":{"auth":"` + b64("x:1") + `"},"gcr.io":{"auth":"` + b64("never:1") + `"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ host, path, want string }{
		{"gcr.io", "a/b", "gcloud gcr.io"},
		{"x.example", "team/app", "team x.example/team"},
		{"x.example", "other", "x"},
		{"docker.io", "library/alpine", "store https://index.docker.io/v1/"},
		{"y.example:5000", "a", "store y.example:5000"},
	} {
		c, ask := cfg.find(tt.host, tt.path)
		got := c.Username
		if ask.helper != "" {
			got = ask.helper + " " + ask.server
		}
		if got != tt.want {
			t.Errorf("%s/%s: %q, want %q", tt.host, tt.path, got, tt.want)
		}
	}
}

func TestHelpersRunOneByOneAndAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := AuthFile(writeFile(t, filepath.Join(t.TempDir(), "f"), `{"credsStore":"h"}`, 0o600)).(*authFile)
		running, most, runs := 0, 0, 0
		a.run = func(ctx context.Context, helper, server string) (Credential, error) {
			running++ // the turn guards it
			most, runs = max(most, running), runs+1
			time.Sleep(time.Second)
			running--
			return Credential{Username: server}, nil
		}
		ask := func(host string) {
			if c, err := a.Credential(t.Context(), host, ""); err != nil || c.Username != host {
				t.Errorf("%s: %+v, %v", host, c, err)
			}
		}
		for i := range 10 {
			go ask(fmt.Sprintf("%d.example", i%2))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if most != 1 || runs != 2 {
			t.Errorf("%d at once, %d runs, want 1 and 2", most, runs)
		}
		time.Sleep(helperKeep)
		ask("0.example")
		a.forget("1.example", "")
		ask("1.example")
		if runs != 4 {
			t.Errorf("%d runs after the time and after a refusal, want 4", runs)
		}
	})
}

func TestHelperIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := AuthFile(writeFile(t, filepath.Join(t.TempDir(), "f"), `{"credsStore":"h"}`, 0o600)).(*authFile)
		release := make(chan struct{})
		a.run = func(context.Context, string, string) (Credential, error) { <-release; return Credential{}, nil }
		for range 2 { // the second waits for its turn
			start := time.Now()
			_, err := a.Credential(t.Context(), "x", "")
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != helperTimeout {
				t.Errorf("error %v after %s", err, time.Since(start))
			}
		}
		close(release)
		synctest.Wait()
		if _, err := a.Credential(t.Context(), "x", ""); err != nil {
			t.Errorf("when it is free again: %v", err)
		}
	})
}

// TestRealHelper runs a program as docker would.
func TestRealHelper(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "docker-credential-good"), `#!/bin/sh
read server
case "$server" in
known.example) echo '{"ServerURL":"known.example","Username":"u","Secret":"`+canary+`"}' ;;
token.example) echo '{"ServerURL":"token.example","Username":"<token>","Secret":"id"}' ;;
bad.example) echo '{"Secret":"`+canary+`"}'; exit 1 ;;
*) echo "credentials not found in native keychain"; exit 1 ;;
esac
`, 0o700)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	creds := AuthFile(writeFile(t, filepath.Join(dir, "f"), `{"credsStore":"good","credHelpers":{"no.example":"missing"}}`, 0o600))
	for host, want := range map[string]Credential{
		"known.example": {Username: "u", Password: NewSecret(canary)}, "token.example": {IdentityToken: NewSecret("id")}, "other.example": {},
	} {
		if c, err := creds.Credential(t.Context(), host, ""); err != nil || c != want {
			t.Errorf("%s: %+v, %v", host, c, err)
		}
	}
	for _, host := range []string{"bad.example", "no.example"} {
		if _, err := creds.Credential(t.Context(), host, ""); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: error %v", host, err)
		}
	}
}

func TestSecret(t *testing.T) {
	type inside struct {
		Exported Secret
		hidden   Secret
	}
	s := NewSecret(canary)
	raw, err := json.Marshal(map[string]any{"a": s, "b": Credential{Username: "u", Password: s}, "c": map[Secret]int{s: 1}})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "s", s, "c", Credential{Password: s}, "i", inside{s, s}, "p", &inside{s, s})
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "s", s, "c", Credential{Password: s}, "i", inside{s, s})
	shown := string(raw) + log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p"} {
		shown += fmt.Sprintf(verb+verb+verb+verb, s, Credential{Password: s}, inside{s, s}, &inside{s, s})
	}
	shown += fmt.Sprint(s, &s, []Secret{s}, static{Password: s}) + fmt.Sprintf("%v", fmt.Errorf("wrapped %v", s))
	if strings.Contains(shown, canary) || strings.Contains(shown, fmt.Sprintf("%x", canary)) || strings.Contains(shown, fmt.Sprintf("%X", canary)) {
		t.Errorf("the secret is shown:\n%s", shown)
	}
	if s.Reveal() != canary || s != NewSecret(canary) || s == NewSecret("x") || !NewSecret("").Empty() || (Secret{}).Reveal() != "" || fmt.Sprint(Secret{}) != "" {
		t.Error("a secret is not what it holds")
	}
}
