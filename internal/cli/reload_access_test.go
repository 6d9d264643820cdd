//go:build unix

package cli

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// A reloading is a server in this process whose configuration is written anew.
type reloading struct {
	*running
	toml string // file
}

func startReloading(t *testing.T, text string) *reloading {
	t.Helper()
	dir := t.TempDir()
	r := &reloading{toml: filepath.Join(dir, "entrepot.toml")}
	r.write(t, text)
	r.running = startArgs(t, nil, "--config", r.toml, "--storage", filepath.Join(dir, "store"), "--log-level", "info")
	return r
}

func (r *reloading) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(r.toml, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reload has another configuration read, and waits until the log says a text
// once more.
func (r *reloading) reload(t *testing.T, text, told string) {
	t.Helper()
	r.write(t, text)
	before := strings.Count(r.out.String(), told)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.out.waitCount(t, told, before+1)
}

const accessReloaded = `msg="access reloaded"`

// accessToml is a configuration in which ci may push to apps/**, robots may
// pull from there, and bob may do what is said.
func accessToml(accounts, key string, i *issuer, bob, more string) string {
	return fmt.Sprintf(`[auth]
htpasswd = %q
token_key = %q
anonymous = 'none'
%s
[[auth.oidc]]
issuer = %q
audience = 'mirror.corp'
[[access]]
who = ['ci']
repositories = ['apps/**']
allow = ['pull', 'push']
[[access]]
who = ['bob', 'group:robots']
repositories = ['apps/**']
allow = [%s]
[[access]]
who = ['anonymous']
repositories = ['pub/**']
allow = ['pull']
`, accounts, key, more, i.URL, bob)
}

// TestFault35ReloadAccess holds that who may do what changes with a reload, and
// that nobody who may go on doing something has a request fail by it: with a
// password, a token of ours by the key before too, a token of an issuer, or
// nothing (spec/reliability.md 5, row 35).
func TestFault35ReloadAccess(t *testing.T) {
	dir := t.TempDir()
	accounts, key := filepath.Join(dir, "htpasswd"), filepath.Join(dir, "key")
	writeText(t, accounts, "ci:"+secretHash+"\n")
	writeText(t, key, strings.Repeat("first-key ", 5))
	i := startIssuer(t)
	r := startReloading(t, accessToml(accounts, key, i, "'pull'", ""))
	r.client.Transport = &http.Transport{MaxIdleConnsPerHost: 16}
	robot := i.token(t, "bob", "robots")
	own := r.ownToken(t, "oidc:"+robot, "repository:apps/x:pull,push")
	ask := func(as, method, path string, want int) error {
		if got, _, body := r.as(as, method, r.url+path); got != want {
			return fmt.Errorf("%s %s by %.10s: got %d, want %d: %s", method, path, as, got, want, body)
		}
		return nil
	}
	var stop atomic.Bool
	var work sync.WaitGroup
	var asked atomic.Int64
	for _, c := range []struct {
		as, method, path string
		want             int
	}{
		{"ci:" + secretPassword, "POST", "/v2/apps/x/blobs/uploads/", 202},
		{"Bearer " + robot, "GET", "/v2/apps/x/manifests/v1", 404}, // he may look, and there is nothing
		{"Bearer " + own, "GET", "/v2/apps/x/manifests/v1", 404},
		{"", "GET", "/v2/pub/x/manifests/v1", 404},
		{"ci:" + secretPassword, "GET", "/token?scope=repository:apps/x:pull", 200},
	} {
		work.Go(func() {
			for !stop.Load() {
				asked.Add(1)
				if err := ask(c.as, c.method, c.path, c.want); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := range 20 {
		bob, more := "'pull'", ""
		if n%2 == 0 {
			bob, more = "'pull', 'push'", "cidr = ['127.0.0.0/8']\n[[auth.oidc]]\nissuer = 'https://other.example'\naudience = 'a'"
		}
		if n == 10 {
			writeText(t, key, strings.Repeat("second-key ", 5))
		}
		r.reload(t, accessToml(accounts, key, i, bob, more), accessReloaded)
		want := map[bool]int{true: 202, false: 403}[n%2 == 0]
		if err := ask("Bearer "+robot, "POST", "/v2/apps/x/blobs/uploads/", want); err != nil {
			t.Errorf("after reload %d: %v", n, err)
		}
	}
	stop.Store(true)
	work.Wait()
	t.Logf("%d requests", asked.Load())
	if strings.Contains(r.out.String(), "needs a restart") {
		t.Errorf("a restart is said to be needed:\n%s", r.out)
	}
	// Something wrong changes nothing.
	r.reload(t, accessToml(accounts, key, i, "'fly'", ""), "not reloaded")
	if err := ask("Bearer "+robot, "POST", "/v2/apps/x/blobs/uploads/", 403); err != nil {
		t.Error(err)
	}
	// Accounts that are gone are gone at once, with the tokens that they have.
	r.reload(t, "[auth]\nanonymous = 'pull'\n", accessReloaded)
	if err := ask("Bearer "+own, "POST", "/v2/apps/x/blobs/uploads/", 403); err != nil {
		t.Error(err)
	}
	if err := ask("", "GET", "/token", 404); err != nil {
		t.Error(err)
	}
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ownToken gets a token of ours.
func (r *running) ownToken(t *testing.T, as, scope string) string {
	t.Helper()
	var answer struct{ Token string }
	_, _, body := r.as(as, "GET", r.url+"/token?service=entrepot&scope="+scope)
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Token == "" {
		t.Fatalf("%v: %s", err, body)
	}
	return answer.Token
}

// TestFault35ReloadClientCA holds that clients are asked for certificates of
// other authorities after a reload, and that one by an authority that is gone
// counts no longer, on a connection from before either.
func TestFault35ReloadClientCA(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	pool := writeCertificate(t, one)
	writeCertificate(t, two)
	pem := func(dir string) string { return filepath.Join(dir, "cert.pem") }
	toml := func(ca string) string {
		return fmt.Sprintf("[server]\ntls_cert = %q\ntls_key = %q\n%s\n[auth]\nanonymous = 'pull'\n", pem(one), filepath.Join(one, "key.pem"), ca)
	}
	r := startReloading(t, toml(""))
	push := func(client *http.Client) int {
		resp, err := client.Post(r.url+"/v2/apps/x/blobs/uploads/", "", nil)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	client := func(dir string) *http.Client {
		pair, err := tls.LoadX509KeyPair(pem(dir), filepath.Join(dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ClientSessionCache: tls.NewLRUClientSessionCache(8),
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }}}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	before := client(one)
	if got := push(before); got != 403 {
		t.Errorf("where no certificates are asked for: got %d", got)
	}
	r.reload(t, toml("client_ca = '"+pem(one)+"'"), accessReloaded)
	first := client(one)
	if got := push(first); got != 202 {
		t.Errorf("by the authority: got %d", got)
	}
	if got := push(client(two)); got != 0 {
		t.Errorf("by another one: got %d", got)
	}
	r.reload(t, toml("client_ca = '"+pem(two)+"'"), accessReloaded)
	if got := push(first); got != 401 {
		t.Errorf("by the one before, on a connection from before: got %d", got)
	}
	if got := push(client(two)); got != 202 {
		t.Errorf("by the new one: got %d", got)
	}
	first.CloseIdleConnections()
	if got := push(first); got != 0 {
		t.Errorf("by the one before, anew: got %d", got)
	}
}

// TestReloadIsWholeForARequest holds that a blob that is being sent when its
// reader loses the right to it is sent to its end.
func TestReloadIsWholeForARequest(t *testing.T) {
	shelf := regtest.NewShelf()
	img := shelf.AddImage("team/app", regtest.Image{Layers: []int64{1 << 20}}, "v1")
	reg := regtest.New(t, regtest.Config{Shelf: shelf})
	toml := func(anonymous string) string {
		return "[auth]\nanonymous = '" + anonymous + "'\nhtpasswd = '" + tenantAccounts(t) + "'\n" + upstreamTable(reg, "up.example", "")
	}
	r := startReloading(t, toml("pull"))
	layer := string(img.Layers[0].Digest)
	rule := reg.On(regtest.Match{Kind: regtest.Blob, Ref: layer}, regtest.Held())
	got := make(chan error, 1)
	url := r.url + "/v2/up.example/team/app/blobs/" + layer
	go func() { got <- read(r.client, url, img.Layers[0].Size) }()
	<-rule.Reached()
	r.reload(t, toml("none"), accessReloaded)
	rule.Release()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if status, _, _ := r.as("", "GET", url); status != 401 {
		t.Errorf("after it: got %d", status)
	}
}
