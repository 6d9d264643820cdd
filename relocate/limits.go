package relocate

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// A limit is what one registry says to the names of its repositories, where
// that is less than what the distribution-spec allows.
type limit struct {
	registry string // as people call it
	host     func(host string) bool
	min, max int  // components of the path; 0 means any
	below    int  // components below the prefix; 0 means any
	least    int  // bytes; 0 means any
	size     int  // bytes at most; 0 means 255
	alone    bool // least and size are of the path without its first component
	single   bool // components are separated inside by a single '.', '_' or '-'
}

// limits are the registries that are known to be stricter. A registry of the
// same software elsewhere is not told by its name. Where the first component is
// an account, it was named by the registry itself.
//
//   - Docker Hub: a namespace and a repository of 2 to 255 characters
//     (docs.docker.com/docker-hub/repos/create). The form there takes no dots;
//     that a push does not is not said, so they are not refused.
//   - quay.io: a namespace before the repository, which has at most 255
//     characters, slashes included (quay, util/test/test_names.py); nested where
//     FEATURE_EXTENDED_REPOSITORY_NAMES is set, which is the default (Red Hat
//     Quay, "Nested repositories configuration fields").
//   - GitLab: the path of a project, and up to two names more
//     (docs.gitlab.com/user/packages/container_registry, "Naming convention for
//     your container images"; gitlab-org/gitlab#438563). A project is in a group
//     or below a user. The prefix is a project, or the group that projects are in.
//   - Amazon ECR: 2 to 256 characters, components separated inside by a single
//     '.', '_' or '-', any depth (ECR API reference, CreateRepository);
//     public.ecr.aws: 2 to 205 below the registry's alias, the same pattern (ECR
//     Public API reference, CreateRepository).
//   - Artifact Registry: project, repository, image, any depth below
//     (cloud.google.com/artifact-registry/docs/docker/names).
//   - gcr.io, which Artifact Registry serves: a project first (there, "gcr.io
//     domain").
//   - ghcr.io: an owner first (docs.github.com, "Working with the Container
//     registry"), any depth below, as in ghcr.io/devcontainers/features/go.
var limits = []limit{
	{registry: "Docker Hub", host: isHost(ref.DockerHub, "registry-1.docker.io"), min: 2, max: 2, least: 2, size: 255, alone: true},
	{registry: "quay.io", host: isHost("quay.io"), min: 2, size: 255, alone: true},
	{registry: "GitLab", host: isHost("registry.gitlab.com"), min: 2, below: 3},
	{registry: "Amazon ECR", host: regexp.MustCompile(`^\d+\.dkr\.ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|on\.aws)$`).MatchString, least: 2, size: 256, single: true},
	{registry: "Amazon ECR Public", host: isHost("public.ecr.aws"), min: 2, least: 2, size: 205, alone: true, single: true},
	{registry: "Artifact Registry", host: regexp.MustCompile(`^[a-z0-9-]+-docker\.pkg\.dev$`).MatchString, min: 3},
	{registry: "Container Registry", host: regexp.MustCompile(`^([a-z]+\.)?gcr\.io$`).MatchString, min: 2},
	{registry: "GitHub", host: isHost("ghcr.io"), min: 2},
}

func isHost(hosts ...string) func(string) bool {
	return func(host string) bool {
		for _, h := range hosts {
			if host == h {
				return true
			}
		}
		return false
	}
}

// doubled matches separators that are more than one character.
var doubled = regexp.MustCompile(`[._-]{2}`)

// checkLimits says why a registry would not take a repository of that name.
func checkLimits(n, prefix ref.Name) error {
	for _, l := range limits {
		if l.host(n.Host) {
			if err := l.check(n.Path, prefix.Path); err != nil {
				return fmt.Errorf("%s: %s %w", n, l.registry, err)
			}
		}
	}
	return nil
}

func (l *limit) check(path, prefix string) error {
	components := strings.Count(path, "/") + 1
	counted := path
	if l.alone {
		_, counted, _ = strings.Cut(path, "/")
	}
	below := components
	if prefix != "" {
		below -= strings.Count(prefix, "/") + 1
	}
	switch {
	case components < l.min:
		return fmt.Errorf("wants at least %d components in a name, this has %d: use a longer prefix", l.min, components)
	case l.max > 0 && components > l.max:
		return fmt.Errorf("takes %d components in a name, this has %d: use --naming flat-md5 or components:%d", l.max, components, l.max)
	case l.below > 0 && below > l.below:
		return fmt.Errorf("takes %d components below a project or its group, this has %d: use --naming flat-md5", l.below, below)
	case len(counted) < l.least:
		return fmt.Errorf("takes no name of fewer than %d bytes, as %q: use another naming", l.least, counted)
	case l.size > 0 && len(counted) > l.size:
		return fmt.Errorf("takes names of %d bytes, this has %d: use a shorter prefix or another naming", l.size, len(counted))
	case l.single && doubled.MatchString(path):
		return fmt.Errorf("takes no two separators in a row, as in %q", doubled.FindString(path))
	}
	return nil
}
