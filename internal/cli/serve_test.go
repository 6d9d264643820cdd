package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"go.uber.org/goleak"
)

// A running is `entrepot serve` in this process.
type running struct {
	t          *testing.T
	url, admin string
	out        *output
	stop       context.CancelFunc
	code       chan int
	client     *http.Client
}

// start serves a configuration on free ports and waits until it listens.
func start(t *testing.T, toml string, args ...string) *running {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "entrepot.toml")
	if err := os.WriteFile(path, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(toml, "[storage]") {
		args = append(args, "--storage", filepath.Join(dir, "store"))
	}
	return startArgs(t, nil, append([]string{"--config", path}, args...)...)
}

func startArgs(t *testing.T, vars map[string]string, args ...string) *running {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	ctx, stop := context.WithCancel(context.Background()) // the test's own ends before its cleanups
	r := &running{t: t, out: newOutput(), stop: stop, code: make(chan int, 1), client: &http.Client{Transport: &http.Transport{}}}
	env := testEnv(vars)
	env.Stderr = r.out
	env.Args = append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...)
	go func() {
		r.code <- Main(ctx, env)
		r.out.close()
	}()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		if code := r.end(); code != 0 {
			t.Errorf("serve ended with %d:\n%s", code, r.out)
		}
	})
	r.url = r.out.wait(t, `serving (https?://\S+) from`)
	r.admin = r.out.wait(t, `admin address (http://\S+) `)
	return r
}

// end stops the server and returns its exit code.
func (r *running) end() int {
	r.stop()
	code := <-r.code
	r.code <- code
	return code
}

// get returns status, header and body of an answer.
func (r *running) get(url string) (int, http.Header, []byte) {
	r.t.Helper()
	resp, err := r.client.Get(url)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, body
}

// counts fails the test unless /metrics comes to show every line of want. What
// a request did is counted behind its answer, so it may have to look again.
func (r *running) counts(want ...string) {
	r.t.Helper()
	var metrics []byte
	missing := func(line string) bool { return !strings.Contains(string(metrics), line) }
	for range 2000 {
		if _, _, metrics = r.get(r.admin + "/metrics"); !slices.ContainsFunc(want, missing) {
			return
		}
	}
	for _, line := range want {
		if missing(line) {
			r.t.Errorf("missing in /metrics: %s", line)
		}
	}
	r.t.Logf("%s", metrics)
}

// An output is what a server prints; a test can wait for a line of it.
type output struct {
	mu      sync.Mutex // guards the rest
	buf     bytes.Buffer
	ended   bool
	changed *sync.Cond
}

func newOutput() *output {
	o := &output{}
	o.changed = sync.NewCond(&o.mu)
	return o
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.changed.Broadcast()
	return o.buf.Write(p)
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.changed.Broadcast()
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// wait returns the first group of a pattern as soon as it is there.
func (o *output) wait(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		if m := re.FindStringSubmatch(o.buf.String()); m != nil {
			return m[len(m)-1]
		}
		if o.ended {
			t.Fatalf("it ended without %q:\n%s", pattern, o.buf.String())
		}
		o.changed.Wait()
	}
}

// waitCount returns as soon as a text is there so many times.
func (o *output) waitCount(t *testing.T, text string, n int) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for bytes.Count(o.buf.Bytes(), []byte(text)) < n {
		if o.ended {
			t.Fatalf("it ended without %q:\n%s", text, o.buf.String())
		}
		o.changed.Wait()
	}
}

