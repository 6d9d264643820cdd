package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
)

// signatureURL is the variable that oc-mirror reads, too: where the signatures of
// releases are, as URL/sha256=HEX/signature-1 and so on.
const signatureURL = "OCP_SIGNATURE_URL"

// maxSignatures is how many of one release are asked for.
const maxSignatures = 16

// signatures returns what finds the detached signatures of releases: in the
// directory signatures/ beside an image set, called as oc-mirror keeps them or as
// they are at their address, and at that address where the environment has one.
func (t *transferFlags) signatures(env Env, set string) func(context.Context, oci.Digest) ([][]byte, error) {
	dir := filepath.Join(filepath.Dir(set), "signatures")
	return func(ctx context.Context, d oci.Digest) ([][]byte, error) {
		found, err := signatureFiles(dir, d)
		if base := env.Getenv(signatureURL); err == nil && len(found) == 0 && base != "" {
			return t.signaturesAt(ctx, base, d)
		}
		return found, err
	}
}

// signatureFiles reads the signatures of a release in a directory.
func signatureFiles(dir string, d oci.Digest) ([][]byte, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		switch {
		case e.IsDir() && e.Name() == string(d.Algorithm())+"="+d.Encoded():
			below, err := filepath.Glob(filepath.Join(dir, e.Name(), "signature-*"))
			if err != nil {
				return nil, err
			}
			names = append(names, below...)
		case !e.IsDir() && strings.HasSuffix(e.Name(), string(d.Algorithm())+"-"+d.Encoded()):
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(names)
	var all [][]byte
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err == nil && len(data) == 0 {
			err = fmt.Errorf("%s is empty", name)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// signaturesAt reads the signatures of a release at an address, until there is
// none.
func (t *transferFlags) signaturesAt(ctx context.Context, base string, d oci.Digest) ([][]byte, error) {
	var all [][]byte
	for i := 1; i <= maxSignatures; i++ {
		at := fmt.Sprintf("%s/%s=%s/signature-%d", strings.TrimSuffix(base, "/"), d.Algorithm(), d.Encoded(), i)
		data, err := t.fetchURL(ctx, at)
		var status statusError
		if errors.As(err, &status) && status.code == http.StatusNotFound {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", signatureURL, err)
		}
		all = append(all, data)
	}
	return all, nil
}
