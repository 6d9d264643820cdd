package conf

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"

	"github.com/entrepot/entrepot/rules"
)

// The documents of their own, and the settings of hosts in either form.

// talosInline stands for certificates that the configuration itself holds.
const talosInline = "inline"

// document reads a document of its own. Kinds that are not about registries are
// passed over.
func (t *talosConfig) document(f *file, root *node) {
	defer t.types()
	kind := t.str(f, root, "kind")
	read, ok := map[string]func(*file, *node, *node){
		"RegistryMirrorConfig": t.mirrorDocument,
		"RegistryTLSConfig":    t.tlsDocument,
		"RegistryAuthConfig":   t.authDocument,
	}[kind]
	if !ok {
		if strings.HasPrefix(kind, "Registry") {
			t.refuse(t.problem(f, root.find("kind", false).value.at, "it may be RegistryMirrorConfig, RegistryTLSConfig or RegistryAuthConfig", "there is no kind %q", kind))
		}
		return
	}
	if api := t.str(f, root, "apiVersion"); api != "v1alpha1" {
		t.refuse(t.problem(f, root.at, "write apiVersion: v1alpha1", "there is no %s in apiVersion %q", kind, api))
	}
	v := t.value(root, "name")
	if v == nil || v.kind != isString || v.text == "" {
		t.refuse(t.problem(f, root.at, "name the registry", "%s has no name", kind))
		return
	}
	id := kind + " " + v.text
	if first, ok := t.seen[id]; ok {
		t.refuse(t.problem(f, root.at, "keep one of them", "a second %s, the first is in line %d", redactPair(id), first.line))
		return
	}
	t.seen[id] = root.at
	read(f, root, v)
	t.strict(f, root, kind)
}

// mirrorDocument reads a RegistryMirrorConfig. It takes the place of an entry of
// the v1alpha1 document.
func (t *talosConfig) mirrorDocument(f *file, root, name *node) {
	rule := t.rule(f, name.at, name.text)
	for _, e := range t.tables(f, root, "endpoints") {
		v := t.typed(f, e, "url", isString)
		override := t.yes(f, e, "overridePath")
		t.strict(f, e, "an endpoint")
		if v == nil {
			t.refuse(t.problem(f, e.at, "write url: https://…", "the endpoint has no url"))
			continue
		}
		if s, _, _ := strings.Cut(v.text, "://"); !strings.EqualFold(s, "http") && !strings.EqualFold(s, "https") {
			t.refuse(t.problem(f, v.at, "write https:// or http://", "the url %q of the endpoint has an unsupported scheme", redactPair(v.text)))
			continue
		}
		t.endpoint(&rule, f, v, override)
	}
	t.fallback(&rule, f, root, name.at)
	i, ok := t.rules[name.text]
	if !ok {
		t.cfg.Rules = append(t.cfg.Rules, rule)
		return
	}
	t.silent(f, name.at, "remove one of them", "the document takes the place of the mirrors of %s in %s", name.text, t.cfg.Rules[i].Origin)
	t.cfg.Rules[i] = rule
}

// config reads an entry of machine.registries.config.
func (t *talosConfig) config(f *file, m *member) {
	h := t.host(f, m.at, m.name)
	if n := t.table(f, m.value, "tls"); n != nil {
		t.tls(h, f, n, "crt", t.base64)
		t.strict(f, n, "tls")
	}
	if n := t.table(f, m.value, "auth"); n != nil {
		t.auth(h, f, n)
		t.strict(f, n, "auth")
	}
	t.strict(f, m.value, "the settings of a host")
}

// tlsDocument reads a RegistryTLSConfig.
func (t *talosConfig) tlsDocument(f *file, root, name *node) {
	h := t.host(f, name.at, name.text)
	h.client = nil
	t.tls(h, f, root, "cert", func(_ *file, _ *node, text string) []byte { return []byte(text) })
	if v := root.find("ca", false); v != nil && v.value.text != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(v.value.text)) {
		t.refuse(t.problem(f, v.value.at, "write the certificate in PEM, not in base64", "ca holds no certificate"))
	}
}

// authDocument reads a RegistryAuthConfig.
func (t *talosConfig) authDocument(f *file, root, name *node) {
	t.auth(t.host(f, name.at, name.text), f, root)
}

// auth looks at credentials, which are not kept.
func (t *talosConfig) auth(h *talosHost, f *file, n *node) {
	h.auth = true
	for _, key := range []string{"username", "password", "auth", "identityToken"} {
		t.value(n, key)
	}
}

// base64 decodes a value of the v1alpha1 document.
func (t *talosConfig) base64(f *file, n *node, text string) []byte {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.refuse(t.problem(f, n.at, "here the PEM text is written in base64", "the value is not base64"))
	}
	return data
}

// tls reads the TLS settings of a host. cert is the key of the client
// certificate.
func (t *talosConfig) tls(h *talosHost, f *file, n *node, cert string, decode func(*file, *node, string) []byte) {
	tr := &rules.Transport{SkipVerify: t.yes(f, n, "insecureSkipVerify")}
	h.tls = tr
	if v := t.typed(f, n, "ca", isString); v != nil && v.text != "" {
		tr.CA = []string{talosInline}
		data := decode(f, v, v.text)
		tr.InlineCA = string(data)
		if t.cfg.Refused == nil && !x509.NewCertPool().AppendCertsFromPEM(data) {
			t.silent(f, v.at, "it should be a certificate in PEM", "ca holds no certificate: no authority is trusted")
		}
	}
	id := t.table(f, n, "clientIdentity")
	if id == nil {
		return
	}
	var pair [2][]byte
	for i, key := range []string{cert, "key"} {
		if v := t.typed(f, id, key, isString); v != nil {
			pair[i] = decode(f, v, v.text)
		}
	}
	t.strict(f, id, "clientIdentity")
	tr.Client = []rules.KeyPair{{Cert: talosInline, Key: talosInline}}
	if block, _ := pem.Decode(pair[0]); block == nil {
		p := t.problem(f, id.at, "write certificate and key in PEM", "the client certificate is missing or no PEM: this host cannot be asked")
		t.client(h, p)
	} else if _, err := tls.X509KeyPair(pair[0], pair[1]); err != nil {
		p := t.problem(f, id.at, "certificate and key should be a pair", "the client certificate cannot be used: %v", err)
		t.client(h, p)
	}
}

// client notes why a client certificate cannot be used: every image that the
// host has a part in then fails.
func (t *talosConfig) client(h *talosHost, p rules.Problem) {
	t.note(p)
	h.client = &p
}