func TestServeWithoutConfiguration(t *testing.T) {
	t.Chdir(t.TempDir())
	home := t.TempDir()
	r := startArgs(t, map[string]string{"HOME": home})
	if code, header, body := r.get(r.url + "/v2/"); code != 200 || string(body) != "{}" || header.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
		t.Errorf("/v2/: got %d %s", code, body)
	}
	if code, _, _ := r.get(r.admin + "/readyz"); code != 200 {
		t.Errorf("/readyz: got %d", code)
	}
	if _, err := os.Stat(filepath.Join(home, ".local/share/entrepot/FORMAT")); err != nil {
		t.Errorf("the store is not in the user's data directory: %v", err)
	}
	for _, want := range []string{"containerd  ", "podman  ", "skopeo  ", "crane  ", "docker  ", "buildkit  ", "pack  "} {
		if !strings.Contains(r.out.String(), "\n  "+want) {
			t.Errorf("no recipe for %s", want)
		}
	}
	// Pushes for a name that no upstream owns are taken, others are not.
	for path, want := range map[string]int{"/v2/team/app/blobs/uploads/": 202, "/v2/ghcr.io/a/b/blobs/uploads/": 403, "/v2/localhost/a/blobs/uploads/": 404} {
		resp, err := r.client.Post(r.url+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("POST %s: got %d, want %d", path, resp.StatusCode, want)
		}
	}
}

func upstreamTable(reg *regtest.Registry, name, more string) string {
	return fmt.Sprintf("[[upstream]]\nname = %q\nurl = %q\nallow_private = true\n%s\n", name, reg.URL(), more)
}

func TestServePullsThrough(t *testing.T) {
	one, two := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	first := one.AddImage("library/app", regtest.Image{Layers: []int64{200_000}, Seed: 1}, "v1")
	second := two.AddImage("library/app", regtest.Image{Layers: []int64{100_000}, Seed: 2}, "v1")
	r := start(t, upstreamTable(one, "docker.io", "default = true\naliases = ['hub']")+upstreamTable(two, "two.example:5000", "aliases = ['two']"))

	for path, want := range map[string]regtest.Built{
		"/v2/library/app/manifests/v1?ns=docker.io":        first,
		"/v2/app/manifests/v1?ns=docker.io":                first,
		"/v2/docker.io/library/app/manifests/v1":           first,
		"/v2/hub/library/app/manifests/v1":                 first,
		"/v2/library/app/manifests/v1":                     first,
		"/v2/library/app/manifests/v1?ns=two.example:5000": second,
		"/v2/two/library/app/manifests/v1":                 second,
	} {
		code, header, body := r.get(r.url + path)
		if code != 200 || !bytes.Equal(body, want.Raw) || header.Get("Docker-Content-Digest") != string(want.Digest) {
			t.Errorf("%s: got %d %s", path, code, body)
		}
	}
	code, _, body := r.get(r.url + "/v2/library/app/blobs/" + string(first.Layers[0].Digest))
	if code != 200 || int64(len(body)) != first.Layers[0].Size {
		t.Errorf("layer: got %d and %d bytes", code, len(body))
	}
	if code, _, _ := r.get(r.url + "/v2/library/app/manifests/v1?ns=evil.example"); code != 404 {
		t.Errorf("unknown ns: got %d, want 404", code)
	}
	if n := one.BlobBytes(first.Layers[0].Digest); n != first.Layers[0].Size {
		t.Errorf("the upstream sent %d bytes of the layer, want %d", n, first.Layers[0].Size)
	}

	r.counts(
		`entrepot_requests_total{code="2xx",op="manifest",result="miss",upstream="docker.io"} `,
		`entrepot_requests_total{code="2xx",op="manifest",result="hit",upstream="docker.io"} `,
		`entrepot_requests_total{code="2xx",op="manifest",result="miss",upstream="two.example:5000"} `,
		`entrepot_fills_total{result="done",upstream="docker.io"}`,
		`entrepot_upstream_requests_total{code="200",kind="manifest",upstream="docker.io"}`,
		`entrepot_store_bytes{pool="cache"}`,
	)
}

