package remote

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/google/go-cmp/cmp"
)

// TestManifestAnswers holds what becomes of the media types that an upstream says
// (spec/serve.md, B7), and that no manifest is two things (GHSA-qq97-vm5h-rrhg,
// GHSA-5j5w-g665-5m35).
func TestManifestAnswers(t *testing.T) {
	const untyped = `{"schemaVersion":2,"config":{},"layers":[]}`
	const untypedIndex = `{"schemaVersion":2,"manifests":[]}`
	const opaque = `{"schemaVersion":2,"mediaType":"application/vnd.example.thing+json"}`
	for _, tt := range []struct {
		name, header, body string
		digest             string // Docker-Content-Digest; "" for the right one, "-" for none
		want               string // media type
		kind               error
	}{
		{name: "parameters are cut", header: oci.TypeImageManifest + "; charset=utf-8", body: manifestJSON, want: oci.TypeImageManifest},
		{name: "the document knows better", header: oci.TypeDockerManifest, body: manifestJSON, want: oci.TypeImageManifest},
		{name: "generic header", header: "application/json", body: manifestJSON, want: oci.TypeImageManifest},
		{name: "no digest", header: oci.TypeImageManifest, body: manifestJSON, digest: "-", want: oci.TypeImageManifest},
		{name: "malformed digest", header: oci.TypeImageManifest, body: manifestJSON, digest: "sha256:zz", want: oci.TypeImageManifest},
		{name: "untyped manifest", header: "text/plain", body: untyped, want: oci.TypeImageManifest},
		{name: "untyped index", header: "application/octet-stream", body: untypedIndex, want: oci.TypeImageIndex},
		{name: "header of an untyped one", header: oci.TypeImageIndex, body: untypedIndex, want: oci.TypeImageIndex},
		{name: "opaque header", header: "application/vnd.example.other+json", body: opaque, want: "application/vnd.example.other+json"},
		{name: "wrong digest", header: oci.TypeImageManifest, body: manifestJSON, digest: string(digestOf("x")), kind: oci.ErrMismatch},
		{name: "index and image", header: oci.TypeImageIndex, body: `{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}`, kind: oci.ErrMismatch},
		{name: "image and index", header: oci.TypeImageManifest, body: `{"schemaVersion":2,"config":{},"manifests":[]}`, kind: oci.ErrMismatch},
		{name: "index and null", header: oci.TypeImageIndex, body: `{"schemaVersion":2,"manifests":[],"config":null}`, want: oci.TypeImageIndex},
		{name: "opaque and ambiguous", header: "application/vnd.example.other+json", body: `{"manifests":[],"config":{}}`, want: "application/vnd.example.other+json"},
		{name: "html", header: "text/html", body: "<html>log in</html>", digest: "-", kind: oci.ErrMismatch},
		{name: "text", header: oci.TypeImageManifest, body: "hello", digest: "-", kind: oci.ErrMismatch},
		{name: "null", header: oci.TypeImageManifest, body: "null", digest: "-", kind: oci.ErrMismatch},
		{name: "array", header: oci.TypeImageManifest, body: "[{}]", digest: "-", kind: oci.ErrMismatch},
		{name: "empty", header: oci.TypeImageManifest, body: "", digest: "-", kind: oci.ErrMismatch},
		{name: "cut", header: oci.TypeImageManifest, body: manifestJSON[:50], digest: "-", kind: oci.ErrMismatch},
		{name: "schema 1", header: oci.TypeDockerSchema1JWS, body: `{"schemaVersion":1,"signatures":[]}`, digest: string(digestOf("payload")), kind: oci.ErrNotFound},
		{name: "schema 1 as json", header: "application/json", body: `{"schemaVersion":1,"fsLayers":[]}`, kind: oci.ErrNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, _ := open(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", tt.header)
				switch tt.digest {
				case "-":
				case "":
					w.Header().Set("Docker-Content-Digest", string(digestOf(tt.body)))
				default:
					w.Header().Set("Docker-Content-Digest", tt.digest)
				}
				io.WriteString(w, tt.body)
			})
			m, err := e.Manifest(t.Context(), repo.WithTag("v1"))
			if tt.kind != nil {
				wantKind(t, err, tt.kind)
				return
			}
			if err != nil || m.MediaType != tt.want || string(m.Raw) != tt.body || m.Digest != digestOf(tt.body) {
				t.Errorf("got %s %s, %v, want %s", m.MediaType, m.Digest, err, tt.want)
			}
			d, err := e.Resolve(t.Context(), repo.WithTag("v1"))
			if err != nil || d.Digest != m.Digest || d.Size != int64(len(tt.body)) {
				t.Errorf("Resolve = %+v, %v", d, err)
			}
		})
	}
}

