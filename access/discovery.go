package access

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/go-jose/go-jose/v4"
)

// discoveryPath is where a discovery document is below an issuer.
const discoveryPath = "/.well-known/openid-configuration"

// fetch asks the issuer for its keys.
func (i Issuer) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	client, err := i.client()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	from := i.Keys
	if from == "" {
		at := strings.TrimSuffix(i.URL, "/") + discoveryPath
		doc, err := i.get(ctx, client, at)
		if err != nil {
			return nil, err
		}
		if from, err = parseDiscovery(doc, i.URL); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
	}
	set, err := i.get(ctx, client, from)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeySet(set)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return keys, nil
}

// errRedirect says that an issuer is somewhere else. Following it would let
// whoever answers there choose the keys.
var errRedirect = errors.New("the issuer redirects; name the URL of its keys with jwks_url")

// client returns one that trusts whom the issuer says. It is for one asking:
// there are minutes between two.
func (i Issuer) client() (*http.Client, error) {
	pool, err := i.pool()
	if err != nil {
		return nil, err
	}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
		Transport: &http.Transport{
			Proxy:             http.ProxyFromEnvironment,
			TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true,
		},
	}, nil
}

// pool returns the authorities that are believed; nil means the system's.
func (i Issuer) pool() (*x509.CertPool, error) {
	if i.CA == "" {
		return nil, nil
	}
	data, err := os.ReadFile(i.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s: it has no certificates in PEM", i.CA)
	}
	return pool, nil
}

// token returns what the issuer wants to be shown, empty for nothing.
func (i Issuer) token() (oci.Secret, error) {
	if i.TokenFile == "" {
		return oci.Secret{}, nil
	}
	data, err := os.ReadFile(i.TokenFile)
	if err != nil {
		return oci.Secret{}, err
	}
	if data = bytes.TrimSpace(data); len(data) == 0 || bytes.ContainsAny(data, " \r\n\t") {
		return oci.Secret{}, fmt.Errorf("%s: it does not hold one token", i.TokenFile)
	}
	return oci.NewSecret(string(data)), nil
}

// tells reports whether our token is shown at a URL: at those that the
// configuration names, and at the one that discovery names where it is the same
// server or one that CA vouches for, as a Kubernetes API server is by its
// address.
func (i Issuer) tells(at *url.URL) bool {
	if i.Keys != "" {
		return true
	}
	own, err := url.Parse(i.URL)
	return err == nil && (at.Scheme == own.Scheme && at.Host == own.Host || i.CA != "" && at.Scheme == "https")
}

// get reads one document.
func (i Issuer) get(ctx context.Context, client *http.Client, at string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	req.Header.Set("User-Agent", "entrepot")
	if i.tells(req.URL) {
		token, err := i.token()
		if err != nil {
			return nil, err
		}
		if !token.Empty() {
			req.Header.Set("Authorization", "Bearer "+token.Reveal())
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", at, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", at, err)
	}
	if len(data) > maxDocument {
		return nil, fmt.Errorf("%s answered more than %d bytes", at, maxDocument)
	}
	return data, nil
}
