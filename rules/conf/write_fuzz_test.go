package conf

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// A dice makes choices of bytes.
type dice struct {
	data   []byte
	source rules.Dialect // whose files may say what comes out
}

func (d *dice) roll(n int) int {
	if len(d.data) == 0 {
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return int(b) % n
}

// one returns true once in n times.
func (d *dice) one(n int) bool { return d.roll(n) == n-1 }

func pick[T any](d *dice, from []T) T { return from[d.roll(len(from))] }

var (
	diceHosts   = []string{"quay.io", "docker.io", "ghcr.io", "registry.example.com:5000", "a.example.com", "localhost:5000", "10.1.2.3", "[2001:db8::1]:5000", "index.docker.io", "One", "registry-1.docker.io"}
	diceMirrors = []string{"m1.example.net", "m2.example.net:5000", "10.0.0.5:5000", "localhost:5001", "quay.io", "mirror", "m3.example.net:80", "[2001:db8::2]:5000", "registry-1.docker.io", "m4.example.net", ""}
	dicePaths   = []string{"", "", "proj", "proj/hub", "team", "Team", "a.b/c", "v2"}
	diceRoots   = []string{"", "", "", "/", "/nexus/v2", "/nexus", "/v2"}
)

// config makes any configuration at all.
func (d *dice) config() rules.Config {
	cfg := rules.Config{Rules: make([]rules.Rule, 1+d.roll(4))}
	for i := range cfg.Rules {
		rule := &cfg.Rules[i]
		rule.Origin = rules.Origin{File: "f", Line: i + 1, Format: "x"}
		rule.Match = d.match()
		rule.Endpoints = make([]rules.Endpoint, d.roll(4))
		for j := range rule.Endpoints {
			rule.Endpoints[j] = d.endpoint()
		}
		switch d.roll(6) {
		case 4:
			rule.Upstream = rules.Upstream{Kind: rules.At, Endpoint: d.endpoint()}
		case 5:
			rule.Upstream.Kind = rules.None
		default:
			rule.Upstream.Endpoint.Transport, rule.Upstream.Endpoint.Scheme = d.transport()
			rule.Upstream.Endpoint.Blocked = d.one(6)
		}
	}
	if d.one(3) {
		h := rules.HostSettings{Origin: rules.Origin{File: "f", Line: 20}}
		h.Transport, h.Scheme = d.transport()
		cfg.Hosts = map[string]rules.HostSettings{pick(d, append(diceMirrors, diceHosts...)): h}
	}
	return cfg
}

func (d *dice) match() rules.Match {
	switch d.roll(8) {
	case 5:
		if !d.source.Textual {
			return rules.Match{Kind: rules.Any}
		}
		fallthrough
	case 6:
		return rules.Match{Kind: rules.HostSuffix, Host: "example.com"}
	case 7:
		return rules.Match{Kind: rules.Prefix, Host: pick(d, diceHosts), Path: pick(d, []string{"team", "team/sub", "library"})}
	default:
		return rules.Match{Kind: rules.Host, Host: pick(d, diceHosts)}
	}
}

func (d *dice) endpoint() rules.Endpoint {
	ep := rules.Endpoint{
		Host: pick(d, diceMirrors), APIRoot: pick(d, diceRoots), Origin: rules.Origin{File: "f", Line: 30},
		Repo: rules.Repo{Prefix: pick(d, dicePaths), StripMatched: d.one(2)},
	}
	if d.source.HostInPath && ep.Repo.Prefix == "a.b/c" {
		ep.Repo.Prefix = "" // which would be the host
	}
	ep.Transport, ep.Scheme = d.transport()
	switch d.roll(8) {
	case 3:
		ep.Kinds = rules.Tags
	case 4:
		ep.Kinds = rules.Digests
	case 5:
		ep.Can = rules.Pull
	case 6:
		ep.Can = rules.Push
	case 7:
		ep.Can = rules.Pull | rules.Resolve
	}
	switch d.roll(4) {
	case 2:
		ep.NS.Source = true
	case 3:
		ep.NS.Value = "x.example.com"
	}
	if d.one(10) {
		ep.Unusable = "no"
	}
	if d.one(10) {
		ep.Blocked = true
	}
	if d.one(10) {
		ep.Repo.Rewrites = []rules.Rewrite{{Pattern: regexp.MustCompile("^sample/(.*)"), Replace: "other/$1"}}
	}
	return ep
}

func (d *dice) transport() (*rules.Transport, rules.Scheme) {
	if d.roll(3) != 2 {
		return nil, rules.SchemeUnset
	}
	tr := rules.Transport{SkipVerify: d.one(2)}
	if d.one(4) {
		tr.CA = pick(d, [][]string{{"/etc/ca.pem"}, {"/a.pem", "/b.pem"}, {inline}})
	}
	if d.one(5) {
		tr.Client = []rules.KeyPair{{Cert: "/c.pem", Key: pick(d, []string{"/k.pem", ""})}}
	}
	if d.one(5) {
		tr.Header = []rules.Header{{Name: "X-A", Values: []string{"1", `"2"`}}}
	}
	if d.one(5) {
		tr.DialTimeout = 200 * time.Millisecond
	}
	tr.InlineAuth = d.one(8)
	return &tr, rules.Scheme(d.roll(4))
}

// FuzzWrite writes any rules in every format. Nothing panics, every loss has a
// name, files stay below their directory, the same comes out again, and where
// nothing is lost every image has the same places.
func FuzzWrite(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01\x05\x03\x01\x02\x03\x04\x05\x06\x07\x08\x09"))
	for i := range byte(40) {
		f.Add(bytes.Repeat([]byte{i, i * 7, 3 * i, i + 1}, 20))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 200 {
			return
		}
		d := &dice{data: slices.Clone(data)}
		d.source = rules.Native()
		if client := pick(d, append([]string{""}, rules.Clients()...)); client != "" {
			d.source = dialectOf(t, client)
		}
		cfg := d.config()
		for _, format := range Writers() {
			writeAny(t, cfg, format, WriteOptions{
				Source: d.source, Widen: len(data)%2 == 0, Hosts: []string{"quay.io", "b.example.com"}[:len(data)%3],
				ReadFile: func(string) ([]byte, error) { return testCA, nil },
			})
		}
	})
}

