package conf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"

	"github.com/entrepot/entrepot/rules"
)

// pem reads a certificate file of the machine, by its absolute path. Of one that
// is on another machine it returns nothing, and no error.
func (r *reading) pem(name string) ([]byte, error) {
	if r.src.Elsewhere {
		return nil, nil
	}
	if r.src.FS == nil {
		return nil, fmt.Errorf("read %s: %w", name, fs.ErrNotExist)
	}
	data, err := fs.ReadFile(r.src.FS, fsPath(name))
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err // its path lacks the root
		}
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// checkCA reports why a file of authorities cannot be used.
func (r *reading) checkCA(name string) error {
	data, err := r.pem(name)
	if err != nil || r.src.Elsewhere {
		return err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(data) {
		return fmt.Errorf("%s holds no certificate", name)
	}
	return nil
}

// checkPair reports why the files of a client certificate cannot be used.
func (r *reading) checkPair(pair rules.KeyPair) error {
	cert, err := r.pem(pair.Cert)
	if err != nil || r.src.Elsewhere {
		return err
	}
	key := cert
	if pair.Key != "" {
		if key, err = r.pem(pair.Key); err != nil {
			return err
		}
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return fmt.Errorf("%s: %w", pair.Cert, err)
	}
	return nil
}

// hostsToml reads certs.d directories that a file of another format leads to.
func (r *reading) hostsToml(roots ...string) {
	format, fold := r.src.Format, r.fold
	r.src.Format, r.fold = "hosts.toml", true
	readHosts(r, roots...)
	r.src.Format, r.fold = format, fold
}
