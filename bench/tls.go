package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// tlsCases are warm blobs and manifests over TLS 1.3 with AES-128-GCM, which is
// what crypto/tls chooses where the processor has AES.
func tlsCases() []testCase {
	var all []testCase
	for _, clients := range []int{1, 8} {
		all = append(all, testCase{
			name: fmt.Sprintf("tls/blob/c%d", clients),
			what: fmt.Sprintf("Warm blob of 100 MiB over TLS, %d connections. Neither side has the kernel encrypt: Go cannot, and nginx's TLS would need "+
				"a kernel module. The client decrypts on the same processors, so GB/s says less than the server's own time.", clients),
			servers: []string{entrepot, nginx},
			metrics: []metric{
				{key: "GB/s", head: "GB/s", format: "%.2f"},
				{key: "cpu", head: "server CPU-s/GB", format: "%.3f"},
				{key: "client", head: "client CPU-s/GB", format: "%.3f"},
				peakMetric,
			},
			targets: []target{
				{key: "GB/s", peer: nginx, atLeast: true, bound: 0.9},
				{key: "cpu", peer: nginx, bound: 1.25},
				peakTarget,
			},
			measure: func(ctx context.Context, b *bench, server string, _ int) (sample, error) {
				return b.measureBlob(ctx, overTLS(server), b.content.hundred, clients)
			},
		})
	}
	return append(all, testCase{
		name:    "tls/manifest",
		what:    "Warm manifest of about 1.5 kB by digest over TLS, 32 connections of wrk -t1.",
		needs:   "wrk",
		servers: []string{entrepot, nginx},
		metrics: manifestMetrics,
		targets: []target{
			{key: "req/s", peer: nginx, atLeast: true, bound: 0.5},
			{key: "p99", bound: 5},
			peakTarget,
		},
		measure: func(ctx context.Context, b *bench, server string, _ int) (sample, error) {
			m := b.content.repo(smallRepo).manifests[0]
			return b.measureManifest(ctx, overTLS(server), m, m.Digest)
		},
	})
}

// overTLS is the name of a server that speaks TLS, and plain that of the same
// one without.
func overTLS(server string) string { return server + tlsSuffix }

func plain(server string) string { return strings.TrimSuffix(server, tlsSuffix) }

const tlsSuffix = " over TLS"

// startNginxTLS serves the content as files over TLS, with our cipher.
func (b *bench) startNginxTLS(ctx context.Context) (*process, error) {
	block := strings.NewReplacer("CERT", b.pair.cert, "KEY", b.pair.key).Replace(`
  server {
    listen ADDR ssl;
    root ROOT;
    ssl_certificate CERT;
    ssl_certificate_key KEY;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_session_cache shared:tls:1m;
  }`)
	return b.startNginxWith(ctx, b.newName("nginx"), block, b.pair)
}

// A keyPair is a certificate for the loopback address that signs itself, with
// its key, in files. A nil pair stands for plain HTTP.
type keyPair struct {
	cert, key string // files
	pool      *x509.CertPool
}

// newKeyPair makes a pair in a directory.
func newKeyPair(dir string) (*keyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	p := &keyPair{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), pool: x509.NewCertPool()}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	p.pool.AppendCertsFromPEM(text)
	return p, errors.Join(
		os.WriteFile(p.cert, text, 0o644),
		os.WriteFile(p.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
}

func (p *keyPair) scheme() string {
	if p == nil {
		return "http://"
	}
	return "https://"
}

// config trusts the pair and nothing else.
func (p *keyPair) config() *tls.Config {
	return &tls.Config{RootCAs: p.pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}
}

// client returns one that keeps no connection for others.
func (p *keyPair) client() *http.Client {
	t := &http.Transport{}
	if p != nil {
		t.TLSClientConfig = p.config()
	}
	return &http.Client{Transport: t}
}

// secure begins TLS on a connection, and makes sure that the cipher is the one
// that every server is measured with.
func (p *keyPair) secure(ctx context.Context, c *conn) error {
	t := tls.Client(c.tcp, p.config())
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	if got, want := t.ConnectionState().CipherSuite, tls.TLS_AES_128_GCM_SHA256; got != want {
		return fmt.Errorf("the server chose %s, not %s", tls.CipherSuiteName(got), tls.CipherSuiteName(want))
	}
	c.stream = t
	c.buf.Reset(t)
	return nil
}
