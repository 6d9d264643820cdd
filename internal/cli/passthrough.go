package cli

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/remote"
)

// passthrough says which upstreams callers log in to themselves; nil where
// there are none.
func passthrough(ups []upstream) func(host string) bool {
	own := map[string]bool{}
	var wildcards []upstream
	for _, u := range ups {
		own[u.name] = u.passthrough
		if isWildcard(u.name) {
			wildcards = append(wildcards, u)
		}
	}
	if !slices.ContainsFunc(ups, func(u upstream) bool { return u.passthrough }) {
		return nil
	}
	return func(host string) bool {
		if mine, ok := own[host]; ok {
			return mine
		}
		u, _ := wildcardOf(wildcards, host)
		return u.passthrough
	}
}

// CallersOwn are the credentials of whoever a request is for. They are in its
// context, and nowhere else.
type callersOwn struct{}

// Credential is a part of remote.Credentials.
func (callersOwn) Credential(ctx context.Context, _, _ string) (remote.Credential, error) {
	return credentialOf(oci.LoginOf(ctx)), nil
}

// credentialOf reads an Authorization. What cannot be read is nobody's.
func credentialOf(login oci.Secret) remote.Credential {
	scheme, rest, _ := strings.Cut(login.Reveal(), " ")
	rest = strings.TrimSpace(rest)
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return remote.Credential{RegistryToken: oci.NewSecret(rest)}
	case strings.EqualFold(scheme, "Basic"):
		raw, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return remote.Credential{}
		}
		user, password, _ := strings.Cut(string(raw), ":")
		if user == "" || password == "" {
			return remote.Credential{}
		}
		return remote.Credential{Username: user, Password: oci.NewSecret(password)}
	}
	return remote.Credential{}
}
