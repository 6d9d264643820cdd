package oracle

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"
)

// A gen makes things up. The same seed and number make the same things.
//
// Half of the configurations are tidy: what a careful administrator would
// write, so that rules are met and not only errors.
type gen struct {
	*mathrand.Rand
	authority
	tidy bool
	// spell writes a key. It is one for all keys of a configuration: containers/image
	// settles keys that differ in case alone by chance.
	spell func(string) string
}

func newGen(seed, n uint64, a authority) *gen {
	g := &gen{Rand: mathrand.New(mathrand.NewPCG(seed, n)), authority: a, spell: func(s string) string { return s }}
	g.tidy = g.maybe(0.5)
	switch {
	case g.odd(0.05):
		g.spell = func(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
	case g.odd(0.05):
		g.spell = strings.ToUpper
	}
	return g
}

func (g *gen) pick(of ...string) string { return of[g.IntN(len(of))] }
func (g *gen) maybe(p float64) bool     { return g.Float64() < p }

// odd is maybe for what a careful administrator does not do.
func (g *gen) odd(p float64) bool { return g.maybe(p) && !g.tidy }

// An authority is a certificate with its key, in PEM.
type authority struct{ cert, private string }

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return authority{
		cert:    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
		private: string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
	}
}

// host returns a registry's name; few, so that configurations and references
// meet.
func (g *gen) host() string {
	if g.odd(0.2) {
		return g.pick("[::1]:5000", "[::1]", "registry", "registry:5000", "Quay.IO", "QUAYIO", "a.example.com.b.example.com")
	}
	return g.pick("quay.io", "docker.io", "index.docker.io", "registry-1.docker.io", "example.com", "a.example.com", "eu.example.com",
		"a.b.example.com", "example.com:5000", "a.example.com:5000", "m.corp", "m.corp:8443",
		"localhost", "localhost:5000", "localhost:443", "localhost:80", "127.0.0.1:5000", "10.0.0.1", "10.0.0.1:5000")
}

// path returns a namespace or a repository with a slash in front, or nothing.
func (g *gen) path() string {
	if g.odd(0.1) {
		return g.pick("/Team", "/a//b", "/")
	}
	return g.pick("", "", "", "/team", "/team/app", "/library", "/library/alpine", "/a", "/a/b", "/teams")
}

const digest = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// tag returns what follows a repository in a reference.
func (g *gen) tag() string { return g.pick("", ":1", ":1", digest, ":1"+digest) }

// image returns a reference.
func (g *gen) image() string {
	repo := g.pick("team", "team/app", "team/app/x", "library/alpine", "a", "a/b", "a/b/c", "teams/x", "alpine")
	if g.maybe(0.15) {
		return g.pick("alpine", "team/app", "library/alpine") + g.tag()
	}
	return g.host() + "/" + repo + g.tag()
}

// oddly returns one of these seldom, and most of the time nothing.
func (g *gen) oddly(p float64, of ...string) string {
	if g.odd(p) {
		return g.pick(of...)
	}
	return ""
}

// flag returns a boolean of TOML, seldom something else.
func (g *gen) flag() string {
	if g.odd(0.03) {
		return g.pick(`"true"`, "1", "[]")
	}
	return g.pick("true", "false")
}

// list returns a list of strings, as JSON, TOML and YAML write it.
func (g *gen) list(most int, item func() string) string {
	var items []string
	for range g.IntN(most + 1) {
		items = append(items, fmt.Sprintf("%q", item()))
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// key returns a key as it is written.
func (g *gen) key(name string) string {
	if name = g.spell(name); g.odd(0.03) {
		return `"` + name + `"`
	}
	return name
}

// mutate damages a text now and then: as an editor, a bad copy or a tired
// administrator does.
func (g *gen) mutate(s string) string {
	for s != "" && g.odd(0.2) {
		i := g.IntN(len(s))
		switch g.IntN(4) {
		case 0:
			s = s[:i] + s[i+1:]
		case 1:
			s = s[:i] + g.pick("[", "]", "{", "}", `"`, "'", "=", "#", ".", "\n", ",", " ", "1", "\\", "\t", "_", "-", "T", "\r", "\x00", "ü", "\xff", ":") + s[i:]
		case 2:
			s = g.moveLine(s)
		case 3:
			s += s[strings.LastIndexByte(s[:i], '\n')+1:] // the end once more
		}
	}
	switch {
	case g.odd(0.01) && s != "":
		return s[:g.IntN(len(s))]
	case g.odd(0.01):
		return "\ufeff" + s
	case g.odd(0.02):
		return strings.ReplaceAll(s, "\n", "\r\n")
	case g.odd(0.02):
		return strings.ReplaceAll(s, "\n", "\n  ")
	}
	return s
}

// moveLine exchanges two lines.
func (g *gen) moveLine(s string) string {
	lines := strings.SplitAfter(s, "\n")
	i, j := g.IntN(len(lines)), g.IntN(len(lines))
	lines[i], lines[j] = lines[j], lines[i]
	return strings.Join(lines, "")
}
