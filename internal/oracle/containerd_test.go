package oracle

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/distribution/reference"
)

// containerd judges hosts.toml: its configuration of hosts, and its resolver
// with transports that write down and refuse every request.
func containerd() judge {
	return judge{
		name: "containerd", golden: "hosts.toml", format: "hosts.toml", client: "containerd",
		sees:   seesUnusable | seesURL | seesInsecure | seesFallback | seesCan | seesCA | seesCerts | seesHeader | seesRule | seesSkips | seesSkippedHosts,
		theirs: containerdAsker,
		files:  hostsFiles, reference: hostsReference,
	}
}

func containerdAsker(m machine) asker {
	return func(name string) (answer, error) {
		dir := ""
		hosts := config.ConfigureHosts(context.Background(), config.HostOptions{HostDir: func(host string) (string, error) {
			d, err := config.HostDirFromRoot(m.dir)(host)
			if err == nil && d != "" {
				dir = filepath.Base(d)
			}
			return d, err
		}})
		a, err := resolve(hosts, name)
		a.Rule = dir
		return a, err
	}
}

var errNoHosts = errors.New("no host is left")

// resolve asks containerd's resolver for an image. The hosts are those that it
// would ask, in its order.
func resolve(configured docker.RegistryHosts, name string) (answer, error) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return answer{}, err
	}
	hosts, err := configured(reference.Domain(named))
	if err != nil {
		return answer{}, err
	}
	need := docker.HostCapabilityPull
	if _, ok := named.(reference.Digested); !ok {
		need |= docker.HostCapabilityResolve
	}
	var a answer
	recorders := make([]*recorder, len(hosts))
	for i := range hosts {
		recorders[i] = new(recorder)
		if !hosts[i].Capabilities.Has(need) {
			a.skip(hosts[i].Host, canText(hosts[i].Capabilities))
			continue
		}
		a.Places = append(a.Places, hostPlace(&hosts[i]))
		hosts[i].Client = &http.Client{Transport: recorders[i]}
	}
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: func(string) ([]docker.RegistryHost, error) { return hosts, nil }})
	if _, _, err := resolver.Resolve(context.Background(), named.String()); err == nil {
		return answer{}, errors.New("resolved without an answer of any host")
	}
	n := 0
	for i := range hosts {
		if hosts[i].Capabilities.Has(need) {
			a.Places[n].URL = recorders[i].first
			a.Places[n].Unusable = recorders[i].first == ""
			n++
		}
	}
	if n == 0 {
		return answer{}, errNoHosts
	}
	return a, nil
}

// hostPlace returns what a host says of itself.
func hostPlace(h *docker.RegistryHost) place {
	tr, fallback := unwrap(h.Client.Transport)
	p := place{Can: canText(h.Capabilities), Fallback: fallback, Header: headerText(h.Header)}
	if tr != nil && tr.TLSClientConfig != nil {
		p.Insecure = tr.TLSClientConfig.InsecureSkipVerify
		p.CA = hasAuthorities(tr.TLSClientConfig.RootCAs)
		p.Certs = len(tr.TLSClientConfig.Certificates)
	}
	return p
}

// hasAuthorities reports whether a pool is another than the system's.
func hasAuthorities(pool *x509.CertPool) bool {
	if pool == nil {
		return false
	}
	system, err := x509.SystemCertPool()
	return err != nil || !pool.Equal(system)
}

func canText(c docker.HostCapabilities) string {
	var names []string
	for _, x := range []struct {
		can  docker.HostCapabilities
		name string
	}{
		{docker.HostCapabilityPull, "pull"}, {docker.HostCapabilityResolve, "resolve"},
		{docker.HostCapabilityPush, "push"}, {docker.HostCapabilityReferrers, "referrers"},
	} {
		if c.Has(x.can) {
			names = append(names, x.name)
		}
	}
	return strings.Join(names, " ")
}

// unwrap returns the transport at the bottom of those that wrap it, and whether
// one of them falls back to plain HTTP. Their types are not exported.
func unwrap(rt http.RoundTripper) (tr *http.Transport, fallback bool) {
	v := reflect.ValueOf(rt)
	for v.IsValid() {
		switch {
		case v.Type() == reflect.TypeFor[*http.Transport]():
			return (*http.Transport)(v.UnsafePointer()), fallback
		case v.Kind() == reflect.Pointer, v.Kind() == reflect.Interface:
			v = v.Elem()
		case v.Kind() == reflect.Struct:
			fallback = fallback || v.Type().Name() == "httpFallback"
			v = wrapped(v)
		default:
			return nil, fallback
		}
	}
	return nil, fallback
}

// wrapped returns the first field that is a transport.
func wrapped(v reflect.Value) reflect.Value {
	for i := range v.NumField() {
		if v.Field(i).Type() == reflect.TypeFor[http.RoundTripper]() {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}
