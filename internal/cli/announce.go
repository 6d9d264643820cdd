package cli

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/internal/web"
	"github.com/entrepot/entrepot/ref"
)

// announce says where the server listens and how clients are pointed at it.
func (s *server) announce(w io.Writer, l listeners, quiet bool) {
	scheme := "http"
	if s.registry.TLSConfig != nil {
		scheme = "https"
	}
	addr := s.clientAddr(l.registry.Addr())
	s.url = scheme + "://" + addr
	fmt.Fprintf(w, "entrepot: serving %s from %s\n", s.url, s.cfg.storage)
	fmt.Fprintf(w, "entrepot: admin address http://%s (/metrics, /readyz, /healthz)\n", reachable(l.admin.Addr()))
	if s.cfg.from != "" {
		fmt.Fprintf(w, "entrepot: configured by %s\n", s.cfg.from)
	}
	for _, a := range s.cfg.archives {
		fmt.Fprintf(w, "entrepot: read-only from %s: %s\n", strings.Join(a.paths, ", "), s.archives.holds(a))
	}
	if s.cfg.policy.Anonymous == access.All && !isLoopback(l.registry.Addr().String()) {
		fmt.Fprintln(w, "entrepot: warning: everybody who reaches this address may push (auth.anonymous)")
	}
	s.warnPrivate(w)
	if quiet {
		return
	}
	fmt.Fprintln(w, "entrepot: to point a client here:")
	for _, r := range s.recipes(addr) {
		fmt.Fprintf(w, "  %-11s %s\n", r.client, r.line)
	}
}

// warnPrivate names the upstreams that will be refused when they are dialled.
func (s *server) warnPrivate(w io.Writer) {
	for _, u := range s.cfg.upstreams {
		if u.allowPrivate {
			continue
		}
		for _, endpoint := range append([]string{u.url}, u.mirrors...) {
			if host := urlHost(endpoint); isPrivate(host) {
				fmt.Fprintf(w, "entrepot: warning: upstream %s: %s is a private address and will be refused; set allow_private = true\n", u.name, host)
			}
		}
	}
}

// urlHost is the host of a URL without its port, "" where there is none.
func urlHost(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// isPrivate reports whether a host is plainly not on the internet. What its
// name resolves to is seen only when it is dialled.
func isPrivate(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast())
}

// clientAddr is the address that clients use: the first external host, or
// where we listen.
func (s *server) clientAddr(addr net.Addr) string {
	if len(s.cfg.externalHosts) > 0 {
		return s.cfg.externalHosts[0]
	}
	return reachable(addr)
}

// reachable turns the address of a listener on all interfaces into one that
// can be dialled from this machine.
func reachable(addr net.Addr) string {
	t, ok := addr.(*net.TCPAddr)
	if !ok || !t.IP.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(t.Port))
}

// A recipe is a line to copy.
type recipe struct{ client, line string }

// recipes returns one for each kind of client, for an upstream that is there.
func (s *server) recipes(addr string) []recipe {
	up, prefix := s.exampleUpstream()
	if up == "" {
		return []recipe{{"any client", fmt.Sprintf("crane push image.tar %s/team/app:v1", addr)}}
	}
	plain := s.registry.TLSConfig == nil
	insecure := ""
	if plain {
		insecure = " --tls-verify=false"
	}
	image := "REPOSITORY:TAG"
	if up == ref.DockerHub {
		image = "library/alpine:3.20"
	}
	all := []recipe{
		{"containerd", fmt.Sprintf(`mkdir -p /etc/containerd/certs.d/_default && printf '[host."%s"]\n  capabilities = ["pull", "resolve"]\n' > /etc/containerd/certs.d/_default/hosts.toml`, s.url)},
		{"podman", fmt.Sprintf(`printf '[[registry]]\nlocation = "%s"\n[[registry.mirror]]\nlocation = "%s/%s"\ninsecure = %t\n' > /etc/containers/registries.conf.d/50-entrepot.conf`, up, addr, prefix, plain)},
		{"skopeo", fmt.Sprintf("skopeo inspect%s docker://%s/%s/%s", insecure, addr, prefix, image)},
		{"crane", fmt.Sprintf("crane pull %s/%s/%s image.tar", addr, prefix, image)},
	}
	if up == ref.DockerHub {
		all = append(all, recipe{"docker", fmt.Sprintf(`"registry-mirrors": ["%s"] in /etc/docker/daemon.json%s`, s.url, s.dockerNote())},
			recipe{"pack", fmt.Sprintf("pack config registry-mirrors add index.docker.io -m %s/docker.io", addr)})
	}
	return append(all, recipe{"buildkit", fmt.Sprintf(`[registry."%s"] mirrors = ["%s"] and [registry."%s"] http = %t in buildkitd.toml`, up, addr, addr, plain)})
}

// dockerNote says what Docker's older store needs: it sends no ns.
func (s *server) dockerNote() string {
	for _, u := range s.cfg.upstreams {
		if u.name == ref.DockerHub && u.isDefault {
			return ""
		}
	}
	return " (containerd image store; the older one needs default = true for docker.io)"
}

// exampleUpstream returns the upstream that the recipes show, and the prefix
// under which its names are served: Docker Hub, or the first that has one.
func (s *server) exampleUpstream() (name, prefix string) {
	for _, u := range s.cfg.upstreams {
		p := u.name
		switch {
		case u.name == ref.DockerHub:
			return u.name, u.name
		case isWildcard(u.name):
			continue
		case strings.Contains(u.name, ":") && len(u.aliases) == 0:
			continue
		case strings.Contains(u.name, ":"):
			p = u.aliases[0]
		}
		if name == "" {
			name, prefix = u.name, p
		}
	}
	return name, prefix
}

// page is what the admin address shows.
func (s *server) page() web.Page {
	p := web.Page{
		Version: readVersion().String(), Registry: s.url, Storage: s.cfg.storage, Hosted: s.cfg.hosted, Pools: s.pools(),
	}
	for _, u := range s.cfg.upstreams {
		p.Upstreams = append(p.Upstreams, web.Upstream{Name: u.name, URL: u.url, Default: u.isDefault})
	}
	return p
}
