package oracle

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/distribution/reference"
	v2 "github.com/docker/distribution/registry/api/v2"
	"github.com/moby/moby/v2/daemon/pkg/registry"
)

// dockerDaemon judges daemon.json for the graph-driver store: the endpoints that a
// pull looks up, with the URL that is built for each. The package in which the
// daemon reads the file takes a minute to build, so that its two keys are
// decoded here; the containerd store needs a whole daemon.
func dockerDaemon() judge {
	return judge{
		name: "docker", golden: "daemon.json", format: "daemon.json", client: "docker",
		sees:   seesURL | seesInsecure,
		only:   func(c *fixture) bool { return c.Config.ImageStore == "graphdriver" },
		theirs: dockerAsker,
		whole:  true, files: dockerFiles, reference: hostReference,
	}
}

func dockerAsker(m machine) asker {
	service, err := dockerService(filepath.Join(m.dir, "daemon.json"))
	return func(name string) (answer, error) {
		if err != nil {
			return answer{}, err
		}
		named, err := reference.ParseDockerRef(name)
		if err != nil {
			return answer{}, err
		}
		endpoints, err := service.LookupPullEndpoints(reference.Domain(named))
		if err != nil {
			return answer{}, err
		}
		var a answer
		for _, e := range endpoints {
			urls, err := v2.NewURLBuilderFromString(e.URL.String(), false)
			if err != nil {
				return answer{}, err
			}
			repository, err := reference.WithName(reference.Path(named))
			if err != nil {
				return answer{}, err
			}
			u, err := urls.BuildManifestURL(withIdentifier(repository, named))
			if err != nil {
				return answer{}, err
			}
			a.Places = append(a.Places, place{URL: wireURL(u), Insecure: e.TLSConfig != nil && e.TLSConfig.InsecureSkipVerify})
		}
		return a, nil
	}
}

func dockerService(file string) (*registry.Service, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte("{}")
	} else if err != nil {
		return nil, err
	}
	var options registry.ServiceOptions
	if text = bytes.TrimSpace(text); len(text) > 0 {
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&options); err != nil {
			return nil, err
		}
	}
	return registry.NewService(options)
}

// withIdentifier gives a repository the digest, or else the tag, of another
// reference.
func withIdentifier(repository, of reference.Named) reference.Named {
	switch r := of.(type) {
	case reference.Digested:
		if named, err := reference.WithDigest(repository, r.Digest()); err == nil {
			return named
		}
	case reference.Tagged:
		if named, err := reference.WithTag(repository, r.Tag()); err == nil {
			return named
		}
	}
	return repository
}

// wireURL returns an address as a request has it: without an empty port.
func wireURL(u string) string {
	q, err := http.NewRequest(http.MethodGet, u, nil)
	if err != nil {
		return u
	}
	return q.URL.String()
}
