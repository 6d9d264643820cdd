package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/oci"
)

const canary = "canary-3f9a1c"

// canaries are the spellings of the secret that may turn up somewhere.
func canaries() []string {
	return []string{canary, base64.StdEncoding.EncodeToString([]byte("user:" + canary)), url.QueryEscape("user:" + canary)}
}

func holdsCanary(s string) bool {
	for _, c := range canaries() {
		if strings.Contains(s, c) {
			return true
		}
	}
	return false
}

// A sink is wherever a hostile registry sends requests. It keeps all that it
// is told.
type sink struct {
	mu   sync.Mutex
	seen []string
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var head bytes.Buffer
	r.Header.Write(&head)
	s.mu.Lock()
	s.seen = append(s.seen, fmt.Sprintf("%s %s\n%s\n%s", r.Method, r.RequestURI, head.String(), body))
	s.mu.Unlock()
	w.Header().Set("WWW-Authenticate", `Basic realm="give it to me", Bearer realm="https://`+r.Host+`/token"`)
	switch r.URL.Path {
	case "/ok":
		w.WriteHeader(http.StatusCreated)
	case "/token":
		io.WriteString(w, `{"token":"worthless"}`)
	default:
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func (s *sink) leaked() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.seen {
		if holdsCanary(one) {
			return one
		}
	}
	return ""
}

// hostile is a registry that leads elsewhere by one channel. It wants Basic
// credentials first, so that there is something to lose; by the channel
// "realm" it names a token service instead.
func hostile(channel, target string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if channel == "realm" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x"`, target))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if _, _, ok := r.BasicAuth(); !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch channel {
		case "redirect":
			http.Redirect(w, r, target+"/blob?sig=secret-signature", http.StatusTemporaryRedirect)
		case "Location":
			w.Header().Set("Location", target+"/ok?state=1")
			w.WriteHeader(http.StatusAccepted)
		case "Link":
			w.Header().Set("Link", "<"+target+`/v2/team/app/tags/list?last=b>; rel="next"`)
			io.WriteString(w, `{"tags":["a","b"]}`)
		case "urls":
			w.WriteHeader(http.StatusNotFound)
		}
	}
}

// use makes an endpoint take the channel.
func use(ctx context.Context, e *Endpoint, channel string) error {
	switch channel {
	case "Location":
		content := "some content"
		return e.PutBlob(ctx, repo, oci.Descriptor{Digest: digestOf(content), Size: int64(len(content))}, func(context.Context, int64) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content)), nil
		})
	case "Link":
		for _, err := range e.Tags(ctx, repo, "") {
			if err != nil {
				return err
			}
		}
		return nil
	}
	_, _, err := readBlob(e, digestOf("x"), 0)
	return err
}

// TestSecretsStayAtHome sends an endpoint with credentials through each
// channel to each kind of foreign place (spec/serve.md, F2, F3, C11;
// spec/reliability.md, 2). Foreign layers, the fifth channel, are not followed
// at all: nothing reads "urls".
//
// Realms: CVE-2026-33540, CVE-2026-48978, GHSA-28r5-37g7-p6mp, ggcr#2193.
// Redirects: GHSA-vh4v-2xq2-g5cg, CVE-2026-49349, CVE-2023-45289.
// Locations of uploads: CVE-2026-50151, oras-go#1273. Foreign layers: CVE-2020-15157.
func TestSecretsStayAtHome(t *testing.T) {
	targets := []struct {
		name, url string
		address   bool // it must not even be dialled
		domain    bool // the realm rules allow it: the same registrable domain over https
	}{
		{name: "other host", url: "https://evil.example.net"},
		{name: "sub-domain", url: "https://cdn.registry.example.com", domain: true},
		{name: "other port", url: "https://registry.example.com:8443", domain: true},
		{name: "plain http", url: "http://registry.example.com"},
		{name: "private address", url: "https://10.0.0.1", address: true},
		{name: "metadata", url: "http://169.254.169.254", address: true},
		{name: "mapped loopback", url: "https://[::ffff:127.0.0.1]", address: true},
	}
	for _, channel := range []string{"redirect", "realm", "Location", "Link", "urls"} {
		for _, target := range targets {
			t.Run(channel+" to "+target.name, func(t *testing.T) {
				h := newHostile(t, channel, target.url)
				err := use(t.Context(), h.e, channel)
				if got := h.sink.leaked(); got != "" && !(channel == "realm" && target.domain) {
					t.Errorf("the secret leaked:\n%s", got)
				}
				if channel == "realm" && target.domain && h.sink.leaked() == "" {
					t.Error("a token service of the registry's own domain was not asked")
				}
				if target.address && len(h.sink.seen) > 0 {
					t.Errorf("%s was dialled", target.url)
				}
				if foreign := channel == "Location" && !target.address && target.name != "plain http"; (err == nil) != foreign {
					t.Errorf("error %v; only an upload may go on elsewhere, without credentials", err)
				}
				if text := fmt.Sprintf("%v %+v %#v %s", err, err, err, h.log.String()); holdsCanary(text) || strings.Contains(text, "secret-signature") {
					t.Errorf("a secret is told:\n%s", text)
				}
			})
		}
	}
}

type hostileTest struct {
	e    *Endpoint
	sink *sink
	log  *lockedBuffer
}

// newHostile starts the registry and the sink, and a client to which all hosts
// but the registry's are the sink.
func newHostile(t *testing.T, channel, target string) hostileTest {
	registry := httptest.NewTLSServer(hostile(channel, target))
	t.Cleanup(registry.Close)
	return hostileClient(t, registry.Listener.Addr().String())
}

