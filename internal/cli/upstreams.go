package cli

import (
	"regexp"
	"slices"
	"time"

	"github.com/entrepot/entrepot/ref"
)

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
		ups[i] = upstream{name: name, url: defaultURL(name), tagTTL: defaultTagTTL, budget: defaultBudget}
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

// fresh reports whether a tag of an upstream that was confirmed then is answered
// without asking again. It is not where the upstream is configured no more.
func (cfg config) fresh(host, tag string, checked time.Time) bool {
	var wildcards []upstream
	i := slices.IndexFunc(cfg.upstreams, func(u upstream) bool {
		if isWildcard(u.name) {
			wildcards = append(wildcards, u)
		}
		return u.name == host
	})
	var u upstream
	if i >= 0 {
		u = cfg.upstreams[i]
	} else {
		u, _ = wildcardOf(wildcards, host)
	}
	return u.tagTTL == neverAsk || time.Since(checked).Abs() < u.tagTTL ||
		slices.ContainsFunc(u.immutable, func(re *regexp.Regexp) bool { return re.MatchString(tag) })
}