// TestManifestByDigestIsVerified holds that a digest that was asked for is what
// the content has, whatever a header says.
// GHSA-qv35-3gw6-8q4j.
func TestManifestByDigestIsVerified(t *testing.T) {
	e, _ := open(t, func(w http.ResponseWriter, r *http.Request) { serveManifest(w, oci.TypeImageManifest, manifestJSON) })
	_, err := e.Manifest(t.Context(), repo.WithDigest(digestOf("other")))
	wantKind(t, err, oci.ErrMismatch)
	_, err = e.Resolve(t.Context(), repo.WithDigest(digestOf("other")))
	wantKind(t, err, oci.ErrMismatch)
	long := oci.FromBytes([]byte(manifestJSON), "sha512:")
	m, err := e.Manifest(t.Context(), repo.WithDigest(long))
	if err != nil || m.Digest != long {
		t.Errorf("by sha512: %s, %v", m.Digest, err)
	}
}

// TestManifestSizeIsBounded: a manifest is never read beyond its limit, whether
// its length was declared or not (CVE-2017-11468, CVE-2023-25153).
func TestManifestSizeIsBounded(t *testing.T) {
	for _, declared := range []bool{true, false} {
		e, _ := open(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", oci.TypeImageManifest)
			if declared {
				w.Header().Set("Content-Length", fmt.Sprint(oci.MaxManifest+1))
			}
			chunk := strings.Repeat(" ", 1<<16)
			for range oci.MaxManifest>>16 + 1 {
				io.WriteString(w, chunk)
			}
		})
		_, err := e.Manifest(t.Context(), repo.WithTag("v1"))
		wantKind(t, err, oci.ErrMismatch)
	}
}

func TestResolveFallsBackToGet(t *testing.T) {
	for _, tt := range []struct {
		name  string
		head  func(http.ResponseWriter)
		trust bool
		want  []string
		kind  error
	}{
		{name: "good", head: func(w http.ResponseWriter) { serveManifest(w, oci.TypeImageManifest, manifestJSON) }, want: []string{"HEAD"}},
		{name: "no digest", head: func(w http.ResponseWriter) { w.Header().Set("Content-Length", "10") }, want: []string{"HEAD", "GET"}},
		{name: "no length", head: func(w http.ResponseWriter) {
			w.Header().Set("Docker-Content-Digest", string(digestOf(manifestJSON)))
			w.Header().Set("Content-Type", oci.TypeImageManifest)
			w.(http.Flusher).Flush()
		}, want: []string{"HEAD", "GET"}},
		{name: "405", head: status(405), want: []string{"HEAD", "GET"}},
		{name: "403", head: status(403), want: []string{"HEAD", "GET"}},
		{name: "401", head: status(401), want: []string{"HEAD", "GET"}},
		{name: "404", head: status(404), want: []string{"HEAD", "GET"}},
		{name: "404, trusted", head: status(404), trust: true, want: []string{"HEAD"}, kind: oci.ErrNotFound},
		{name: "500", head: status(500), want: []string{"HEAD"}, kind: oci.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, log := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					tt.head(w)
					return
				}
				serveManifest(w, oci.TypeImageManifest, manifestJSON)
			})
			e := endpoint(t, ClientConfig{Retry: Retry{Attempts: 1}}, EndpointConfig{URL: s.URL, TrustHead: tt.trust})
			d, err := e.Resolve(t.Context(), repo.WithTag("v1"))
			if tt.kind != nil {
				wantKind(t, err, tt.kind)
			} else if err != nil || d.Digest != digestOf(manifestJSON) || d.Size != int64(len(manifestJSON)) {
				t.Errorf("Resolve = %+v, %v", d, err)
			}
			var got []string
			for _, line := range log.get() {
				got = append(got, strings.Fields(line)[0])
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func status(code int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.WriteHeader(code) }
}

