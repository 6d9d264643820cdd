package edge

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// write puts a pair with a serial number into a directory.
func write(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(serial)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func load(t *testing.T, dir string) *Certificate {
	t.Helper()
	c, err := LoadCertificate(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serial is that of the certificate that a handshake gets.
func serial(t *testing.T, c *Certificate) int64 {
	t.Helper()
	pair, err := c.Get(nil)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf.SerialNumber.Int64()
}

func refresh(t *testing.T, c *Certificate, want bool) {
	t.Helper()
	if changed, err := c.Refresh(); err != nil || changed != want {
		t.Errorf("refreshed: got %t, %v, want %t", changed, err, want)
	}
}

func TestRefreshTakesAnotherPair(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, 1)
	c := load(t, dir)
	refresh(t, c, false)
	write(t, dir, 2)
	refresh(t, c, true)
	refresh(t, c, false)
	if got := serial(t, c); got != 2 {
		t.Errorf("got the certificate %d, want 2", got)
	}
}

// A mounted Secret of Kubernetes is a directory of links to ..data/NAME, and
// ..data a link that is switched from one version to the next.
func TestRefreshFollowsASwitchedLink(t *testing.T) {
	dir := t.TempDir()
	for i, version := range []string{"..1", "..2"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version), int64(i+1))
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..1", "..data")
	link("..data/tls.crt", "tls.crt")
	link("..data/tls.key", "tls.key")
	c := load(t, dir)
	link("..2", "..data_tmp")
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	refresh(t, c, true)
	if got := serial(t, c); got != 2 {
		t.Errorf("got the certificate %d, want 2", got)
	}
}

// Between the writing of a certificate and that of its key they do not fit.
func TestRefreshKeepsWhatItHas(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	write(t, dir, 1)
	write(t, other, 2)
	c := load(t, dir)
	move := func(name string) {
		t.Helper()
		if err := os.Rename(filepath.Join(other, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	move("tls.crt")
	if changed, err := c.Refresh(); err == nil || !changed || !strings.Contains(err.Error(), "tls.key: ") {
		t.Errorf("half a pair: got %t, %v, want an error that names the file", changed, err)
	}
	if got := serial(t, c); got != 1 {
		t.Errorf("got the certificate %d, want the one from before", got)
	}
	refresh(t, c, false) // told once
	move("tls.key")
	refresh(t, c, true)
	if err := os.Remove(filepath.Join(dir, "tls.key")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.Refresh(); !os.IsNotExist(err) {
			t.Errorf("without a key: got %v", err)
		}
	}
	if got := serial(t, c); got != 2 {
		t.Errorf("got the certificate %d, want the one from before", got)
	}
}

func TestLoadFailsWithoutAPair(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadCertificate(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")); !os.IsNotExist(err) {
		t.Errorf("without files: got %v", err)
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("nothing"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := LoadCertificate(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")); err == nil {
		t.Error("files that hold nothing are taken")
	}
}

func TestWatchTellsEachThingOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, 1)
	c := load(t, dir)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		told := make(chan error, 10)
		go c.Watch(ctx, time.Second, func(err error) { told <- err })
		after := func(want ...bool) {
			t.Helper()
			time.Sleep(3500 * time.Millisecond) // of the bubble's clock
			synctest.Wait()
			if len(told) != len(want) {
				t.Fatalf("told %d times, want %d", len(told), len(want))
			}
			for _, taken := range want {
				if err := <-told; (err == nil) != taken {
					t.Errorf("told %v, want that it was taken: %t", err, taken)
				}
			}
		}
		after()
		write(t, dir, 2)
		after(true)
		if err := os.Remove(filepath.Join(dir, "tls.key")); err != nil {
			t.Fatal(err)
		}
		after(false)
		write(t, dir, 3)
		after(true)
		cancel()
		synctest.Wait()
	})
	if got := serial(t, c); got != 3 {
		t.Errorf("got the certificate %d, want 3", got)
	}
}
