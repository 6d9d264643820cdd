package oracle

import (
	"path/filepath"

	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/util/resolver"
)

// buildkit judges buildkitd.toml: its reading of the file, its hosts, and
// containerd's resolver over them.
func buildkit() judge {
	return judge{
		name: "buildkit", golden: "buildkitd.toml", format: "buildkitd.toml", client: "buildkit",
		sees:   seesUnusable | seesURL | seesInsecure | seesFallback | seesCan | seesCA | seesCerts,
		theirs: buildkitAsker,
		files:  buildkitFiles, reference: hostReference,
	}
}

func buildkitAsker(m machine) asker {
	cfg, err := config.LoadFile(filepath.Join(m.dir, "buildkitd.toml"))
	return func(name string) (answer, error) {
		if err != nil {
			return answer{}, err
		}
		return resolve(resolver.NewRegistryConfig(cfg.Registries), name)
	}
}
