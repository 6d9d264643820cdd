package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/entrepot/entrepot/rules"
)

// inlineFile is what stands for a file whose text is in the rules themselves;
// the rules do not keep it.
const inlineFile = "inline"

// tlsOf returns the settings of a transport, nil for none. Files are read now.
func tlsOf(t *rules.Transport) (*tls.Config, error) {
	if t == nil || !t.SkipVerify && len(t.CA) == 0 && len(t.Client) == 0 {
		return nil, nil
	}
	cfg := &tls.Config{InsecureSkipVerify: t.SkipVerify}
	if len(t.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, err
		}
		for _, name := range t.CA {
			if err := addCA(pool, name); err != nil {
				return nil, fmt.Errorf("read CA: %w", err)
			}
		}
		cfg.RootCAs = pool
	}
	for _, pair := range t.Client {
		cert, err := loadPair(pair)
		if err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
		cfg.Certificates = append(cfg.Certificates, cert)
	}
	return cfg, nil
}

var errInline = errors.New("it stands in the configuration itself, and is read from files only")

func addCA(pool *x509.CertPool, name string) error {
	if name == inlineFile {
		return errInline
	}
	pem, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", name)
	}
	return nil
}

func loadPair(pair rules.KeyPair) (tls.Certificate, error) {
	if pair.Cert == inlineFile {
		return tls.Certificate{}, errInline
	}
	key := pair.Key
	if key == "" {
		key = pair.Cert
	}
	return tls.LoadX509KeyPair(pair.Cert, key)
}
