//go:build unix

package cli

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestCertificateRotatesUnderLoad holds that certificates that are replaced,
// again and again, while every request of many clients begins with a handshake
// cost none of them; that the new one is what a handshake then gets; and that
// one that does not fit its key changes nothing.
func TestCertificateRotatesUnderLoad(t *testing.T) {
	dir := t.TempDir()
	pool := writeCertificate(t, dir)
	r := start(t, fmt.Sprintf("[server]\ntls_cert = %q\ntls_key = %q", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
	var trusted atomic.Pointer[x509.CertPool] // the last and the one before
	trusted.Store(pool)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, // replaced by the next line, which can look at a pool that changes
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: trusted.Load()})
			return err
		},
	}}}
	ping := func() error {
		resp, err := client.Get(r.url + "/v2/")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}

	var rotations, pings atomic.Int64
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for rotations.Load() < 10 {
				if err := ping(); err != nil {
					t.Errorf("after %d rotations: %v", rotations.Load(), err)
					return
				}
				pings.Add(1)
			}
		})
	}
	hangUp := func(text string, n int) {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		r.out.waitCount(t, text, n)
	}
	for ; rotations.Load() < 10; rotations.Add(1) {
		next := replaceCertificate(t, dir)
		both := trusted.Load().Clone()
		both.AddCert(next)
		trusted.Store(both)
		hangUp(`msg="TLS certificate reloaded"`, int(rotations.Load())+1)
	}
	load.Wait()
	if pings.Load() == 0 {
		t.Error("nobody asked anything")
	}

	next := replaceCertificate(t, dir)
	trusted.Store(x509.NewCertPool())
	trusted.Load().AddCert(next)
	hangUp(`msg="TLS certificate reloaded"`, 11)
	if err := ping(); err != nil {
		t.Errorf("the new certificate alone: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	hangUp("TLS certificate not reloaded, the one from before stays", 1)
	if err := ping(); err != nil {
		t.Errorf("with a broken key: %v", err)
	}
	r.client = http.DefaultClient
	defer http.DefaultClient.CloseIdleConnections()
	r.counts(`entrepot_tls_reloads_total{result="done"} 11`, `entrepot_tls_reloads_total{result="failed"} 1`)
}

// replaceCertificate puts another pair in the place of the one that is there,
// each file at once, as those who renew certificates do; the certificate first,
// so that for a moment the two do not fit. It returns the certificate.
func replaceCertificate(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	made := t.TempDir()
	writeCertificate(t, made)
	pair, err := tls.LoadX509KeyPair(filepath.Join(made, "cert.pem"), filepath.Join(made, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cert.pem", "key.pem"} {
		if err := os.Rename(filepath.Join(made, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return pair.Leaf
}
