package ggcr

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"go.uber.org/goleak"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/rules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// once lets package remote ask once: what is tried again is not ours to test.
var once = remote.WithRetryBackoff(remote.Backoff{Duration: time.Nanosecond, Steps: 1})

// env returns the Config of CNB_REGISTRY_MIRRORS.
func env(t *testing.T, value string) Config {
	t.Helper()
	cfg, err := FromEnv(func(key string) string {
		if key == "CNB_REGISTRY_MIRRORS" {
			return value
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Options = []remote.Option{once}
	return cfg
}

// at returns a Config with a rule for example.com.
func at(upstream rules.UpstreamKind, endpoints ...rules.Endpoint) Config {
	rule := rules.Rule{Match: rules.Match{Kind: rules.Host, Host: "example.com"}, Endpoints: endpoints, Upstream: rules.Upstream{Kind: upstream}}
	return Config{Rules: rules.New(rules.Config{Rules: []rules.Rule{rule}}), Options: []remote.Option{once}}
}

func puller(t *testing.T, cfg Config) *Puller {
	t.Helper()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func parsed(t *testing.T, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func registry(t *testing.T) *regtest.Registry {
	t.Helper()
	return regtest.New(t, regtest.Config{})
}

// layers reads all layers of an image, which verifies them.
func layers(t *testing.T, img v1.Image) (n int64, err error) {
	t.Helper()
	all, err := img.Layers()
	if err != nil {
		return 0, err
	}
	for _, l := range all {
		rc, err := l.Compressed()
		if err != nil {
			return n, err
		}
		k, err := io.Copy(io.Discard, rc)
		n += k
		if err := errors.Join(err, rc.Close()); err != nil {
			return n, err
		}
	}
	return n, nil
}

// TestOrder holds that places are asked in their order, that the original comes
// last, and that the result has the name that was asked for.
func TestOrder(t *testing.T) {
	down, empty, mirror, origin := registry(t), registry(t), registry(t), registry(t)
	down.Down()
	image := regtest.Image{Layers: []int64{1000, 2000}}
	built := mirror.AddImage("hub/team/app", image, "v1")
	ref := parsed(t, origin.Host()+"/team/app:v1")
	p := puller(t, env(t, fmt.Sprintf("%[1]s=%[2]s;%[1]s=%[3]s;%[1]s=%[4]s/hub", origin.Host(), down.URL(), empty.URL(), mirror.URL())))

	img, found, err := p.Image(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := img.Digest(); err != nil || got.String() != string(built.Digest) {
		t.Errorf("digest %s, %v, want %s", got, err, built.Digest)
	}
	if n, err := layers(t, img); n != 3000 || err != nil {
		t.Errorf("%d bytes of layers, %v", n, err)
	}
	if found.Ref != ref || found.From != mirror.Host()+"/hub/team/app:v1" || len(found.Failed) != 2 || !strings.HasPrefix(found.Failed[0].URL, down.URL()) || found.Failed[1].From != empty.Host()+"/team/app:v1" {
		t.Errorf("found %+v", found)
	}
	if n := len(origin.Log()); n != 0 {
		t.Errorf("the original got %d requests", n)
	}

	mirror.Down()
	origin.AddImage("team/app", image, "v1")
	_, found, err = p.Get(t.Context(), ref)
	if err != nil || found.From != ref.Name() || len(found.Failed) != 3 {
		t.Errorf("without mirrors: %+v, %v", found, err)
	}
}

// A keychain has credentials by registry.
type keychain map[string]authn.Authenticator

func (k keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	if a, ok := k[r.RegistryStr()]; ok {
		return a, nil
	}
	return authn.Anonymous, nil
}

// TestCredentials holds that every place is sent its own credentials and those
// of no other, also not those that the caller has for the original.
func TestCredentials(t *testing.T) {
	for _, scheme := range []string{"Basic", "Bearer"} {
		other, mirror, origin := registry(t), registry(t), registry(t)
		other.SetAuth(regtest.Auth{Scheme: scheme, Username: "o", Password: "pass-other"})
		mirror.SetAuth(regtest.Auth{Scheme: scheme, Username: "m", Password: "pass-mirror"})
		mirror.AddImage("team/app", regtest.Image{Layers: []int64{10}}, "v1")
		cfg := env(t, fmt.Sprintf("%[1]s=%[2]s;%[1]s=%[3]s", origin.Host(), other.URL(), mirror.URL()))
		cfg.Keychain = keychain{
			mirror.Host(): &authn.Basic{Username: "m", Password: "pass-mirror"},
			origin.Host(): &authn.Basic{Username: "u", Password: "pass-origin"},
		}
		p := puller(t, cfg)
		img, err := remote.Image(parsed(t, origin.Host()+"/team/app:v1"), remote.WithTransport(p), once,
			remote.WithAuth(&authn.Basic{Username: "u", Password: "pass-origin"}))
		if err != nil {
			t.Fatalf("%s: %v", scheme, err)
		}
		if _, err := layers(t, img); err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
		for reg, user := range map[*regtest.Registry]string{other: "", mirror: "m"} {
			sent := 0
			for _, e := range reg.Log() {
				r := http.Request{Header: e.Header}
				if u, _, ok := r.BasicAuth(); ok && u != user {
					t.Errorf("%s: %s %s was sent the credentials of %q", scheme, e.Method, e.Path, u)
				} else if ok {
					sent++
				}
			}
			if (sent > 0) != (user != "") {
				t.Errorf("%s: %d requests with credentials, user %q", scheme, sent, user)
			}
		}
	}
}

// TestOnTheWire holds that a place is asked at the root, with the name, ns and
// the headers that the rule says, and that a ping goes there too.
func TestOnTheWire(t *testing.T) {
	var got []string
	inner := registry(t)
	built := inner.AddImage("team/app", regtest.Image{Layers: []int64{10}}, "v1")
	cfg := at(rules.None, rules.Endpoint{
		Scheme: rules.HTTP, Host: inner.Host(), APIRoot: "/proxy/v2", NS: rules.NS{Source: true},
		Transport: &rules.Transport{Header: []rules.Header{{Name: "x-team", Values: []string{"a"}}}},
	})
	cfg.Transport = http.DefaultTransport.(*http.Transport).Clone()
	p := puller(t, cfg)
	p.base.Proxy = nil
	p.base.RegisterProtocol("http", roundTrip(func(req *http.Request) (*http.Response, error) {
		got = append(got, req.URL.Path+"?"+req.URL.RawQuery+" "+req.Header.Get("X-Team"))
		out := req.Clone(req.Context())
		out.URL.Path = strings.TrimPrefix(out.URL.Path, "/proxy")
		return http.DefaultTransport.RoundTrip(out)
	}))
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	img, found, err := p.Image(t.Context(), parsed(t, "example.com/team/app:v1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layers(t, img); err != nil {
		t.Fatal(err)
	}
	want := []string{"/proxy/v2/? a", "/proxy/v2/team/app/manifests/v1?ns=example.com a",
		"/proxy/v2/team/app/blobs/" + string(built.Layers[0].Digest) + "?ns=example.com a"}
	if !slices.Equal(got, want) {
		t.Errorf("asked\n%q, want\n%q", got, want)
	}
	if found.From != inner.Host()+"/team/app:v1" {
		t.Errorf("found %+v", found)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// TestNotReadable holds that a place whose answer is no manifest, or not the one
// that is wanted, does not keep the next from being asked.
func TestNotReadable(t *testing.T) {
	origin := registry(t)
	built := origin.AddImage("team/app", regtest.Image{}, "v1")
	for name, fault := range map[string]regtest.Fault{
		"HTML": regtest.HTML(), "500": regtest.Status(500), "401": regtest.Status(401), "hang up": regtest.HangUp(),
		"cut": regtest.CutAt(10), "flipped": {Flip: regtest.FlipMiddle}, "too large": regtest.Huge(maxManifest + 1),
	} {
		mirror := registry(t)
		mirror.AddImage("team/app", regtest.Image{}, "v1")
		mirror.On(regtest.Match{Kind: regtest.Manifest}, fault)
		p := puller(t, env(t, origin.Host()+"="+mirror.URL()))
		d, found, err := p.Get(t.Context(), parsed(t, origin.Host()+"/team/app@"+string(built.Digest)))
		if err != nil || d.Digest.String() != string(built.Digest) || !strings.HasPrefix(found.From, origin.Host()) || len(found.Failed) != 1 {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
}

// TestHead holds that a HEAD whose answer says too little is asked again by a
// GET, and that one for another digest counts for nothing.
func TestHead(t *testing.T) {
	origin := registry(t)
	built := origin.AddImage("team/app", regtest.Image{}, "v1")
	for name, tt := range map[string]struct {
		fault regtest.Fault
		gets  int
		from  string // at the mirror where it is empty
	}{
		"honest":       {regtest.Fault{}, 0, ""},
		"no digest":    {regtest.NoDigest(), 1, ""},
		"other digest": {regtest.WrongDigest("sha256:" + strings.Repeat("a", 64)), 0, origin.Host()},
	} {
		mirror := registry(t)
		mirror.AddImage("team/app", regtest.Image{}, "v1")
		mirror.On(regtest.Match{Kind: regtest.Manifest}, tt.fault)
		p := puller(t, env(t, origin.Host()+"="+mirror.URL()))
		d, found, err := p.Head(t.Context(), parsed(t, origin.Host()+"/team/app@"+string(built.Digest)))
		if err != nil || d.Digest.String() != string(built.Digest) || d.Size != int64(len(built.Raw)) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
		want := tt.from
		if want == "" {
			want = mirror.Host()
		}
		if n := mirror.Count(http.MethodGet, regtest.Manifest); n != tt.gets || !strings.HasPrefix(found.From, want) {
			t.Errorf("%s: %d GETs, from %s", name, n, found.From)
		}
	}
}

// TestNobody holds that the error lists every place with what it said, and that
// callers find the original's answer in it.
func TestNobody(t *testing.T) {
	down, locked, origin := registry(t), registry(t), registry(t)
	down.Down()
	locked.SetAuth(regtest.Auth{Scheme: "Basic", Username: "u", Password: "p"})
	p := puller(t, env(t, fmt.Sprintf("%[1]s=%[2]s;%[1]s=%[3]s", origin.Host(), down.URL(), locked.URL())))
	_, found, err := p.Image(t.Context(), parsed(t, origin.Host()+"/team/app:v1"))
	all, ok := errors.AsType[*Error](err)
	if !ok || len(all.Attempts) != 3 || all.Ref != origin.Host()+"/team/app:v1" {
		t.Fatalf("error %v", err)
	}
	for _, part := range []string{down.URL() + "/v2/team/app/manifests/v1 (CNB_REGISTRY_MIRRORS:1): ", "connection refused", locked.URL(), "UNAUTHORIZED", origin.URL(), "MANIFEST_UNKNOWN"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
	if status, ok := errors.AsType[*transport.Error](err); !ok || status.StatusCode != http.StatusNotFound {
		t.Errorf("the answer of the original is %v", status)
	}
	if found.From != "" || len(found.Failed) != 3 {
		t.Errorf("found %+v", found)
	}
	for i, want := range []rules.Failures{rules.Unreachable, rules.Unauthorized, rules.Absent} {
		if got := failure(all.Attempts[i].Err); got != want {
			t.Errorf("attempt %d is %v, want %v: %v", i, got.Names(), want.Names(), all.Attempts[i].Err)
		}
	}
}

// TestGoesOn holds that a client that does not go on does not.
func TestGoesOn(t *testing.T) {
	mirror, origin := registry(t), registry(t)
	origin.AddImage("team/app", regtest.Image{}, "v1")
	cfg := env(t, origin.Host()+"="+mirror.URL())
	cfg.Dialect.GoesOn = rules.Unreachable
	p := puller(t, cfg)
	ref := parsed(t, origin.Host()+"/team/app:v1")
	if _, _, err := p.Get(t.Context(), ref); err == nil {
		t.Error("it went on after a 404")
	}
	mirror.Down()
	if _, _, err := p.Get(t.Context(), ref); err != nil {
		t.Errorf("where there is no connection: %v", err)
	}
}

// TestRulesRefuse holds that rules that are wrong, or that block an image, fail
// before anything is asked.
func TestRulesRefuse(t *testing.T) {
	if _, err := FromEnv(func(string) string { return "*=https://m.example.com" }); err == nil || !strings.Contains(err.Error(), "wildcard") {
		t.Errorf("error %v", err)
	}
	reg := registry(t)
	for _, cfg := range []Config{
		at(rules.None), at(rules.None, rules.Endpoint{Scheme: rules.HTTP, Host: reg.Host(), Blocked: true}),
		at(rules.None, rules.Endpoint{Scheme: rules.HTTP, Host: reg.Host(), Unusable: "it is broken"}),
	} {
		if _, _, err := puller(t, cfg).Get(t.Context(), parsed(t, "example.com/a:v1")); err == nil {
			t.Error("there is no error")
		}
	}
	p := puller(t, at(rules.Original, rules.Endpoint{Host: reg.Host(), Unusable: "it is broken"}, rules.Endpoint{Scheme: rules.HTTP, Host: reg.Host()}))
	reg.AddImage("a", regtest.Image{}, "v1")
	if _, found, err := p.Get(t.Context(), parsed(t, "example.com/a:v1")); err != nil || len(found.Failed) != 1 || found.Failed[0].URL != "" || !strings.Contains(found.Failed[0].String(), "it is broken") {
		t.Errorf("%+v, %v", found, err)
	}
	if n := len(reg.Log()); n != 2 { // a ping and a manifest
		t.Errorf("%d requests", n)
	}
}

// TestOnlyReads holds that writing is refused, that asking whether there is a
// registry costs nothing, and that lists come from the original.
func TestOnlyReads(t *testing.T) {
	mirror, origin := registry(t), registry(t)
	origin.AddImage("team/app", regtest.Image{}, "v1", "v2")
	p := puller(t, env(t, origin.Host()+"="+mirror.URL()))
	ref := parsed(t, origin.Host()+"/team/app:v1")
	if err := remote.Delete(ref, remote.WithTransport(p), once); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a delete: %v", err)
	}
	if _, err := remote.Catalog(t.Context(), ref.Context().Registry, remote.WithTransport(p), once); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("the catalog: %v", err)
	}
	if n := len(mirror.Log()) + len(origin.Log()); n != 0 {
		t.Errorf("%d requests", n)
	}
	tags, err := remote.List(ref.Context(), remote.WithTransport(p), once)
	if err != nil || !slices.Equal(tags, []string{"v1", "v2"}) {
		t.Errorf("tags %q, %v", tags, err)
	}
	if n := len(mirror.Log()); n != 0 {
		t.Errorf("the mirror got %d requests", n)
	}
}

// TestIndex holds that the images of an index come from all places as well.
func TestIndex(t *testing.T) {
	mirror, origin := registry(t), registry(t)
	var children []regtest.Built
	for i, platform := range []string{"amd64", "arm64"} {
		children = append(children, origin.AddImage("team/app", regtest.Image{Platform: platform, Seed: uint64(i), Layers: []int64{10}}))
	}
	built := origin.AddIndex("team/app", children, "v1")
	mirror.AddManifest("team/app", built.MediaType, built.Raw, "v1") // and nothing that it names
	p := puller(t, env(t, origin.Host()+"="+mirror.URL()))
	idx, found, err := p.Index(t.Context(), parsed(t, origin.Host()+"/team/app:v1"))
	if err != nil || !strings.HasPrefix(found.From, mirror.Host()) {
		t.Fatalf("%+v, %v", found, err)
	}
	for _, c := range children {
		h, err := v1.NewHash(string(c.Digest))
		if err != nil {
			t.Fatal(err)
		}
		img, err := idx.Image(h)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := layers(t, img); n != 10 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
}

// TestForeign holds that addresses that are no registry's are passed on as they
// are.
func TestForeign(t *testing.T) {
	p := puller(t, Config{})
	p.base.RegisterProtocol("test", roundTrip(func(req *http.Request) (*http.Response, error) {
		return answer(req, http.Header{}, []byte(req.URL.String())), nil
	}))
	req, err := http.NewRequest(http.MethodGet, "test://cdn.example.com/layer?sig=x", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(raw, []byte(req.URL.String())) {
		t.Errorf("%s, %v", raw, err)
	}
}
