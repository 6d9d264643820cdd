package edge

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Certificate is a key pair that follows its files. It is safe for concurrent
// use; a handshake that looks for it never waits for a file.
type Certificate struct {
	cert, key string // files
	current   atomic.Pointer[tls.Certificate]

	mu   sync.Mutex // guards seen
	seen [sha256.Size]byte
}

// LoadCertificate reads a certificate with its chain, and its key, from PEM
// files.
func LoadCertificate(cert, key string) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key}
	if _, err := c.Refresh(); err != nil {
		return nil, err
	}
	return c, nil
}

// Get returns the pair; it is a tls.Config.GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// Refresh reads the files again and reports whether they hold something else
// than when they were last read. With an error, the pair from before stays; an
// error that comes of what the files hold is told once, that they cannot be
// read each time.
//
// What they hold is compared, and not their times: a directory whose symlink is
// switched (Kubernetes), a file that is replaced and one that is written in
// place within one tick of the clock are all seen. They are small.
func (c *Certificate) Refresh() (changed bool, err error) {
	cert, err := os.ReadFile(c.cert)
	if err != nil {
		return false, err
	}
	key, err := os.ReadFile(c.key)
	if err != nil {
		return false, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", len(cert))
	h.Write(cert)
	h.Write(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == [sha256.Size]byte(h.Sum(nil)) {
		return false, nil
	}
	c.seen = [sha256.Size]byte(h.Sum(nil))
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return true, fmt.Errorf("%s and %s: %w", c.cert, c.key, err)
	}
	c.current.Store(&pair)
	return true, nil
}

// Watch refreshes the certificate every so often until ctx ends. It reports
// each other pair that it took, by a nil error, and each reason not to once for
// as long as it stays the same.
func (c *Certificate) Watch(ctx context.Context, every time.Duration, report func(error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed, err := c.Refresh()
		switch {
		case err != nil && err.Error() != told:
			told = err.Error()
			report(err)
		case err == nil && changed:
			told = ""
			report(nil)
		}
	}
}
