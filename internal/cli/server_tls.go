package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/entrepot/entrepot/internal/edge"
)

// certificatePoll is how often the files of our certificate are looked at.
const certificatePoll = 2 * time.Second

// loadTLS reads our certificate. It returns nil where plain HTTP is served.
func (s *server) loadTLS() (*tls.Config, error) {
	if s.cfg.tlsCert == "" {
		return nil, nil
	}
	var err error
	if s.cert, err = edge.LoadCertificate(s.cfg.tlsCert, s.cfg.tlsKey); err != nil {
		return nil, failure(fmt.Errorf("read TLS certificate: %w", err), "tls_cert and tls_key are PEM files, the certificate first and its chain after it")
	}
	all, err := authorities(s.cfg.clientCA)
	if err != nil {
		return nil, err
	}
	s.clients.ask(s.cert, all)
	return &tls.Config{GetCertificate: s.cert.Get, GetConfigForClient: s.clients.config, MinVersion: tls.VersionTLS12}, nil
}

// A clientTLS is how connections are made from now on: whose certificates
// clients are asked for can change.
type clientTLS struct {
	now atomic.Pointer[tls.Config] // nil: as connections are made without certificates of clients
}

func (c *clientTLS) config(*tls.ClientHelloInfo) (*tls.Config, error) { return c.now.Load(), nil }

// ask has clients asked for certificates by these authorities, and not asked
// where there are none.
func (c *clientTLS) ask(own *edge.Certificate, all []*x509.Certificate) {
	if len(all) == 0 {
		c.now.Store(nil)
		return
	}
	// Only these: what the system trusts says nothing about who may call.
	pool := x509.NewCertPool()
	for _, ca := range all {
		pool.AddCert(ca)
	}
	c.now.Store(&tls.Config{
		GetCertificate: own.Get, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven,
		SessionTicketsDisabled: true, // a session that is taken up again would bring a certificate of yesterday
	})
}

// authorities reads the certificates of client_ca; none for "".
func authorities(path string) ([]*x509.Certificate, error) {
	if path == "" {
		return nil, nil
	}
	fail := func(err error) error {
		return failure(fmt.Errorf("read client_ca: %w", err), "client_ca is a PEM file with the certificates of authorities")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fail(err)
	}
	var all []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fail(fmt.Errorf("%s: %w", path, err))
		}
		all = append(all, ca)
	}
	if all == nil {
		return nil, fail(fmt.Errorf("%s has no certificates", path))
	}
	return all, nil
}

// followCertificate takes another certificate when its files change, until ctx
// ends.
func (s *server) followCertificate(ctx context.Context) {
	if s.cert != nil {
		s.cert.Watch(ctx, certificatePoll, s.certificateRead)
	}
}

// refreshCertificate looks at the files now.
func (s *server) refreshCertificate() {
	if s.cert == nil {
		return
	}
	if changed, err := s.cert.Refresh(); changed || err != nil {
		s.certificateRead(err)
	}
}

// certificateRead tells that a certificate was taken, or why it was not.
func (s *server) certificateRead(err error) {
	s.metrics.CertificateReload(err == nil)
	if err != nil {
		s.log.Error("TLS certificate not reloaded, the one from before stays", "err", err)
		return
	}
	s.log.Info("TLS certificate reloaded", "file", s.cfg.tlsCert)
}
