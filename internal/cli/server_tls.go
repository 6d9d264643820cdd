package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
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
	cfg := &tls.Config{GetCertificate: s.cert.Get, MinVersion: tls.VersionTLS12}
	if s.cfg.clientCA == "" {
		return cfg, nil
	}
	// Only these: what the system trusts says nothing about who may call.
	cfg.ClientCAs = x509.NewCertPool()
	if err := addCA(cfg.ClientCAs, s.cfg.clientCA, ""); err != nil {
		return nil, failure(fmt.Errorf("read client_ca: %w", err), "client_ca is a PEM file with the certificates of authorities")
	}
	cfg.ClientAuth = tls.VerifyClientCertIfGiven
	return cfg, nil
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