func hostileClient(t *testing.T, registry string) hostileTest {
	s, log := new(sink), new(lockedBuffer)
	safe, plain := httptest.NewTLSServer(s), httptest.NewServer(s)
	t.Cleanup(safe.Close)
	t.Cleanup(plain.Close)
	var d net.Dialer
	c := client(t, ClientConfig{
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		TLS: &tls.Config{InsecureSkipVerify: true},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			switch {
			case address == "registry.example.com:443":
				address = registry
			case strings.HasSuffix(address, ":80"):
				address = plain.Listener.Addr().String()
			default:
				address = safe.Listener.Addr().String()
			}
			return d.DialContext(ctx, network, address)
		},
	})
	e, err := c.Endpoint(EndpointConfig{URL: "https://registry.example.com", AssumeAbsent: true, Credentials: Static("user", NewSecret(canary))})
	if err != nil {
		t.Fatal(err)
	}
	return hostileTest{e, s, log}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestRefusedRealmIsNotAsked holds that a request whose realm is refused goes
// on without credentials, and that the error says why.
//
// CVE-2026-33540, CVE-2026-48978.
func TestRefusedRealmIsNotAsked(t *testing.T) {
	h := newHostile(t, "realm", "https://evil.example.net")
	_, err := h.e.Manifest(t.Context(), repo.WithTag("v1"))
	wantKind(t, err, oci.ErrUnauthorized)
	if refused, ok := errors.AsType[*RealmError](err); !ok || refused.Realm != "https://evil.example.net/token" {
		t.Errorf("error %v, want one that names the realm", err)
	}
	if len(h.sink.seen) > 0 {
		t.Errorf("the realm was asked: %q", h.sink.seen)
	}
}

// TestTokenServiceMayNotRedirectThePassword holds the same rules for what a
// token service answers.
//
// GHSA-28r5-37g7-p6mp.
func TestTokenServiceMayNotRedirectThePassword(t *testing.T) {
	for _, target := range []string{"https://evil.example.net/token", "https://auth.registry.example.com/token", "http://registry.example.com/token", "https://10.0.0.1/token"} {
		registry := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				http.Redirect(w, r, target, http.StatusFound)
				return
			}
			hostile("realm", "https://registry.example.com")(w, r)
		}))
		defer registry.Close()
		h := hostileClient(t, registry.Listener.Addr().String())
		if _, err := h.e.Manifest(t.Context(), repo.WithTag("v1")); err == nil {
			t.Errorf("%s: it succeeded", target)
		}
		if got := h.sink.leaked(); got != "" {
			t.Errorf("%s: the secret leaked:\n%s", target, got)
		}
	}
}

// TestCredentialsDoNotComeBack holds that a foreign place cannot send a request
// home with its credentials, to a path that it chose.
func TestCredentialsDoNotComeBack(t *testing.T) {
	var authorized sync.Map
	var foreign *httptest.Server
	home := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _, ok := r.BasicAuth()
		authorized.Store(r.URL.Path, ok)
		switch {
		case r.URL.Path == "/admin":
		case !ok:
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(401)
		default:
			http.Redirect(w, r, foreign.URL, http.StatusFound)
		}
	}))
	defer home.Close()
	foreign = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, home.URL+"/admin", http.StatusFound)
	}))
	defer foreign.Close()
	e := endpoint(t, ClientConfig{TLS: &tls.Config{InsecureSkipVerify: true}}, EndpointConfig{URL: home.URL, Credentials: Static("user", NewSecret(canary))})
	readBlob(e, digestOf("x"), 0)
	if had, asked := authorized.Load("/admin"); !asked || had.(bool) {
		t.Errorf("the way back: asked %t, with credentials %v", asked, had)
	}
}

// TestNothingTellsSecrets runs a whole session, failures included, against a
// registry that echoes what it is sent, and looks for the secrets in every
// log line, error and event.
func TestNothingTellsSecrets(t *testing.T) {
	const granted = "canary-token-77"
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		echo := func(status int) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, password, _ := r.BasicAuth()
			fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":"no %s %s"},{"code":"%s"}]}`, r.Header.Get("Authorization"), password, r.Header.Get("Authorization"))
		}
		switch {
		case r.URL.Path == "/token" && strings.Contains(r.URL.RawQuery, "teapot"):
			echo(500)
		case r.URL.Path == "/token":
			io.WriteString(w, `{"token":"`+granted+`"}`)
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
			w.WriteHeader(401)
		default:
			echo(403)
		}
	})
	var log, events lockedBuffer
	c := client(t, ClientConfig{
		Log:     slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Observe: func(ev Event) { fmt.Fprintf(&events, "%+v", ev) },
	})
	e, err := c.Endpoint(EndpointConfig{URL: s.URL, AllowPrivate: true, Credentials: Static("user", NewSecret(canary))})
	if err != nil {
		t.Fatal(err)
	}
	var errs []error
	ctx := t.Context()
	for _, path := range []string{"team/app", "teapot"} {
		n := repo
		n.Path = path
		_, err1 := e.Manifest(ctx, n.WithTag("v1"))
		_, err2 := e.Stat(ctx, n, digestOf("x"))
		_, err3 := e.Referrers(ctx, n, digestOf("x"), "")
		errs = append(errs, err1, err2, err3, e.DeleteTag(ctx, n, "v1"), e.Mount(ctx, n, n, digestOf("x")), use(ctx, e, "Location"), use(ctx, e, "Link"))
	}
	for _, err := range errs {
		if err == nil {
			t.Error("a request of the session succeeded")
		}
	}
	text := fmt.Sprintf("%v %+v %#v %s %s %+v %#v", errs, errs, errs, log.String(), events.String(), e.cfg, e.cfg)
	if holdsCanary(text) || strings.Contains(text, granted) {
		t.Errorf("a secret is told:\n%s", text)
	}
}
