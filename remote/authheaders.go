package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// AuthHeaders reads credentials as the buildpacks lifecycle has them in
// CNB_REGISTRY_AUTH: a JSON object of registries and the Authorization header
// that each wants, "Basic …", "Bearer …", or "X-Identity …" for an identity
// token (lifecycle, auth.ReadEnvVar). Empty text holds none.
//
// Each goes to the registry of its key and nowhere else; Docker Hub may be
// called by any of its names, a key may be a URL, and hosts are compared without
// case. A key with a repository is nobody's, as there. Errors never hold a
// header.
func AuthHeaders(text string) (Credentials, error) {
	a := authHeaders{}
	if strings.TrimSpace(text) == "" {
		return a, nil
	}
	var doc map[string]string
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return nil, errors.New(`it is no JSON object of the form {"registry":"Authorization header"}`) // the cause could quote it
	}
	for _, key := range slices.Sorted(maps.Keys(doc)) {
		host := normalKey(key)
		c, err := headerCredential(doc[key])
		switch {
		case err != nil && ref.ValidHost(host):
			return nil, fmt.Errorf("the header of %s: %w", host, err)
		case err != nil:
			return nil, fmt.Errorf("a header: %w", err) // the key may be the secret
		}
		a[host] = c
	}
	return a, nil
}

// headerCredential reads one Authorization header.
func headerCredential(header string) (Credential, error) {
	scheme, value, _ := strings.Cut(strings.TrimSpace(header), " ")
	value = strings.TrimSpace(value)
	if value == "" {
		return Credential{}, errors.New("it holds nothing")
	}
	switch strings.ToLower(scheme) {
	case "basic":
		c, err := authEntry{Auth: value}.credential()
		if err == nil && c.basic() == "" {
			err = errors.New("the name or the password is missing")
		}
		return c, err
	case "bearer":
		return Credential{RegistryToken: NewSecret(value)}, nil
	case "x-identity":
		return Credential{IdentityToken: NewSecret(value)}, nil
	}
	return Credential{}, errors.New("it is neither Basic, Bearer nor X-Identity")
}

// authHeaders are credentials by registry.
type authHeaders map[string]Credential // :: host → credential

func (a authHeaders) Credential(_ context.Context, host, _ string) (Credential, error) {
	return a[hubName(strings.ToLower(host))], nil
}

// FirstOf returns Credentials that ask several sources in turn, and take the
// first that knows something. A source that fails ends it: another one's answer
// could be somebody else.
func FirstOf(sources ...Credentials) Credentials { return firstOf(sources) }

type firstOf []Credentials

func (f firstOf) Credential(ctx context.Context, host, path string) (Credential, error) {
	for _, source := range f {
		c, err := source.Credential(ctx, host, path)
		if err != nil || !c.Anonymous() {
			return c, err
		}
	}
	return Credential{}, nil
}

func (f firstOf) forgetAll() {
	for _, c := range f {
		if c, ok := c.(forgetter); ok {
			c.forgetAll()
		}
	}
}

func (f firstOf) forget(host, path string) {
	for _, source := range f {
		if g, ok := source.(forgetter); ok {
			g.forget(host, path)
		}
	}
}
