package cli

import (
	"crypto/tls"
	"errors"
	"net/http"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/remote"
)

// TestEitherWay holds that a registry that is asked by HTTPS and then by HTTP
// is found where it is, for each question, and that an answer by HTTPS, a "no"
// too, is not asked for again.
func TestEitherWay(t *testing.T) {
	client := remote.NewClient(remote.ClientConfig{Retry: remote.Retry{Attempts: 1}})
	t.Cleanup(func() { client.Close() })
	both := func(secure, plain string) *eitherWay {
		var e eitherWay
		over := client.Transport(remote.TransportConfig{TLS: &tls.Config{InsecureSkipVerify: true}})
		for to, url := range map[**remote.Endpoint]string{&e.secure: secure, &e.plain: plain} {
			made, err := client.Endpoint(remote.EndpointConfig{URL: url, PrivateHost: true, Transport: over})
			if err != nil {
				t.Fatal(err)
			}
			*to = made
		}
		return &e
	}
	name := ref.Name{Host: "x.example", Path: "team/app"}
	for _, secure := range []bool{false, true} {
		reg := regtest.New(t, regtest.Config{TLS: secure})
		img := reg.AddImage(name.Path, regtest.Image{Layers: []int64{10}}, "v1")
		reg.AddReferrer(name.Path, img.Descriptor(), "text/x", 1)
		e := both("https://"+reg.Host(), "http://"+reg.Host())
		questions := map[string]func() error{
			"resolve":  func() error { _, err := e.Resolve(t.Context(), name.WithTag("v1")); return err },
			"manifest": func() error { _, err := e.Manifest(t.Context(), name.WithDigest(img.Digest)); return err },
			"stat":     func() error { _, err := e.Stat(t.Context(), name, img.Layers[0].Digest); return err },
			"blob": func() error {
				b, err := e.Blob(t.Context(), name, img.Layers[0].Digest, 0)
				if err == nil {
					b.Body.Close()
				}
				return err
			},
			"referrers": func() error { _, err := e.Referrers(t.Context(), name, img.Digest, ""); return err },
			"tags": func() error {
				for tag, err := range e.Tags(t.Context(), name, "") {
					if tag != "v1" || err != nil {
						return err
					}
				}
				return nil
			},
		}
		for what, ask := range questions {
			e.isPlain.Store(false)
			if err := ask(); err != nil {
				t.Errorf("%s with TLS %t: %v", what, secure, err)
			}
			if e.isPlain.Load() == secure {
				t.Errorf("%s with TLS %t: it is remembered the other way", what, secure)
			}
		}
		reg.ResetLog()
		if _, err := e.Manifest(t.Context(), name.WithTag("none")); !errors.Is(err, oci.ErrNotFound) {
			t.Errorf("a tag that is not there: %v", err)
		}
		if n := reg.Count(http.MethodGet, regtest.Manifest); n != 1 {
			t.Errorf("with TLS %t it was asked %d times for what is not there", secure, n)
		}
		reg.Down()
		if _, err := e.Manifest(t.Context(), name.WithTag("v1")); !unanswered(err) || e.isPlain.Load() {
			t.Errorf("nobody is there: %v", err)
		}
	}
}
