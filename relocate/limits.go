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
	min, max int // components of the path; 0 means any
	below    int // components below the prefix; 0 means any
	size     int // bytes of the path without its first component where alone is set; 0 means 255
	alone    bool
	single   bool // components are separated inside by a single '.', '_' or '-'
}

// limits are the registries that are known to be stricter.
//
//   - Docker Hub: namespace and repository, 2 to 255 characters
//     (docs.docker.com, "Create a repository").
//   - quay.io: a namespace before the repository, which has at most 255
//     characters (quay, util/names.py); nested since FEATURE_EXTENDED_REPOSITORY_NAMES.
//   - GitLab: at most two names below a project, and a project is in a group
//     or below a user (docs.gitlab.com, "Container registry", naming convention).
//     The prefix is a project, or the group that projects are in.
//   - Amazon ECR: 2 to 256 characters, single separators (ECR API reference,
//     CreateRepository); public.ecr.aws: 205 below the registry's alias (ECR
//     Public API reference).
//   - Artifact Registry: project, repository, image (cloud.google.com, "Repository
//     and image names").
//   - Container Registry of Google and GitHub's: a project or owner first.
var limits = []limit{
	{registry: "Docker Hub", host: isHost(ref.DockerHub, "registry-1.docker.io"), min: 2, max: 2},
	{registry: "quay.io", host: isHost("quay.io"), min: 2, size: 255, alone: true},
	{registry: "GitLab", host: isHost("registry.gitlab.com"), min: 2, below: 3},
	{registry: "Amazon ECR", host: regexp.MustCompile(`^\d+\.dkr\.ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|on\.aws)$`).MatchString, size: 256, single: true},
	{registry: "Amazon ECR Public", host: isHost("public.ecr.aws"), min: 2, size: 205, alone: true, single: true},
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
	case l.size > 0 && len(counted) > l.size:
		return fmt.Errorf("takes names of %d bytes, this has %d: use a shorter prefix or another naming", l.size, len(counted))
	case l.single && doubled.MatchString(path):
		return fmt.Errorf("takes no two separators in a row, as in %q", doubled.FindString(path))
	}
	return nil
}
