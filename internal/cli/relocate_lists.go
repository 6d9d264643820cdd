package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/remote"
)

// expand returns the images that a selector names at its registry. None is an
// error: it is hardly ever meant.
func expand(ctx context.Context, source any, sel *document.Selector) ([]document.Image, error) {
	lister, ok := source.(oci.Lister)
	if !ok {
		return nil, errors.New("its tags cannot be listed")
	}
	name, err := ref.ParseName(sel.Repository)
	if err != nil {
		return nil, err
	}
	var tags []string
	for tag, err := range lister.Tags(ctx, name, "") {
		if err != nil {
			return nil, err
		}
		tags = append(tags, tag)
	}
	images := sel.Images(tags)
	if len(images) == 0 {
		return nil, errors.New("no tag meets the conditions")
	}
	return images, nil
}

// extend adds what documents say about registries to what the flags do. Flags
// and the user's own credentials go first.
func (n *networkFlags) extend(docs []*document.Document) {
	accounts := make(documentAccounts)
	for _, d := range docs {
		for _, a := range d.Access() {
			if a.Insecure {
				n.insecure = append(n.insecure, a.Registry)
			}
			if a.PlainHTTP {
				n.plainHTTP = append(n.plainHTTP, a.Registry)
			}
			if a.Username != "" {
				accounts[a.Registry] = remote.Credential{Username: a.Username, Password: remote.NewSecret(string(a.Password))}
			}
		}
	}
	if len(accounts) > 0 {
		n.accounts = accounts
	}
}

// documentAccounts are the accounts that lists have beside their images.
//
//	:: registry, or registry/path → account
type documentAccounts map[string]remote.Credential

// Credential returns the account of the longest key that is the repository's
// registry, or leads to it.
func (d documentAccounts) Credential(_ context.Context, host, path string) (remote.Credential, error) {
	for n := host + "/" + path; ; {
		if c, ok := d[n]; ok {
			return c, nil
		}
		i := strings.LastIndexByte(n, '/')
		if i < 0 {
			return remote.Credential{}, nil
		}
		n = n[:i]
	}
}
