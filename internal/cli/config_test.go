package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/remote"
)

// testEnv is an environment without home and variables but those given.
func testEnv(vars map[string]string) Env {
	return Env{Stdout: io.Discard, Stderr: io.Discard, Getenv: func(k string) string { return vars[k] }}
}

func parse(t *testing.T, text string) (config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "entrepot.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(testEnv(map[string]string{"HOME": "/home/u", "ENTREPOT_PASSWORD_ENV_EXAMPLE": "from-env"}), serveFlags{config: path})
	if all, ok := err.(problems); ok {
		for i := range all {
			all[i].file = "entrepot.toml"
		}
	}
	return cfg, err
}

func TestDefaults(t *testing.T) {
	cfg, err := parse(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.listen != "127.0.0.1:5000" || cfg.admin != "127.0.0.1:5001" || cfg.drain != 30*time.Second {
		t.Errorf("got %q, %q, %v", cfg.listen, cfg.admin, cfg.drain)
	}
	if cfg.storage != "/home/u/.local/share/entrepot" {
		t.Errorf("storage: got %q", cfg.storage)
	}
	if cfg.policy.Anonymous != access.All {
		t.Errorf("anonymous on loopback: got %s, want push", cfg.policy.Anonymous)
	}
	if fmt.Sprint(cfg.hosted) != "[**]" {
		t.Errorf("hosted: got %v", cfg.hosted)
	}
	if cfg.upstreams[0].name != "docker.io" || cfg.upstreams[0].url != "https://registry-1.docker.io" || cfg.upstreams[0].tagTTL != time.Minute {
		t.Errorf("first upstream: got %+v", cfg.upstreams[0])
	}
}

func TestAnonymousDependsOnWhoCanReachUs(t *testing.T) {
	for addr, want := range map[string]access.Rights{
		"127.0.0.1:0": access.All, "localhost:5000": access.All, "[::1]:5000": access.All, "127.8.9.1:1": access.All,
		":5000": access.Pull, "0.0.0.0:5000": access.Pull, "10.0.0.1:5000": access.Pull, "[::]:5000": access.Pull, "mirror.corp:5000": access.Pull,
	} {
		cfg, err := parse(t, fmt.Sprintf("[server]\nlisten = %q", addr))
		if err != nil {
			t.Fatal(err)
		}
		if cfg.policy.Anonymous != want {
			t.Errorf("%s: got %s, want %s", addr, cfg.policy.Anonymous, want)
		}
	}
	if cfg, err := parse(t, "[server]\nlisten = ':5000'\n[auth]\nanonymous = 'push'"); err != nil || cfg.policy.Anonymous != access.All {
		t.Errorf("said: got %s, %v", cfg.policy.Anonymous, err)
	}
}

func TestEveryKey(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := parse(t, fmt.Sprintf(`
[server]
listen = ":5000"
admin = "127.0.0.1:0"
external_hosts = ["Mirror.corp", "mirror.corp:443"]
drain = "1m"
tls_cert = "cert.pem"
tls_key = "key.pem"

[storage]
url = "file:///var/lib/entrepot"
redirect = "never"
max_bytes = "0"
min_free = "5%%"

[auth]
anonymous = "pull"

[[upstream]]
name = "docker.io"
url = "https://registry-1.docker.io"
mirrors = ["https://mirror.gcr.io", "http://10.0.0.1:5000/hub"]
default = true
aliases = ["hub"]
allow_private = true
auth = "service"
username = "u"
password_file = %q
tag_ttl = "10m"
immutable_tags = ['^v\d+\.\d+\.\d+$']
max_stale = "7d"
on_404 = "serve_stale"
token_hosts = ["auth.docker.io"]

[[upstream.account]]
repositories = ["team/**", "base/app"]
docker_config = "/etc/docker/config.json"

[[upstream]]
name = "env.example"
auth = "service"
username = "e"
tag_ttl = "-1"

[[upstream]]
name = "conf.example"
auth = "service"
docker_config = "/etc/docker/config.json"
tag_ttl = 0

[[upstream]]
name = "*.pkg.dev"

[hosted]
repositories = ["apps/**", "team-*/x"]
sparse = true
`, secret))
	if err != nil {
		t.Fatal(err)
	}
	u := cfg.upstreams[0]
	if u.account.username != "u" || u.account.passwordFile != secret || u.tagTTL != 10*time.Minute || u.maxStale != 7*24*time.Hour ||
		!u.serveStaleOn404 || !u.isDefault || !u.allowPrivate || len(u.mirrors) != 2 || len(u.immutable) != 1 || u.aliases[0] != "hub" {
		t.Errorf("docker.io: got %+v", u)
	}
	if len(u.parts) != 1 || u.parts[0].dockerConfig != "/etc/docker/config.json" || len(u.parts[0].patterns) != 2 {
		t.Errorf("docker.io: got the accounts %+v", u.parts)
	}
	if u := cfg.upstreams[1]; u.account.username != "e" || u.account.password != remote.NewSecret("from-env") || u.tagTTL != neverAsk || u.url != "https://env.example" {
		t.Errorf("env.example: got %+v", u)
	}
	if u := cfg.upstreams[2]; u.account.dockerConfig != "/etc/docker/config.json" || u.tagTTL != 0 {
		t.Errorf("conf.example: got %+v", u)
	}
	if cfg.storage != "/var/lib/entrepot" || cfg.drain != time.Minute || cfg.tlsCert != "cert.pem" || !cfg.sparse || len(cfg.hosted) != 2 ||
		cfg.externalHosts[0] != "mirror.corp" {
		t.Errorf("got %+v", cfg)
	}
	if dump := fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg); strings.Contains(dump, "hunter2") || strings.Contains(dump, "from-env") {
		t.Errorf("a dump shows a password: %s", dump)
	}
}

