package remote

import "context"

// Credentials are a source of credentials, safe for concurrent use.
type Credentials interface {
	// Credential returns what to use for a repository of a registry, the zero
	// Credential where nothing is known. Host is the registry, with its port
	// where its URL has one, "docker.io" for Docker Hub; path may be "".
	Credential(ctx context.Context, host, path string) (Credential, error)
}

// A Credential is one way to be somebody. The zero value is anonymous.
type Credential struct {
	Username string
}
