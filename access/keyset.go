package access

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

const (
	// maxDocument limits what an issuer answers, in bytes.
	maxDocument = 1 << 20
	// maxKeys limits the keys of an issuer.
	maxKeys = 100
	// The sizes of RSA keys that are taken, in bits: below they are weak, and
	// above checking a signature takes long.
	minRSA, maxRSA = 2048, 8192
)

// parseKeySet reads a key set (RFC 7517, section 5). What it has besides public
// keys that can check a token's signature is left out.
func parseKeySet(data []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, errors.New("the key set is no JSON object with keys")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the key set has %d keys, the limit is %d", len(set.Keys), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if err := k.UnmarshalJSON(raw); err != nil || k.Use != "" && k.Use != "sig" {
			continue
		}
		if slices.ContainsFunc(foreignAlgorithms, func(a jose.SignatureAlgorithm) bool { return fits(k, a) }) {
			keys = append(keys, k)
		}
	}
	if keys == nil {
		return nil, errors.New("the key set has no key that tokens could be signed with")
	}
	return keys, nil
}

// fits reports whether a key is one for an algorithm. The key decides, never
// the token. Only public keys fit: a symmetric one would let anybody who knows
// the set make tokens, and so would a private one.
func fits(k jose.JSONWebKey, alg jose.SignatureAlgorithm) bool {
	if !k.Valid() || k.Algorithm != "" && k.Algorithm != string(alg) {
		return false
	}
	switch public := k.Key.(type) {
	case *rsa.PublicKey:
		rsaOnly := []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
		bits := public.N.BitLen()
		return bits >= minRSA && bits <= maxRSA && slices.Contains(rsaOnly, alg)
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			return alg == jose.ES256
		case elliptic.P384():
			return alg == jose.ES384
		case elliptic.P521():
			return alg == jose.ES512
		}
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}

// parseDiscovery reads a discovery document and returns where the keys are. It
// has to be about the issuer that was asked (OpenID Connect Discovery 1.0,
// section 4.3).
func parseDiscovery(data []byte, issuer string) (keys string, err error) {
	var doc struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return "", errors.New("the discovery document is no JSON object")
	}
	if doc.Issuer != issuer {
		return "", fmt.Errorf("the discovery document is about %q, not about %q", doc.Issuer, issuer)
	}
	if err := checkIssuerURL(doc.Keys); err != nil {
		return "", fmt.Errorf("the jwks_uri of the discovery document: %w", err)
	}
	return doc.Keys, nil
}
