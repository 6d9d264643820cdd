package oracle

import (
	"errors"
	"os"
	"path/filepath"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/shortnames"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
)

// podman judges registries.conf by containers/image: the table is found, the
// sources are listed and each is looked up again as its docker client does
// before it connects (docker.newDockerClient). skopeo's dialect is podman's for
// whole names.
func podman() judge {
	return judge{
		name: "podman", golden: "registries.conf", format: "registries.conf", client: "skopeo",
		sees:   seesUnusable | seesRef | seesInsecure | seesBlocked | seesNS | seesRule,
		theirs: podmanAsker,
		files:  registriesFiles, reference: registriesReference,
	}
}

// shortNames judges what names without a registry stand for.
func shortNames() judge {
	return judge{
		name: "shortnames", golden: "registries.conf-shortnames", format: "registries.conf", client: "podman",
		sees:   seesRef,
		theirs: shortNamesAsker, names: true,
		files: registriesFiles, reference: shortReference,
	}
}

// errNobody is what asking for a name without a host comes to: the request is
// for no host.
var errNobody = errors.New("the name has no host")

// containers returns a context that reads a machine's files and nothing else.
func (m machine) containers() *types.SystemContext {
	sysregistriesv2.InvalidateCache()
	if m.system {
		return &types.SystemContext{RootForImplicitAbsolutePaths: m.dir}
	}
	main := filepath.Join(m.dir, "registries.conf")
	if _, err := os.Stat(main); err != nil {
		main = os.DevNull // a path that is given has to be there
	}
	return &types.SystemContext{
		SystemRegistriesConfPath:    main,
		SystemRegistriesConfDirPath: filepath.Join(m.dir, "registries.conf.d"),
		UserShortNameAliasConfPath:  filepath.Join(m.dir, "no-aliases.conf"),
	}
}

func podmanAsker(m machine) asker {
	sys := m.containers()
	return func(name string) (answer, error) {
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return answer{}, err
		}
		if reference.Domain(named) == "" {
			return answer{}, errNobody
		}
		named = reference.TagNameOnly(named)
		reg, err := sysregistriesv2.FindRegistry(sys, named.Name())
		if err != nil {
			return answer{}, err
		}
		if reg == nil {
			return answer{Places: []place{{Ref: named.String()}}}, nil
		}
		sources, err := reg.PullSourcesFromReference(named)
		if err != nil {
			return answer{}, err
		}
		a := answer{Rule: reg.Prefix}
		for _, s := range sources {
			there, err := sysregistriesv2.FindRegistry(sys, s.Reference.Name())
			if err != nil {
				return answer{}, err
			}
			a.Places = append(a.Places, place{
				Ref: s.Reference.String(), Insecure: s.Endpoint.Insecure, NS: s.Endpoint.NamespaceProxy,
				Blocked: there != nil && there.Blocked, Unusable: reference.Domain(s.Reference) == "",
			})
		}
		return a, nil
	}
}

func shortNamesAsker(m machine) asker {
	sys := m.containers()
	return func(name string) (answer, error) {
		resolved, err := shortnames.Resolve(sys, name)
		if err != nil {
			return answer{}, err
		}
		var a answer
		for _, c := range resolved.PullCandidates {
			a.Places = append(a.Places, place{Ref: c.Value.String()})
		}
		return a, nil
	}
}