// A mirror that breaks in the middle of a blob is gone on from at the next
// place, and the metrics say so.
func TestServeGoesOnAtTheNextMirror(t *testing.T) {
	shelf := regtest.NewShelf()
	img := shelf.AddImage("a/b", regtest.Image{Layers: []int64{300_000}}, "v1")
	bad, good := regtest.New(t, regtest.Config{Shelf: shelf}), regtest.New(t, regtest.Config{Shelf: shelf})
	layer := img.Layers[0]
	bad.On(regtest.Match{Kind: regtest.Blob, Ref: string(layer.Digest), Times: 1}, regtest.CutAt(100_000))
	bad.On(regtest.Match{Kind: regtest.Blob, Ref: string(layer.Digest)}, regtest.Status(503))
	r := start(t, upstreamTable(good, "example.com", fmt.Sprintf("mirrors = [%q]", bad.URL())))

	r.get(r.url + "/v2/example.com/a/b/manifests/v1")
	if code, _, body := r.get(r.url + "/v2/example.com/a/b/blobs/" + string(layer.Digest)); code != 200 || int64(len(body)) != layer.Size {
		t.Fatalf("got %d and %d bytes", code, len(body))
	}
	if n := good.BlobBytes(layer.Digest); n != layer.Size-100_000 {
		t.Errorf("the second place sent %d bytes, want the %d that were missing", n, layer.Size-100_000)
	}
	r.counts(`entrepot_resumes_total{upstream="example.com"} `)
}

// What is stored is served after a restart, with the upstream away.
func TestServeAfterRestartWithoutUpstream(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	img := reg.AddImage("a/b", regtest.Image{Layers: []int64{5000}}, "v1")
	conf := upstreamTable(reg, "example.com", "tag_ttl = '-1'") + fmt.Sprintf("[storage]\nurl = 'file://%s'\n", t.TempDir())
	r := start(t, conf)
	r.get(r.url + "/v2/example.com/a/b/manifests/v1")
	r.get(r.url + "/v2/example.com/a/b/blobs/" + string(img.Layers[0].Digest))
	r.client.CloseIdleConnections()
	if code := r.end(); code != 0 {
		t.Fatalf("got exit code %d", code)
	}
	reg.Down()
	r = start(t, conf)
	if code, _, body := r.get(r.url + "/v2/example.com/a/b/manifests/v1"); code != 200 || !bytes.Equal(body, img.Raw) {
		t.Errorf("manifest: got %d", code)
	}
	if code, _, body := r.get(r.url + "/v2/example.com/a/b/blobs/" + string(img.Layers[0].Digest)); code != 200 || len(body) != 5000 {
		t.Errorf("layer: got %d and %d bytes", code, len(body))
	}
}

// A loopback upstream is dialled only where the configuration allows it, and
// the operator is told before the first pull.
func TestPrivateUpstreamIsRefused(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	reg.AddImage("a/b", regtest.Image{}, "v1")
	r := start(t, fmt.Sprintf("[[upstream]]\nname = 'example.com'\nurl = %q", reg.URL()))
	if code, _, _ := r.get(r.url + "/v2/example.com/a/b/manifests/v1"); code != 502 && code != 503 {
		t.Errorf("got %d, want a refusal", code)
	}
	if n := len(reg.Log()); n != 0 {
		t.Errorf("the upstream was asked %d times", n)
	}
	if !strings.Contains(r.out.String(), "warning: upstream example.com: 127.0.0.1 is a private address and will be refused; set allow_private = true") {
		t.Error("no warning at the start")
	}
}

// Credentials are those of the configuration and go to the upstream alone.
func TestServeWithAnAccount(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	reg.SetAuth(regtest.Auth{Scheme: "Bearer", Username: "bot", Password: "hunter2"})
	reg.AddImage("a/b", regtest.Image{}, "v1")
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, upstreamTable(reg, "example.com", fmt.Sprintf("auth = 'service'\nusername = 'bot'\npassword_file = %q", secret)), "--log-level", "debug")
	if code, _, body := r.get(r.url + "/v2/example.com/a/b/manifests/v1"); code != 200 {
		t.Errorf("got %d %s", code, body)
	}
	if strings.Contains(r.out.String(), "hunter2") {
		t.Error("the log holds the password")
	}
}

