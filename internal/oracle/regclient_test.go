package oracle

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/regclient/regclient"
	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/scheme/reg"
	"github.com/regclient/regclient/types/ref"
)

// regctl judges the hosts of regclient's config.json. Reading the file is part
// of a program, cmd/regctl, and repeated here.
func regctl() judge {
	return judge{
		name: "regclient", golden: "regclient", format: "regclient", client: "regclient",
		sees:   seesURL,
		theirs: regctlAsker,
		whole:  true, files: regctlFiles, reference: hostReference,
	}
}

func regctlAsker(m machine) asker {
	opts, err := regctlOptions(filepath.Join(m.dir, "config.json"))
	return func(name string) (answer, error) {
		if err != nil {
			return answer{}, err
		}
		r, err := ref.New(name)
		if err != nil {
			return answer{}, err
		}
		everywhere := new(everyRegistry)
		rc := regclient.New(append(opts, regclient.WithRegOpts(
			reg.WithTransport(everywhere.transport()), reg.WithDelay(time.Nanosecond, time.Nanosecond), reg.WithRetryLimit(100)))...)
		if _, err := rc.ManifestHead(context.Background(), r); err == nil {
			return answer{}, errAnswered
		}
		var a answer
		for _, u := range everywhere.urls {
			a.Places = append(a.Places, place{URL: u})
		}
		return a, nil
	}
}

// regctlOptions reads a configuration as regctl does (ConfigLoadConfFile).
func regctlOptions(file string) ([]regclient.Opt, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var c struct {
		Version     int
		Hosts       map[string]*config.Host
		HostDefault *config.Host
	}
	if err := json.NewDecoder(f).Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if c.Version > 1 {
		return nil, errors.New("unsupported version")
	}
	var opts []regclient.Opt
	if c.HostDefault != nil {
		opts = append(opts, regclient.WithConfigHostDefault(*c.HostDefault))
	}
	for name, h := range c.Hosts {
		if h.Name == "" {
			h.Name = name
		}
		if name == config.DockerRegistryDNS || name == config.DockerRegistry || name == config.DockerRegistryAuth {
			h.Name = config.DockerRegistry
		}
		opts = append(opts, regclient.WithConfigHost(*h))
	}
	return opts, nil
}
