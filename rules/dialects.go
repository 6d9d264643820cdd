package rules

import (
	"fmt"
	"slices"
)

const (
	hubHost  = "registry-1.docker.io" // Docker Hub for most clients
	hubIndex = "index.docker.io"      // Docker Hub for what is built on go-containerregistry
)

// Native returns the strict reading, which is no client's: hosts are compared
// without case and with their port, a rule for more of the name beats one for
// less, and what clients drop or settle by chance is an error.
func Native() Dialect {
	return Dialect{
		HubKeys: []string{"docker.io", hubIndex, hubHost}, HubName: "docker.io", HubWire: hubHost, HubWireAlways: true,
		FoldCase: true, TieFails: true, CheckNames: true, BlockByName: true, BlockByRule: true, ShortNames: true,
		GoesOn: AnyFailure, Shows: ShowCan | ShowFallback | ShowHTTP | ShowNS,
	}
}

// podman is everything built on containers/image; sources: go.podman.io/image
// pkg/sysregistriesv2 (refMatchingPrefix, rewriteReference) and docker
// (newDockerClient).
func podman() Dialect {
	return Dialect{
		HubKeys: []string{"docker.io"}, HubName: "docker.io", HubWire: hubHost, HubWireAlways: true,
		Textual: true, NoIPv6: true, NoCapitalHosts: true, ReadOnly: true, BlockByName: true, ShortNames: true,
		GoesOn: AnyFailure, Shows: ShowNS,
	}
}

// containerd reads hosts.toml; source: containerd core/remotes/docker/config
// (ConfigureHosts).
func containerd() Dialect {
	return Dialect{
		HubKeys: []string{"docker.io"}, HubName: "docker.io", HubWire: hubHost,
		DropTag: true, Localhost: LocalhostFallback,
		GoesOn: AnyFailure, Shows: ShowCan | ShowFallback,
	}
}

// containerdCRI is containerd's local pull with the old mirrors of config.toml;
// source: containerd internal/cri/server/images (registryHosts).
func containerdCRI() Dialect {
	return containerd()
}

// containerdTransfer is containerd's transfer service; it reads the same files
// and shows less.
func containerdTransfer() Dialect {
	d := containerd()
	d.Shows = ShowFallback
	return d
}

// docker is the graph-driver store; source: moby daemon/pkg/registry.
func docker() Dialect {
	return Dialect{
		HubKeys: []string{"docker.io"}, HubName: "docker.io", HubWire: hubHost,
		DropTag: true, ReadOnly: true, SplitFallback: true, Localhost: LocalhostInsecure,
		GoesOn: AnyFailure,
	}
}

// dockerContainerd is Docker with the containerd image store.
func dockerContainerd() Dialect {
	d := containerd()
	return d
}

// buildkit; source: buildkit util/resolver.
func buildkit() Dialect {
	return Dialect{
		HubKeys: []string{"docker.io"}, HubName: "docker.io", HubWire: hubHost,
		DropTag: true, Localhost: LocalhostHTTP,
		GoesOn: AnyFailure, Shows: ShowCan | ShowFallback,
	}
}

// k3s; source: rancher/wharfie pkg/registries.
func k3s() Dialect {
	return Dialect{
		HubKeys: []string{hubIndex, "docker.io"}, HubName: hubIndex, HubWire: hubIndex,
		DropTag: true, NoCapitalHosts: true, ReadOnly: true, PortKeys: []string{"443", "80"}, Localhost: LocalhostPortHTTP, HubLibrary: true,
		GoesOn: AnyFailure, Shows: ShowFallback,
	}
}

// openshift is podman's reading of what the machine-config operator writes.
func openshift() Dialect {
	d := podman()
	d.ShortNames = false
	return d
}

// lifecycle is the buildpacks lifecycle with CNB_REGISTRY_MIRRORS: no release
// reads it yet, so this is the text of RFC 285 and our decisions.
func lifecycle() Dialect {
	return Dialect{
		HubKeys: []string{"docker.io", hubIndex, hubHost}, HubName: "docker.io", HubWire: hubHost, HubWireAlways: true,
		FoldCase: true, ReadOnly: true, DropTag: true,
		GoesOn: AnyFailure, Shows: ShowHTTP,
	}
}

// pack; source: pack internal/name (TranslateRegistry).
func pack() Dialect {
	return Dialect{
		HubKeys: []string{hubIndex}, HubName: hubIndex, HubWire: hubIndex, HubWireAlways: true,
		AnyFirst: true, ReadOnly: true, DropTag: true, NoCapitalHosts: true, KeepSpelling: true, Localhost: LocalhostOrPrivate,
	}
}

// kaniko; source: kaniko pkg/image/remote.
func kaniko() Dialect {
	return Dialect{
		HubKeys: []string{hubIndex}, HubName: hubIndex, HubWire: hubIndex, HubWireAlways: true,
		ReadOnly: true, DropTag: true, NoCapitalHosts: true, HostInPath: true, Localhost: LocalhostOrPrivate,
		GoesOn: AnyFailure, Shows: ShowFallback,
	}
}

// regclient; source: regclient scheme/reg.
func regclient() Dialect {
	return Dialect{
		HubKeys: []string{"docker.io"}, HubName: "docker.io", HubWire: hubHost,
		HubAliases: []string{hubHost},
		ReadOnly:   true, PushPrimary: true,
		GoesOn: AnyFailure,
	}
}

// talos; source: talos internal/pkg/containers/image (its own resolver over
// containerd's client).
func talos() Dialect {
	d := containerd()
	d.Localhost = LocalhostVerified
	d.Can = Pull | Resolve | Referrers
	return d
}

// clients is the table of all dialects but the native one, in the order of the
// documentation.
var clients = []struct {
	name string
	make func() Dialect
}{
	{"podman", podman}, {"skopeo", skopeo}, {"buildah", podman}, {"cri-o", podman},
	{"containerd", containerd}, {"containerd-cri", containerdCRI}, {"containerd-transfer", containerdTransfer},
	{"docker", docker}, {"docker-containerd", dockerContainerd}, {"buildkit", buildkit}, {"k3s", k3s},
	{"openshift", openshift}, {"lifecycle", lifecycle}, {"pack", pack}, {"kaniko", kaniko},
	{"regclient", regclient}, {"talos", talos},
}

// skopeo takes whole names only: its docker:// transport reads "alpine" as
// Docker Hub's.
func skopeo() Dialect {
	d := podman()
	d.ShortNames = false
	return d
}

// Clients returns the names of the clients that there is a dialect for.
func Clients() []string {
	names := make([]string, len(clients))
	for i, c := range clients {
		names[i] = c.name
	}
	return names
}

// DialectOf returns the dialect of a client, by the names of [Clients].
func DialectOf(client string) (Dialect, error) {
	for _, c := range clients {
		if c.name == client {
			d := c.make()
			d.Client = client
			return d, nil
		}
	}
	return Dialect{}, fmt.Errorf("client %q is not known: it may be one of %q", client, slices.Sorted(slices.Values(Clients())))
}