func TestRequestHeaders(t *testing.T) {
	s, log := serve(t, func(w http.ResponseWriter, r *http.Request) { serveManifest(w, oci.TypeImageManifest, manifestJSON) })
	e := endpoint(t, ClientConfig{UserAgent: "entrepot/1", InstanceID: "me"}, EndpointConfig{URL: s.URL + "/prefix/", Namespace: "docker.io"})
	ctx := oci.WithVia(t.Context(), "1.1 other")
	if _, err := e.Resolve(ctx, repo.WithTag("v1")); err != nil {
		t.Fatal(err)
	}
	if got, want := log.get()[0], "HEAD /prefix/v2/team/app/manifests/v1?ns=docker.io"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
	h := log.requests[0].Header
	want := map[string]string{
		"Accept": "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, " +
			"application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1",
		"Accept-Encoding": "identity", "User-Agent": "entrepot/1", "Via": "1.1 other, 1.1 me", "Authorization": "", "Cookie": "",
	}
	for name, value := range want {
		if got := h.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
}

func TestEndpointURL(t *testing.T) {
	c := client(t, ClientConfig{})
	for in, want := range map[string]string{
		"registry.example.com":                    "https://registry.example.com/v2/",
		"https://Registry.Example.com:5000":       "https://registry.example.com:5000/v2/",
		"http://127.0.0.1:5000/":                  "http://127.0.0.1:5000/v2/",
		"https://x.example/a/b":                   "https://x.example/a/b/v2/",
		"https://x.example/a/v2":                  "https://x.example/a/v2/",
		"https://x.example/v2/":                   "https://x.example/v2/",
		"https://mirror.example.com/v2/docker.io": "https://mirror.example.com/v2/docker.io/",
		"ftp://x": "", "https://": "", "https://u:p@x": "", "https://x?y": "", "https://x#y": "", "://": "", "": "", "https://x:y": "",
	} {
		e, err := c.Endpoint(EndpointConfig{URL: in})
		switch {
		case want == "" && err == nil:
			t.Errorf("%q was accepted as %s", in, e.base)
		case want != "" && (err != nil || e.base.String() != want):
			t.Errorf("%q: %v, %v, want %s", in, e, err, want)
		}
	}
	e, _ := c.Endpoint(EndpointConfig{URL: "https://mirror.example.com/v2/docker.io"})
	if got, want := e.scope(repo, "pull"), "repository:docker.io/team/app:pull"; got != want {
		t.Errorf("scope %q, want %q", got, want)
	}
}

func TestHostileNamesAreNotAsked(t *testing.T) {
	e, log := open(t, func(w http.ResponseWriter, r *http.Request) {})
	ctx := t.Context()
	for _, n := range []ref.Name{{}, {Path: "../x"}, {Path: "a/../b"}, {Path: "A"}, {Path: "a?b"}, {Path: "a#b"}, {Path: "a//b"}, {Path: "/a"}} {
		for _, err := range e.Tags(ctx, n, "") {
			wantKind(t, err, oci.ErrInvalid)
		}
		_, err := e.Resolve(ctx, n.WithTag("v1"))
		wantKind(t, err, oci.ErrInvalid)
	}
	for _, d := range []oci.Digest{"", "sha256:", "sha256:../../x", "md5:d41d8cd98f00b204e9800998ecf8427e", oci.Digest("sha256:" + strings.Repeat("A", 64))} {
		_, err := e.Blob(ctx, repo, d, 0)
		wantKind(t, err, oci.ErrInvalid)
		_, err = e.Stat(ctx, repo, d)
		wantKind(t, err, oci.ErrInvalid)
		_, err = e.Referrers(ctx, repo, d, "")
		wantKind(t, err, oci.ErrInvalid)
	}
	for _, tag := range []string{"", "a/b", "..", "a?b", strings.Repeat("a", 129)} {
		_, err := e.Manifest(ctx, repo.WithTag(tag))
		wantKind(t, err, oci.ErrInvalid)
	}
	if got := log.get(); len(got) > 0 {
		t.Errorf("they were asked: %q", got)
	}
}

func TestErrorCodes(t *testing.T) {
	for _, tt := range []struct {
		status     int
		body, code string
		kind       error
	}{
		{404, ``, oci.CodeManifestUnknown, oci.ErrNotFound},
		{404, `<html>`, oci.CodeManifestUnknown, oci.ErrNotFound},
		{404, `{"errors":[{"code":"NAME_UNKNOWN","message":"secret upstream text"}]}`, oci.CodeNameUnknown, oci.ErrNotFound},
		{404, `{"errors":[{"code":"WEIRD"}]}`, oci.CodeManifestUnknown, oci.ErrNotFound},
		{401, `{"errors":[{"code":"UNAUTHORIZED","message":"secret upstream text"}]}`, oci.CodeUnauthorized, oci.ErrUnauthorized},
		{403, `{}`, oci.CodeDenied, oci.ErrDenied},
		{451, ``, oci.CodeDenied, oci.ErrDenied},
		{400, `{"errors":[{"code":"NAME_INVALID"}]}`, oci.CodeNameInvalid, oci.ErrInvalid},
		{400, `{"errors":[{"code":"UNSUPPORTED"}]}`, oci.CodeUnsupported, oci.ErrUnsupported},
		{400, `{"errors":[{"code":"DIGEST_INVALID"}]}`, oci.CodeDigestInvalid, oci.ErrMismatch},
		{500, `{"errors":[{"code":"UNKNOWN","message":"secret upstream text"}]}`, "", oci.ErrUnavailable},
		{429, `{"errors":[{"code":"TOOMANYREQUESTS"}]}`, oci.CodeTooManyRequests, oci.ErrUnavailable},
	} {
		e, _ := open(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.body)
		})
		_, err := e.Manifest(t.Context(), repo.WithTag("v1"))
		told, ok := errors.AsType[*oci.Error](err)
		if !ok || told.Kind != tt.kind || told.Code != tt.code {
			t.Errorf("%d %s: %#v, want %v %s", tt.status, tt.body, err, tt.kind, tt.code)
			continue
		}
		if told.Message == "" || strings.Contains(told.Message, "secret") || strings.Contains(told.Message, "127.0.0.1") {
			t.Errorf("%d: clients are told %q", tt.status, told.Message)
		}
		if s, ok := errors.AsType[*StatusError](err); !ok || s.Code != tt.status || strings.Contains(tt.body, "upstream text") != strings.Contains(s.Body, "upstream text") {
			t.Errorf("%d: the cause is %+v", tt.status, s)
		}
	}
}

