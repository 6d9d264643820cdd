package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/entrepot/entrepot/rules"
)

// inlineFile is what stands for a file whose text is in the rules themselves.
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
			if err := addCA(pool, name, t.InlineCA); err != nil {
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

// addCA adds the authorities of a file, or of the rules themselves.
func addCA(pool *x509.CertPool, name, inline string) error {
	pem := []byte(inline)
	if name != inlineFile {
		var err error
		if pem, err = os.ReadFile(name); err != nil {
			return err
		}
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", name)
	}
	return nil
}

// errInline says what rules do not keep: the key is a secret.
var errInline = errors.New("it stands in the configuration itself, and is read from files only")

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

// below returns a transport with the files that rules of the machine below
// root name.
func below(root string, t *rules.Transport) *rules.Transport {
	if root == "" || t == nil {
		return t
	}
	at := func(name string) string {
		if name == "" || name == inlineFile {
			return name
		}
		return filepath.Join(root, name)
	}
	moved := *t
	moved.CA, moved.Client = nil, nil
	for _, name := range t.CA {
		moved.CA = append(moved.CA, at(name))
	}
	for _, pair := range t.Client {
		moved.Client = append(moved.Client, rules.KeyPair{Cert: at(pair.Cert), Key: at(pair.Key)})
	}
	return &moved
}
