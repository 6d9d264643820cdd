package cli

import "github.com/entrepot/entrepot/ref"

// wellKnown returns the public registries that are mirrored where nothing is
// configured: those that serve images to everybody without an account.
func wellKnown() []upstream {
	names := []string{
		ref.DockerHub,
		"ghcr.io",
		"quay.io",
		"gcr.io",
		"*.gcr.io",  // eu.gcr.io, us.gcr.io, …
		"*.pkg.dev", // Google's Artifact Registry: europe-docker.pkg.dev, …
		"registry.k8s.io",
		"mcr.microsoft.com",
		"public.ecr.aws",
		"registry.gitlab.com",
		"nvcr.io",
		"cgr.dev",
		"docker.elastic.co",
		"registry.access.redhat.com",
		"registry.suse.com",
	}
	ups := make([]upstream, len(names))
	for i, name := range names {
		ups[i] = upstream{name: name, url: defaultURL(name), tagTTL: defaultTagTTL}
	}
	return ups
}

// defaultURL is where an upstream is reached that has no url. A wildcard has
// none: it is the one case in which the host that was asked for is dialled.
func defaultURL(name string) string {
	switch {
	case isWildcard(name):
		return ""
	case name == ref.DockerHub:
		return "https://registry-1.docker.io"
	}
	return "https://" + name
}