func writeAny(t *testing.T, cfg rules.Config, format string, opts WriteOptions) {
	t.Helper()
	files, losses, err := Write(cfg, format, opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range losses {
		if l.Feature == "" || l.Text == "" {
			t.Errorf("%s: a loss without a name: %+v", format, l)
		}
	}
	for _, file := range files {
		if !fs.ValidPath(file.Name) {
			t.Errorf("%s: %q is no path below a directory", format, file.Name)
		}
	}
	again, _, err := Write(cfg, format, opts)
	if diff := cmp.Diff(files, again); err != nil || diff != "" {
		t.Errorf("%s: written again: %v\n%s", format, err, diff)
	}
	if len(losses) == 0 {
		sameImages(t, cfg, opts.Source, files, format)
	}
}

// sameImages holds that the result asks the same places for images as the
// source, in addresses alone: the comparison that Write makes is not used.
func sameImages(t *testing.T, cfg rules.Config, source rules.Dialect, files []File, format string) {
	t.Helper()
	target := dialectOf(t, Clients(format)[0])
	result, err := readBack(files, formatNamed(t, format), target)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"quay.io", "ghcr.io", "registry.example.com:5000", "b.example.com", "docker.io"} {
		if (target.Textual || source.Textual) && strings.Contains(host, ":") {
			continue // podman takes a rule for a host whatever its port is
		}
		for _, path := range []string{"/team/app:1", "/other/x/y@" + sampleDigest, "/library/alpine:3"} {
			r := parseRef(t, host+path)
			want, got := asked(rules.New(cfg), r, source), asked(rules.New(result), r, target)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s from %q: %s (-source +result):\n%s", format, source.Client, r, diff)
			}
		}
	}
}

const sampleDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// asked returns the addresses that are asked for an image.
func asked(set *rules.Set, r ref.Ref, d rules.Dialect) []string {
	d.SplitFallback = false
	plan := set.Plan(r, rules.Pull, d)
	var out []string
	for i := range plan.Tries {
		try := &plan.Tries[i]
		if !try.Blocked && try.Unusable == "" {
			out = append(out, strings.Replace(try.URL(), "//index.docker.io/", "//registry-1.docker.io/", 1))
		}
	}
	return slices.Compact(out)
}

// TestWriteWithin holds that rules which a format can express are never
// refused, and lead to the same places.
func TestWriteWithin(t *testing.T) {
	for _, format := range Writers() {
		t.Run(format, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			for range 100 {
				cfg := within(rng, writers()[format].limits)
				files, losses, err := Write(cfg, format, WriteOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if Refused(losses) > 0 {
					t.Errorf("%+v\nrefused: %s", cfg, lossText(losses))
				}
				if len(losses) == 0 {
					sameImages(t, cfg, rules.Native(), files, format)
				}
			}
		})
	}
}

// within makes a configuration that a format can express.
func within(rng *rand.Rand, l limits) rules.Config {
	var cfg rules.Config
	for i, host := range []string{"docker.io", "quay.io", "ghcr.io", "registry.example.com:5000"} {
		if l.hubOnly && i > 0 {
			break
		}
		rule := rules.Rule{Match: rules.MatchName(host), Origin: rules.Origin{File: "f", Line: i + 1}}
		if l.namespaces && rng.IntN(3) == 0 {
			rule.Match = rules.MatchName(host + "/team")
		}
		for j := range 1 + rng.IntN(3) {
			ep := rules.Endpoint{Host: fmt.Sprintf("m%d-%d.example.net", i, j), Origin: rule.Origin, Repo: rules.Repo{StripMatched: true}}
			if l.paths >= pathsNamespace && rng.IntN(2) == 0 {
				ep.Repo.Prefix = "proj/hub"
			}
			if _, ok := l.reach[plainHTTP]; ok && rng.IntN(3) == 0 && l.scope != scopeHost {
				ep.Scheme = rules.HTTP
			}
			if l.kinds&rules.Digests != 0 && rng.IntN(4) == 0 {
				ep.Kinds = rules.Digests
			}
			ep.NS.Source = l.ns == nsSource
			rule.Endpoints = append(rule.Endpoints, ep)
		}
		if l.single {
			rule.Endpoints, rule.Upstream.Kind = rule.Endpoints[:1], rules.None
			rule.Endpoints[0].Scheme = rules.SchemeUnset
		}
		cfg.Rules = append(cfg.Rules, rule)
	}
	return cfg
}

// testCA is a certificate, made for these tests.
var testCA = []byte(`-----BEGIN CERTIFICATE-----
MIIBaDCCAQ2gAwIBAgIBATAKBggqhkjOPQQDAjAaMRgwFgYDVQQDEw9maXh0dXJl
IHRlc3QgQ0EwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBoxGDAW
BgNVBAMTD2ZpeHR1cmUgdGVzdCBDQTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA
BN6srbhXU2lpSFJs9hsnAzWqLXk1LOyaSPsj5f60G1BEBx0QNdzSOEsDRon47lfZ
vnmKB9X7wtMQrorvu1vr1oqjQjBAMA4GA1UdDwEB/wQEAwICBDAPBgNVHRMBAf8E
BTADAQH/MB0GA1UdDgQWBBSKdN/Eid9ufK+dzCBo5TnQJZnJbzAKBggqhkjOPQQD
AgNJADBGAiEAjz39ccKl2aRL+tzth4TQiY7cOd04fcLoyzF6FdLOxMICIQDQ1kCz
OB+IFTUI5cMehW4DTzEJpZVsOKCv1NZnraAvVQ==
-----END CERTIFICATE-----
`)