// Draining: not ready at once, requests that run go on to their end, then
// everything is closed.
func TestShutdownDrains(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	img := reg.AddImage("a/b", regtest.Image{Layers: []int64{1 << 20}}, "v1")
	layer := img.Layers[0]
	rule := reg.On(regtest.Match{Kind: regtest.Blob, Ref: string(layer.Digest)}, regtest.StallAt(500_000))
	r := start(t, upstreamTable(reg, "example.com", ""))
	r.get(r.url + "/v2/example.com/a/b/manifests/v1")
	resp, err := r.client.Get(r.url + "/v2/example.com/a/b/blobs/" + string(layer.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-rule.Reached()
	r.stop()
	r.out.wait(t, "(shutting down)")
	if code, _, body := r.get(r.admin + "/readyz"); code != 503 || !strings.Contains(string(body), "shutting down") {
		t.Errorf("/readyz while draining: got %d %s", code, body)
	}
	rule.Release()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n != layer.Size {
		t.Errorf("the request that ran got %d bytes, %v", n, err)
	}
	r.client.CloseIdleConnections()
	if code := r.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A drain that takes too long is cut; what was fetched is kept.
func TestDrainHasAnEnd(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	img := reg.AddImage("a/b", regtest.Image{Layers: []int64{1 << 20}}, "v1")
	layer := img.Layers[0]
	rule := reg.On(regtest.Match{Kind: regtest.Blob, Ref: string(layer.Digest)}, regtest.StallAt(500_000))
	r := start(t, "[server]\ndrain = '0'\n"+upstreamTable(reg, "example.com", ""))
	r.get(r.url + "/v2/example.com/a/b/manifests/v1")
	resp, err := r.client.Get(r.url + "/v2/example.com/a/b/blobs/" + string(layer.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-rule.Reached()
	if code := r.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("%d bytes look like a whole body", n)
	}
	if !strings.Contains(r.out.String(), "requests were cut") {
		t.Error("the log does not say that requests were cut")
	}
}

func TestPortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var out bytes.Buffer
	env := testEnv(nil)
	env.Stderr = &out
	dir := filepath.Join(t.TempDir(), "store")
	env.Args = []string{"serve", "--listen", l.Addr().String(), "--storage", dir}
	if code := Main(t.Context(), env); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if !strings.Contains(out.String(), "entrepot: error: listen tcp 127.0.0.1:") || !strings.Contains(out.String(), "entrepot: hint: something else listens there") {
		t.Errorf("got %s", &out)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the store was made before the port was tried")
	}
}

func TestStoreIsTaken(t *testing.T) {
	dir := t.TempDir()
	start(t, fmt.Sprintf("[storage]\nurl = %q", dir))
	var out bytes.Buffer
	env := testEnv(nil)
	env.Stderr = &out
	env.Args = []string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--storage", dir}
	if code := Main(t.Context(), env); code != exitFailed || !strings.Contains(out.String(), "is in use by another process") {
		t.Errorf("got %d: %s", code, &out)
	}
}

func TestServeTLS(t *testing.T) {
	dir := t.TempDir()
	pool := writeCertificate(t, dir)
	r := start(t, fmt.Sprintf("[server]\ntls_cert = %q\ntls_key = %q", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
	r.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	if !strings.HasPrefix(r.url, "https://") {
		t.Errorf("it says that it serves %s", r.url)
	}
	if code, _, _ := r.get(r.url + "/v2/"); code != 200 {
		t.Errorf("got %d", code)
	}
}

func TestBadCertificate(t *testing.T) {
	var out bytes.Buffer
	env := testEnv(nil)
	env.Stderr = &out
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(path, []byte("[server]\ntls_cert = '/missing'\ntls_key = '/missing'"), 0o600); err != nil {
		t.Fatal(err)
	}
	env.Args = []string{"serve", "--config", path, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--storage", t.TempDir()}
	if code := Main(t.Context(), env); code != exitFailed || !strings.Contains(out.String(), "read TLS certificate: open /missing") {
		t.Errorf("got %d: %s", code, &out)
	}
}

// writeCertificate makes a certificate for 127.0.0.1.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return pool
}
