package oracle

import (
	"context"
	"net/http"
	"net/url"
	"path/filepath"
	"reflect"
	"unsafe"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rancher/wharfie/pkg/registries"
)

// k3s judges registries.yaml by wharfie, which reads it for k3s and rke2.
func k3s() judge {
	return judge{
		name: "k3s", golden: "k3s-registries.yaml", format: "k3s", client: "k3s",
		sees:   seesURL | seesInsecure,
		theirs: k3sAsker,
		whole:  true, files: k3sFiles, reference: hostReference,
	}
}

// A puller is what wharfie makes of a file; its type is not exported.
type puller interface {
	Image(ref name.Reference, options ...remote.Option) (v1.Image, error)
}

func k3sAsker(m machine) asker {
	p, err := registriesPuller(filepath.Join(m.dir, "registries.yaml"))
	return func(text string) (answer, error) {
		if err != nil {
			return answer{}, err
		}
		r, err := name.ParseReference(text)
		if err != nil {
			return answer{}, err
		}
		return pullAll(p, r)
	}
}

func registriesPuller(file string) (puller, error) { return registries.GetPrivateRegistries(file) }

// pullAll tries an image everywhere. wharfie makes the transport of each HTTPS
// host itself, so that it pulls twice: with a context that is over already,
// which makes the transports and asks nobody; and with ours in their place.
func pullAll(p puller, r name.Reference) (answer, error) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	everywhere := new(everyRegistry)
	plain := remote.DefaultTransport
	remote.DefaultTransport = everywhere
	defer func() { remote.DefaultTransport = plain }()
	if _, err := p.Image(r, remote.WithContext(over)); err == nil {
		return answer{}, errAnswered
	}
	everywhere.urls = nil
	insecure := map[string]bool{} // :: host → no certificate is checked
	transports := transportsOf(p)
	for host, t := range transports {
		insecure[host] = t.TLSClientConfig != nil && t.TLSClientConfig.InsecureSkipVerify
		transports[host] = everywhere.transport()
	}
	if _, err := p.Image(r); err == nil {
		return answer{}, errAnswered
	}
	clear(transports)
	var a answer
	for _, text := range everywhere.urls {
		u, err := url.Parse(text)
		if err != nil {
			return answer{}, err
		}
		a.Places = append(a.Places, place{URL: wireURL(text), Insecure: u.Scheme == "https" && insecure[u.Host]})
	}
	return a, nil
}

// transportsOf returns the transports that wharfie keeps by host, which are
// not exported.
func transportsOf(p puller) map[string]*http.Transport {
	field := reflect.ValueOf(p).Elem().FieldByName("transports")
	return *(*map[string]*http.Transport)(unsafe.Pointer(field.UnsafeAddr()))
}
