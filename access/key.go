package access

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/entrepot/entrepot/oci"
	"github.com/go-jose/go-jose/v4"
)

// minKey is the length of a key for HS256, in bytes.
const minKey = 32

// A key signs tokens, by one algorithm and no other.
type key struct {
	algorithm jose.SignatureAlgorithm
	bytes     oci.Secret // an Ed25519 private key, or that of an HMAC
}

func (k key) private() any {
	if k.algorithm == jose.EdDSA {
		return ed25519.PrivateKey(k.bytes.Reveal())
	}
	return []byte(k.bytes.Reveal())
}

// public returns what checks a signature.
func (k key) public() any {
	if private, ok := k.private().(ed25519.PrivateKey); ok {
		return private.Public()
	}
	return k.private()
}

// parseKey reads a key file: an Ed25519 private key in PEM (PKCS #8), or at
// least 32 bytes of anything else, for HMAC-SHA256. Errors never show it.
func parseKey(data []byte) (key, error) {
	if block, _ := pem.Decode(data); block != nil {
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		private, ok := parsed.(ed25519.PrivateKey)
		if err != nil || !ok {
			return key{}, errors.New("the PEM file holds no Ed25519 private key; make one with openssl genpkey -algorithm ed25519")
		}
		return key{jose.EdDSA, oci.NewSecret(string(private))}, nil
	}
	data = bytes.TrimRight(data, "\r\n")
	if len(data) < minKey {
		return key{}, fmt.Errorf("the key has %d bytes, which is less than %d", len(data), minKey)
	}
	return key{jose.HS256, oci.NewSecret(string(data))}, nil
}

// readKey reads a key file. Errors name it.
func readKey(path string) (key, error) {
	f, err := os.Open(path)
	if err != nil {
		return key{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return key{}, err
	}
	k, err := parseKey(data)
	if err != nil {
		return key{}, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// CheckTokenKey reports what is wrong with a key file; nil means that it can be
// used.
func CheckTokenKey(path string) error {
	_, err := readKey(path)
	return err
}

// MakeTokenKey makes a key file that only its owner can read, unless there is
// one. It is on the disk when it returns.
func MakeTokenKey(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	random := make([]byte, minKey)
	rand.Read(random) // never fails
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".token-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(base64.RawStdEncoding.EncodeToString(random) + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
