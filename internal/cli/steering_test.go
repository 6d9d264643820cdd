package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// loadIn reads an entrepot.toml whose rules are in files below a directory;
// DIR stands for it.
func loadIn(t *testing.T, toml string, files map[string]string) (config, error) {
	t.Helper()
	dir := writeFiles(t, files)
	path := filepath.Join(dir, "entrepot.toml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(toml, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(testEnv(map[string]string{"HOME": dir}), serveFlags{config: path})
	if all, ok := err.(problems); ok {
		for i := range all {
			all[i].file = strings.TrimPrefix(all[i].file, dir+"/")
		}
	}
	return cfg, err
}

// TestRulesThatStopTheStart holds that what is wrong in a file of rules is
// told with its place in that file, and what contradicts entrepot.toml with its
// place there.
func TestRulesThatStopTheStart(t *testing.T) {
	const registries = "rules = ['registries.conf=DIR/r.conf']\n"
	for name, c := range map[string]struct {
		toml, file, want, hint string
	}{
		"syntax":       {registries, "[[registry]]\nlocation = \n", "r.conf:2", ""},
		"client fails": {registries, "[[registry]]\nprefix = 'quay.io'\n", "r.conf:1", ""},
		"client drops": {"rules = ['kaniko=DIR/r.conf']\n", "--registry-map=docker.io=mirror.example.com\n", "r.conf:1", "index.docker.io"},
		"no CA": {"rules = ['buildkitd.toml=DIR/r.conf']\n",
			"[registry.'quay.io']\nmirrors = ['m.example']\n[registry.'m.example']\nca = ['DIR/none.pem']\n", "r.conf:4: read DIR/none.pem: no such file", "cannot be used"},
		"inline key": {"rules = ['regclient=DIR/r.conf']\n", `{"hosts": {"quay.io": {"mirrors": ["m.example"]}, "m.example": ` + clientCertificate(t) + `}}`,
			"r.conf:1: read client certificate: it stands in the configuration itself", "PEM"},
		"mirrors": {registries + "[[upstream]]\nname = 'quay.io'\nmirrors = ['https://m.example']\n",
			"[[registry]]\nlocation = 'quay.io'\nblocked = true\n[[registry.mirror]]\nlocation = 'n.example'\n",
			"entrepot.toml:4: upstream.mirrors: it would never be asked: the rule for quay.io at ", "leave it out here"},
		"url": {registries + "[[upstream]]\nname = 'quay.io'\nurl = 'https://q.example'\n",
			"[[registry]]\nprefix = 'quay.io'\nlocation = 'other.example'\n",
			"entrepot.toml:4: upstream.url: the rule for quay.io at ", "leave it out here"},
		"everything": {registries + "[[upstream]]\nname = 'quay.io'\nmirrors = ['https://m.example']\n",
			"[[registry]]\nprefix = '*.quay.io'\n[[registry.mirror]]\n", "r.conf:", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadIn(t, c.toml, map[string]string{"r.conf": c.file})
			all, ok := err.(problems)
			if !ok {
				t.Fatalf("got %v, want problems", err)
			}
			if got := all[0].Error(); !strings.HasPrefix(got, c.want) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if !strings.Contains(all[0].hint, c.hint) {
				t.Errorf("hint: got %q, want %q", all[0].hint, c.hint)
			}
		})
	}
}

// clientCertificate returns a host of regclient's configuration with a client
// certificate.
func clientCertificate(t *testing.T) string {
	t.Helper()
	cert, key := clientPair(t)
	text, err := json.Marshal(map[string]string{"clientCert": cert, "clientKey": key})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestRulesThatAgree holds that a table may say more about an upstream than the
// rules do.
func TestRulesThatAgree(t *testing.T) {
	for name, c := range map[string]struct{ toml, file string }{
		"fallback": {"[[upstream]]\nname = 'quay.io'\nmirrors = ['https://m.example']\nurl = 'https://q.example'\n",
			"[[registry]]\nlocation = 'quay.io'\n[[registry.mirror]]\nlocation = 'n.example'\n"},
		"the same place": {"[[upstream]]\nname = 'quay.io'\nurl = 'https://other.example'\n",
			"[[registry]]\nprefix = 'quay.io'\nlocation = 'other.example'\n"},
		"never the source": {"[[upstream]]\nname = 'quay.io'\nurl = 'https://q.example'\n",
			"[[registry]]\nlocation = 'quay.io'\nblocked = true\n[[registry.mirror]]\nlocation = 'n.example'\n"},
		"a namespace": {"[[upstream]]\nname = 'quay.io'\nmirrors = ['https://m.example']\n",
			"[[registry]]\nlocation = 'quay.io/secret'\nblocked = true\n"},
		"another host": {"[[upstream]]\nname = 'quay.io'\nmirrors = ['https://m.example']\n",
			"[[registry]]\nlocation = 'ghcr.io'\nblocked = true\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := loadIn(t, "rules = ['registries.conf=DIR/r.conf']\n"+c.toml, map[string]string{"r.conf": c.file}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRulesThatWarn holds that what is only doubtful is told, and followed.
func TestRulesThatWarn(t *testing.T) {
	cfg, err := loadIn(t, "rules = ['k3s=DIR/r.yaml']\n", map[string]string{"r.yaml": "mirrors:\n  quay.io:\n    endpoint: ['https://m.example/v2']\n" +
		"configs:\n  m.example:\n    auth: {username: u, password: p}\nsurplus: 1\n"})
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, p := range cfg.steering.warnings {
		texts = append(texts, p.At.String()+" "+p.Text)
	}
	got := strings.Join(texts, "\n")
	for _, want := range []string{"surplus", "the account that stands here is not used"} {
		if !strings.Contains(got, want) {
			t.Errorf("no warning about %q in:\n%s", want, got)
		}
	}
}