func TestDefaultUpstreamLeavesNothingHosted(t *testing.T) {
	cfg, err := parse(t, "[[upstream]]\nname = 'docker.io'\ndefault = true")
	if err != nil || len(cfg.hosted) != 0 {
		t.Errorf("got %v, %v, want none", cfg.hosted, err)
	}
	cfg, err = parse(t, "[[upstream]]\nname = 'docker.io'\ndefault = true\n[hosted]\nrepositories = ['apps/**']")
	if err != nil || len(cfg.hosted) != 1 {
		t.Errorf("got %v, %v, want apps/**", cfg.hosted, err)
	}
	cfg, err = parse(t, "[hosted]\nrepositories = []")
	if err != nil || len(cfg.hosted) != 0 {
		t.Errorf("got %v, %v, want none", cfg.hosted, err)
	}
}

func TestConfigErrors(t *testing.T) {
	for name, c := range map[string]struct{ text, want, hint string }{
		"unknown key":         {"[server]\n\nlisten = ':1'\nlissten = ':2'", `entrepot.toml:4: unknown key "lissten" in [server]`, `did you mean "listen"?`},
		"unknown table":       {"[servr]\nlisten = ':1'", `entrepot.toml:1: unknown key "servr"`, `did you mean "server"?`},
		"wrong table":         {"[server]\ntag_ttl = '1s'", `entrepot.toml:2: unknown key "tag_ttl" in [server]`, `"tag_ttl" belongs in [[upstream]]`},
		"far from all":        {"[auth]\nzzzzzzzz = 1", `entrepot.toml:2: unknown key "zzzzzzzz" in [auth]`, `known are anonymous, cidr, htpasswd, oidc, token_key`},
		"in an array":         {"[[upstream]]\nname='a.example'\n[[upstream]]\nname='b.example'\ntagttl='1s'", `entrepot.toml:5: unknown key "tagttl" in [[upstream]]`, `did you mean "tag_ttl"?`},
		"syntax":              {"[server]\nlisten = \n", `entrepot.toml:2: `, ""},
		"duplicate":           {"[server]\nlisten = ':1'\nlisten = ':2'", `entrepot.toml:3: `, ""},
		"list wanted":         {"[server]\nexternal_hosts = 'x'", `entrepot.toml:2: server.external_hosts has to be a list of texts in brackets`, ""},
		"text wanted":         {"[server]\nlisten = 5000", `entrepot.toml:2: server.listen has to be a text in quotes`, ""},
		"truth wanted":        {"[[upstream]]\nname='a.example'\ndefault = 'yes'", `entrepot.toml:3: upstream.default has to be true or false`, ""},
		"BOM":                 {"\ufeff[server]\nx = 1", `entrepot.toml:2: unknown key "x" in [server]`, ""},
		"CRLF":                {"[server]\r\n\r\nlisten = 'x'\r\n", `entrepot.toml:3: server.listen: "x" is no address with a port`, ""},
		"address":             {"[server]\nadmin = 'localhost'", `entrepot.toml:2: server.admin: "localhost" is no address with a port`, "127.0.0.1:5001"},
		"duration":            {"[server]\ndrain = '30'", `entrepot.toml:2: server.drain: "30" is no time`, `write it as "90s"`},
		"number as duration":  {"[server]\ndrain = 30", `entrepot.toml:2: server.drain: "30" is no time`, `write it as "90s"`},
		"negative duration":   {"[server]\ndrain = '-3s'", `entrepot.toml:2: server.drain: "-3s" is less than nothing`, ""},
		"host":                {"[server]\nexternal_hosts = [\n 'a.example',\n 'https://b.example',\n]", `entrepot.toml:4: server.external_hosts: "https://b.example" is no host`, ""},
		"client_ca alone":     {"[server]\nclient_ca = 'ca.pem'", `entrepot.toml:2: server.client_ca: client certificates need TLS`, "tls_cert"},
		"half of TLS":         {"[server]\ntls_key = 'k'", `entrepot.toml:1: server.tls_cert: tls_cert and tls_key go together`, ""},
		"s3":                  {"[storage]\nurl = 's3://bucket'", `entrepot.toml:2: storage.url: storage on S3 is not supported yet`, "leave it out"},
		"other storage":       {"[storage]\nurl = 'gs://bucket'", `entrepot.toml:2: storage.url: storage "gs://": only file:// and paths are known`, ""},
		"file with a host":    {"[storage]\nurl = 'file://host/x'", `entrepot.toml:2: storage.url: "file://host/x" names a host`, ""},
		"redirect":            {"[storage]\nredirect = 'always'", `entrepot.toml:2: storage.redirect: not supported yet`, "leave it out"},
		"redirect word":       {"[storage]\nredirect = 'maybe'", `entrepot.toml:2: storage.redirect: `, ""},
		"size":                {"[storage]\nmax_bytes = 'much'", `entrepot.toml:2: storage.max_bytes: "much" is no size`, "200GiB"},
		"share":               {"[storage]\nmin_free = '200%'", `entrepot.toml:2: storage.min_free: a percentage is between 0% and 100%`, ""},
		"gc_interval":         {"[storage]\ngc_interval = '5s'", `entrepot.toml:2: storage.gc_interval: 5s is less than a minute`, `"0" for never`},
		"rules: format":       {"rules = ['podman=x']", `entrepot.toml:1: rules: format "podman" is not known`, ""},
		"rules: none there":   {"\nrules = [\n'cnb=quay.io=m.example',\n'k3s=/does/not/exist']", `entrepot.toml:4: rules: read k3s: stat /does/not/exist`, ""},
		"rules: input":        {"rules = ['hosts.toml=-']", `entrepot.toml:1: rules: standard input cannot be read again`, "name a file"},
		"htpasswd":            {"[auth]\nhtpasswd = '/does/not/exist'", `entrepot.toml:2: auth.htpasswd: open /does/not/exist: `, ""},
		"cidr":                {"[auth]\ncidr = [\n'10.0.0.0/8',\n'here']", `entrepot.toml:4: auth.cidr: "here" is no network`, "10.0.0.0/8"},
		"cidr with host bits": {"[auth]\ncidr = ['10.0.0.1/8']", `entrepot.toml:2: auth.cidr: "10.0.0.1/8" has bits set behind its prefix`, "10.0.0.0/8"},
		"oidc: nothing":       {"\n[[auth.oidc]]\nissuer = 'https://i.example'", `entrepot.toml:2: auth.oidc.audience: it is needed`, "those for others are not taken"},
		"oidc: plain HTTP":    {"[[auth.oidc]]\naudience = 'a'\nissuer = 'http://i.example'", `entrepot.toml:3: auth.oidc.issuer: "http://i.example" does not start with https://`, "as its tokens have it in iss"},
		"oidc: keys":          {"[[auth.oidc]]\naudience = 'a'\nissuer = 'https://i.example'\njwks_url = 'https://u:p@i.example'", `entrepot.toml:4: auth.oidc.jwks_url: the URL of "i.example" holds credentials`, "discovery"},
		"oidc: ca":            {"[[auth.oidc]]\naudience = 'a'\nissuer = 'https://i.example'\nca = '/does/not/exist'", `entrepot.toml:4: auth.oidc.ca: open /does/not/exist: `, "PEM"},
		"oidc: token":         {"[[auth.oidc]]\naudience = 'a'\nissuer = 'https://i.example'\ntoken_file = '/does/not/exist'", `entrepot.toml:4: auth.oidc.token_file: open /does/not/exist: `, "hold a token"},
		"oidc: key":           {"[[auth.oidc]]\nclient_id = 'x'", `entrepot.toml:2: unknown key "client_id" in [[auth.oidc]]`, ""},
		"access: nothing":     {"\n[[access]]\nwho = ['ci']", `entrepot.toml:2: access.repositories: it is needed`, ""},
		"access: nobody":      {"[[access]]\nrepositories = ['**']", `entrepot.toml:1: access.who: it is needed`, ""},
		"access: no group":    {"[[access]]\nrepositories = ['**']\nwho = ['ci', 'group:']", `entrepot.toml:3: access.who: "group:": it names nobody`, "group:NAME"},
		"access: pattern":     {"[[access]]\nwho = ['ci']\nrepositories = ['Apps/**']", `entrepot.toml:3: access.repositories: "Apps/**" is no pattern`, ""},
		"access: right":       {"[[access]]\nwho = ['ci']\nrepositories = ['**']\nallow = ['pull', 'write']", `entrepot.toml:4: access.allow: "write" is none of pull, push and delete`, ""},
		"access: key":         {"[[access]]\nrepository = ['x']", `entrepot.toml:2: unknown key "repository" in [[access]]`, ""},
		"prefetch: nothing":   {"[[prefetch]]\ninterval = '1h'", `entrepot.toml:1: prefetch.references: it is needed`, "docker.io/library/alpine:3.*"},
		"prefetch: reference": {"[[prefetch]]\nreferences = [\n'docker.io/x',\n'docker.io/UPPER']", `entrepot.toml:4: prefetch.references: `, "HOST/REPOSITORY:TAG"},
		"prefetch: many":      {"[[prefetch]]\nreferences = ['docker.io/*/x:1']", `entrepot.toml:2: prefetch.references: `, ""},
		"prefetch: pattern":   {"[[prefetch]]\nreferences = ['docker.io/library/x:[a']", `entrepot.toml:2: prefetch.references: "[a" is no pattern of tags`, ""},
		"prefetch: upstream":  {"[[prefetch]]\nreferences = ['a.example/x:1']", `entrepot.toml:2: prefetch.references: a.example is no upstream`, "[[upstream]]"},
		"prefetch: semver":    {"[[prefetch]]\nreferences = ['quay.io/x/y']\nsemver = 'new'", `entrepot.toml:3: prefetch.semver: "new" is no range of versions`, "~3.20"},
		"prefetch: interval":  {"[[prefetch]]\nreferences = ['quay.io/x/y']\ninterval = '0'", `entrepot.toml:3: prefetch.interval: "0" is less than a second`, ""},
		"prefetch: key":       {"[[prefetch]]\nreference = ['x']", `entrepot.toml:2: unknown key "reference" in [[prefetch]]`, ""},
		"idle account":        {"[[upstream]]\nname = 'a.example'\n[[upstream.account]]\nusername = 'x'", `entrepot.toml:3: upstream.account: accounts are given`, `auth = "service"`},
		"account for nothing": {"[[upstream]]\nname = 'a.example'\nauth = 'service'\n[[upstream.account]]\ndocker_config = 'x'", `entrepot.toml:4: upstream.account.repositories: an account needs patterns`, "team/**"},
		"account of nobody":   {"[[upstream]]\nname = 'a.example'\nauth = 'service'\n[[upstream.account]]\nrepositories = ['x']", `entrepot.toml:4: upstream.account.username: an account needs credentials`, ""},
		"account's pattern":   {"[[upstream]]\nname = 'a.example'\nauth = 'service'\n[[upstream.account]]\nrepositories = ['Team/**']\ndocker_config = 'x'", `entrepot.toml:5: upstream.account.repositories: pattern "Team/**"`, ""},
		"pattern of two":      {"[[upstream]]\nname = 'a.example'\nauth = 'service'\n[[upstream.account]]\nrepositories = ['x']\ndocker_config = 'x'\n[[upstream.account]]\nrepositories = ['y', 'x']\ndocker_config = 'y'", `entrepot.toml:8: upstream.account.repositories: another account`, "in common"},
		"account's password":  {"[[upstream]]\nname = 'a.example'\nauth = 'service'\n[[upstream.account]]\nrepositories = ['x']\nusername = 'bot'", `entrepot.toml:6: upstream.account.username: the password is missing: set password_file or the environment variable ENTREPOT_PASSWORD_A_EXAMPLE_BOT`, ""},
		"account's key":       {"[[upstream]]\nname = 'a.example'\nauth = 'service'\n[[upstream.account]]\nrepository = ['x']", `entrepot.toml:5: unknown key "repository" in [[upstream.account]]`, `did you mean "repositories"?`},
		"passthrough account": {"[[upstream]]\nname = 'a.example'\nauth = 'passthrough'\nusername = 'u'", `entrepot.toml:4: upstream.username: the callers' credentials are used`, `auth = "service"`},
		"passthrough mirrors": {"[[upstream]]\nname = 'a.example'\nauth = 'passthrough'\nmirrors = ['https://b.example']", `entrepot.toml:4: upstream.mirrors: only the upstream itself`, ""},
		"later: redirects":    {"[[upstream]]\nname = 'a.example'\npass_redirects = true", `entrepot.toml:3: upstream.pass_redirects: not supported yet`, ""},
		"nobody at all":       {"[auth]\nanonymous = 'none'", `entrepot.toml:2: auth.anonymous: nobody could do anything`, "htpasswd"},
		"anonymous":           {"[auth]\nanonymous = 'all'", `entrepot.toml:2: auth.anonymous: "all" is none of none, pull and push`, ""},
		"no name":             {"[[upstream]]\nurl = 'https://a.example'", `entrepot.toml:1: upstream: name is missing`, ""},
		"bad name":            {"[[upstream]]\nname = 'https://a.example'", `entrepot.toml:2: upstream.name: "https://a.example" is no host`, ""},
		"hub by another name": {"[[upstream]]\nname = 'index.docker.io'", `entrepot.toml:2: upstream.name: index.docker.io is a name of Docker Hub`, `write "docker.io"`},
		"wide wildcard":       {"[[upstream]]\nname = '*.com'", `entrepot.toml:2: upstream.name: `, ""},
		"two of a name":       {"[[upstream]]\nname = 'a.example'\n\n[[upstream]]\nname = 'A.example'", `entrepot.toml:5: upstream.name: "a.example" already belongs to the upstream a.example`, ""},
		"alias of another":    {"[[upstream]]\nname = 'a.example'\naliases = ['x']\n[[upstream]]\nname = 'b.example'\naliases = ['x']", `entrepot.toml:6: upstream.aliases: "x" already belongs to the upstream a.example`, ""},
		"alias is a name":     {"[[upstream]]\nname = 'a.example'\n[[upstream]]\nname = 'b.example'\naliases = ['a.example']", `entrepot.toml:5: upstream.aliases: "a.example" already belongs`, ""},
		"bad alias":           {"[[upstream]]\nname = 'a.example'\naliases = ['x/y']", `entrepot.toml:3: upstream.aliases: "x/y" cannot be an alias`, ""},
		"two defaults":        {"[[upstream]]\nname = 'a.example'\ndefault = true\n[[upstream]]\nname = 'b.example'\ndefault = true", `entrepot.toml:6: upstream.default: a.example is the default already`, ""},
		"URL":                 {"[[upstream]]\nname = 'a.example'\nurl = 'a.example'", `entrepot.toml:3: upstream.url: "a.example" does not start with https:// or http://`, ""},
		"URL with a password": {"[[upstream]]\nname = 'a.example'\nurl = 'https://u:secret@a.example'", `entrepot.toml:3: upstream.url: the URL of "a.example" holds credentials`, ""},
		"mirror":              {"[[upstream]]\nname = 'a.example'\nmirrors = ['https://b.example', 'ftp://c.example']", `entrepot.toml:3: upstream.mirrors: "ftp://c.example"`, ""},
		"wildcard with URL":   {"[[upstream]]\nname = '*.a.example'\nurl = 'https://b.example'", `entrepot.toml:3: upstream.url: one URL cannot serve all of *.a.example`, ""},
		"regexp":              {"[[upstream]]\nname = 'a.example'\nimmutable_tags = ['v1', '(']", `entrepot.toml:3: upstream.immutable_tags: `, "RE2"},
		"parallelism: none":   {"[[upstream]]\nname = 'a.example'\nfill_parallelism = 0", `entrepot.toml:3: upstream.fill_parallelism: 0 is not between 1 and 16`, "1 fetches each blob over one connection"},
		"parallelism: word":   {"[[upstream]]\nname = 'a.example'\nfill_parallelism = 'x'", `entrepot.toml:3: `, ""},
		"on_404":              {"[[upstream]]\nname = 'a.example'\non_404 = 'stale'", `entrepot.toml:3: upstream.on_404: "stale" is neither not_found nor serve_stale`, ""},
		"auth":                {"[[upstream]]\nname = 'a.example'\nauth = 'basic'", `entrepot.toml:3: upstream.auth: "basic" is none of`, ""},
		"idle credentials":    {"[[upstream]]\nname = 'a.example'\nusername = 'u'", `entrepot.toml:3: upstream.username: credentials are given`, `auth = "service"`},
		"no credentials":      {"[[upstream]]\nname = 'a.example'\nauth = 'service'", `entrepot.toml:3: upstream.auth: service needs credentials`, ""},
		"no password":         {"[[upstream]]\nname = 'a.example:5000'\nauth = 'service'\nusername = 'u'", `entrepot.toml:4: upstream.username: the password is missing: set password_file or the environment variable ENTREPOT_PASSWORD_A_EXAMPLE_5000`, ""},
		"no password file":    {"[[upstream]]\nname = 'a.example'\nauth = 'service'\nusername = 'u'\npassword_file = '/does/not/exist'", `entrepot.toml:5: upstream.password_file: open /does/not/exist`, ""},
		"one variable":        {"[[upstream]]\nname = 'env.example'\nauth = 'service'\nusername = 'u'\n[[upstream]]\nname = 'env-example'\nauth = 'service'\nusername = 'u'", `entrepot.toml:8: upstream.username: ENTREPOT_PASSWORD_ENV_EXAMPLE is the password of env.example already`, ""},
		"pattern":             {"[hosted]\nrepositories = ['apps/**', 'Apps/**']", `entrepot.toml:2: hosted.repositories: "Apps/**" is no pattern`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, c.text)
			if c.want == "" {
				if err == nil {
					t.Error("got no error")
				}
				return
			}
			all, ok := err.(problems)
			if !ok || len(all) == 0 {
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

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := parse(t, "[server]\ndrain = 'x'\n[[upstream]]\nname = 'a.example'\ntag_ttl = 'y'\non_404 = 'z'\n")
	if all, ok := err.(problems); !ok || len(all) != 3 || all[0].line != 2 || all[2].line != 6 {
		t.Errorf("got %v", err)
	}
}

func TestFlagsWin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(path, []byte("[server]\nlisten = ':1'\nadmin = ':2'\n[storage]\nurl = '/a'"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(testEnv(nil), serveFlags{config: path, listen: "127.0.0.1:0", admin: "127.0.0.1:9", storage: "/b"})
	if err != nil || cfg.listen != "127.0.0.1:0" || cfg.admin != "127.0.0.1:9" || cfg.storage != "/b" || cfg.policy.Anonymous != access.All {
		t.Errorf("got %+v, %v", cfg, err)
	}
}

func TestWhereTheFileIsLookedFor(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(path, listen string) string {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, fmt.Appendf(nil, "[server]\nlisten = %q", listen), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	vars := map[string]string{"HOME": dir}
	listen := func(flag string) string {
		t.Helper()
		cfg, err := loadConfig(testEnv(vars), serveFlags{config: flag})
		if err != nil {
			t.Fatal(err)
		}
		return cfg.listen
	}
	write(".config/entrepot/entrepot.toml", ":2")
	if got := listen(""); got != ":2" {
		t.Errorf("in ~/.config: got %q", got)
	}
	vars["XDG_CONFIG_HOME"] = filepath.Join(dir, "xdg")
	write("xdg/entrepot/entrepot.toml", ":3")
	if got := listen(""); got != ":3" {
		t.Errorf("in $XDG_CONFIG_HOME: got %q", got)
	}
	write("entrepot.toml", ":4")
	if got := listen(""); got != ":4" {
		t.Errorf("in the working directory: got %q", got)
	}
	vars["ENTREPOT_CONFIG"] = write("env.toml", ":5")
	if got := listen(""); got != ":5" {
		t.Errorf("by $ENTREPOT_CONFIG: got %q", got)
	}
	if got := listen(write("flag.toml", ":6")); got != ":6" {
		t.Errorf("by --config: got %q", got)
	}
	vars["ENTREPOT_CONFIG"] = filepath.Join(dir, "missing")
	if _, err := loadConfig(testEnv(vars), serveFlags{}); err == nil {
		t.Error("a named file that is missing was passed over")
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "12": 12, "1KiB": 1024, "200GiB": 200 << 30, "1.5MB": 1_500_000, "2 TiB": 2 << 40, "7B": 7} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "GiB", "1XB", "9999999999TiB", "NaN", "Inf", "1e400"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", text, got)
		}
	}
	if got, err := parseShare("5%"); err != nil || got != (share{percent: 5}) {
		t.Errorf("parseShare(5%%) = %+v, %v", got, err)
	}
	for _, text := range []string{"101%", "-1%", "x%", "NaN%"} {
		if got, err := parseShare(text); err == nil {
			t.Errorf("parseShare(%q) = %+v, want an error", text, got)
		}
	}
}

func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile("../../entrepot.example.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte("[server]\nlisten = ':1'\nlissten = 2\n"))
	f.Add([]byte("upstream = [{name = 'a.example', mirrors = ['https://b.example',\n'x']}, {name = 'a.example'}]"))
	f.Add([]byte("server.drain = '1x'\n[[upstream]]\n[[upstream.account]]\n[auth]\noidc=[{}]"))
	f.Add([]byte("\ufeff[\"server\"]\r\n\"dr\\u0061in\" = '''\n1s'''\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		parsed, l, err := parseFile("f", data)
		if err == nil {
			parsed.Rules = nil // they name files of this machine, and have fuzz targets of their own
			c := &checker{file: "f", lines: l, env: testEnv(nil)}
			cfg := c.config(parsed, serveFlags{})
			if err = nil; len(c.found) > 0 {
				err = c.sorted()
			} else {
				checkInvariants(t, cfg)
			}
		}
		if err == nil {
			return
		}
		all, ok := err.(problems)
		if !ok || len(all) == 0 {
			t.Fatalf("got %T %v, want problems", err, err)
		}
		for _, p := range all {
			if p.line < 1 || p.line > strings.Count(string(data), "\n")+1 {
				t.Fatalf("line %d of a file with %d: %v", p.line, strings.Count(string(data), "\n")+1, p)
			}
		}
	})
}

// checkInvariants holds what the rest of the program relies on.
func checkInvariants(t *testing.T, cfg config) {
	t.Helper()
	owners := map[string]bool{}
	defaults := 0
	for _, u := range cfg.upstreams {
		for _, name := range append([]string{u.name}, u.aliases...) {
			if name == "" || owners[name] {
				t.Fatalf("%q has two owners", name)
			}
			owners[name] = true
		}
		if u.isDefault {
			defaults++
		}
		if (u.url == "") != isWildcard(u.name) || u.tagTTL < neverAsk || u.maxStale < 0 {
			t.Fatalf("got %+v", u)
		}
	}
	if defaults > 1 || cfg.listen == "" || cfg.admin == "" || cfg.drain < 0 || cfg.policy.Anonymous > access.All {
		t.Fatalf("got %+v", cfg)
	}
}

// Every key of the file has its place in the documentation.
func TestEveryKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../doc/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range [][]string{{"server"}, {"storage"}, {"auth"}, {"upstream"}, {"upstream", "account"}, {"upstream", "tag"}, {"hosted"}} {
		for _, key := range keysOf(fieldOf(table)) {
			full := strings.Join(append(table, key), ".")
			if !strings.Contains(string(text), "`"+key+"`") && !strings.Contains(string(text), full) {
				t.Errorf("doc/configuration.md does not mention %s", full)
			}
		}
	}
}

// The README's configuration has to work too.
func TestREADMEConfiguration(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Configuration\n")
	_, block, _ := strings.Cut(section, "```toml\n")
	block, _, ok := strings.Cut(block, "```")
	if !ok || !strings.Contains(block, "[[upstream]]") {
		t.Fatal("the README has no configuration")
	}
	secret := filepath.Join(t.TempDir(), "docker.password")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := parse(t, strings.ReplaceAll(block, "/etc/entrepot/docker.password", secret)); err != nil {
		t.Error(err)
	}
}
