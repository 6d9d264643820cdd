package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/remote"
	"github.com/entrepot/entrepot/rules"
)

// networkFlags say how registries are spoken to. They win over mirror rules.
type networkFlags struct {
	authFile  string   // "" for the user's
	insecure  []string // host[:port] whose certificates are not checked
	plainHTTP []string // host[:port] that is spoken to without TLS
	ca        []string // files of further authorities

	accounts remote.Credentials // that an input has, asked last; nil for none
}

func (n *networkFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&n.authFile, "authfile", "", "take credentials from this `FILE` (default: the user's, docker's and podman's)")
	f.StringArrayVar(&n.insecure, "insecure", nil, "do not check the certificate of this `HOST`; may be given several times")
	f.StringArrayVar(&n.plainHTTP, "plain-http", nil, "speak plain HTTP with this `HOST`; may be given several times")
	f.StringArrayVar(&n.ca, "ca", nil, "trust the authorities in this `FILE` too; may be given several times")
}

// check refuses flags that cannot work.
func (n *networkFlags) check() error {
	for flag, hosts := range map[string][]string{"--insecure": n.insecure, "--plain-http": n.plainHTTP} {
		for _, h := range hosts {
			if !ref.ValidHost(h) {
				return usageError(fmt.Errorf("%s: %q is no registry", flag, h), "write host or host:port")
			}
		}
	}
	for flag, files := range map[string][]string{"--ca": n.ca, "--authfile": {n.authFile}} {
		for _, name := range files {
			if _, err := os.Stat(name); name != "" && err != nil {
				return usageError(fmt.Errorf("%s: %w", flag, err), "")
			}
		}
	}
	return nil
}

// apply returns a place as the flags have it.
func (n *networkFlags) apply(t rules.Try) rules.Try {
	if slices.Contains(n.plainHTTP, t.Host) {
		t.Scheme = rules.HTTP
	}
	skip := slices.Contains(n.insecure, t.Host)
	if !skip && len(n.ca) == 0 {
		return t
	}
	var tr rules.Transport
	if t.Transport != nil {
		tr = *t.Transport
	}
	tr.SkipVerify = tr.SkipVerify || skip
	tr.CA = slices.Concat(tr.CA, n.ca)
	t.Transport = &tr
	return t
}

// credentials returns the user's for a client: what the lifecycle has in its
// environment, then the files. With --authfile there are no others.
func (n *networkFlags) credentials(client string, getenv func(string) string) (remote.Credentials, error) {
	if n.authFile != "" {
		return n.orInput(remote.AuthFile(n.authFile)), nil
	}
	var all []remote.Credentials
	if text := getenv(authVariable); client == "lifecycle" && text != "" {
		headers, err := remote.AuthHeaders(text)
		if err != nil {
			return nil, usageError(fmt.Errorf("%s: %w", authVariable, err), "")
		}
		all = append(all, headers)
	}
	files := authFiles(getenv)
	if slices.Contains([]string{"podman", "skopeo", "buildah", "cri-o", "openshift", native}, client) {
		slices.Reverse(files)
	}
	for _, name := range files {
		all = append(all, remote.AuthFile(name))
	}
	return n.orInput(all...), nil
}

// orInput asks sources of credentials, and then those of an input.
func (n *networkFlags) orInput(all ...remote.Credentials) remote.Credentials {
	if n.accounts != nil {
		all = append(all, n.accounts)
	}
	return remote.FirstOf(all...)
}

// authVariable holds the credentials of the buildpacks lifecycle.
const authVariable = "CNB_REGISTRY_AUTH"

// authFiles returns the files of credentials that the user has: docker's, then
// podman's.
func authFiles(getenv func(string) string) []string {
	under := func(name, below string) string {
		if dir := getenv(name); dir != "" {
			return filepath.Join(dir, below)
		}
		return ""
	}
	docker := under("DOCKER_CONFIG", "config.json")
	if docker == "" {
		docker = under("HOME", ".docker/config.json")
	}
	podman := getenv("REGISTRY_AUTH_FILE")
	if podman == "" {
		podman = under("XDG_RUNTIME_DIR", "containers/auth.json")
	}
	var files []string
	for _, name := range []string{docker, podman} {
		if _, err := os.Stat(name); name != "" && err == nil {
			files = append(files, name)
		}
	}
	return files
}