func TestUnreachable(t *testing.T) {
	s, _ := serve(t, func(http.ResponseWriter, *http.Request) {})
	closed := s.URL
	s.Close()
	plain, _ := serve(t, func(http.ResponseWriter, *http.Request) {})
	garbage := rawServer(t, "SSH-2.0-OpenSSH_9.2\r\n")
	cut := rawServer(t, "HTTP/1.1 200 OK\r\nContent-Type: "+oci.TypeImageManifest+"\r\nContent-Length: 500\r\n\r\n{")
	for _, tt := range []struct {
		name, url string
		kind      error
		class     Class
	}{
		{"refused", closed, oci.ErrUnavailable, ClassDial},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), oci.ErrUnavailable, ClassTLS},
		{"no HTTP", garbage, oci.ErrMismatch, ClassGarbage},
		{"cut", cut, oci.ErrUnavailable, ClassBroken},
		{"no name", "http://nowhere.invalid", oci.ErrUnavailable, ClassDNS},
	} {
		var class Class
		e := endpoint(t, ClientConfig{Retry: Retry{Attempts: 1}, Resolver: deadDNS, Observe: func(ev Event) { class = ev.Class }}, EndpointConfig{URL: tt.url})
		_, err := e.Manifest(t.Context(), repo.WithTag("v1"))
		wantKind(t, err, tt.kind)
		if told, ok := errors.AsType[*oci.Error](err); !ok || told.Timeout || strings.Contains(told.Message, "127.0.0.1") || class != tt.class {
			t.Errorf("%s: class %q, error %#v, want class %q", tt.name, class, err, tt.class)
		}
	}
}
