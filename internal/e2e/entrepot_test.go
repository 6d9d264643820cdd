package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// An upstream is one [[upstream]] table of entrepot.toml.
type upstream struct {
	name, url string
	more      string // further keys, a line each
}

// A serving says how `entrepot serve` is started.
type serving struct {
	store     string // directory of the store; "" for a fresh one
	server    string // further keys of [server], a line each
	storage   string // further keys of [storage], a line each
	upstreams []upstream
	more      string   // further tables
	rules     []string // FORMAT=PATH
	env       []string // further environment
	files     int      // how many it may have open at once; 0: as many as we
	group     memoryGroup
	debug     bool // it logs all that it can
}

// An entrepot is `entrepot serve` in a process of its own.
type entrepot struct {
	*process
	url, admin string // scheme, host and port
	store      string // its directory
}

// toml writes entrepot.toml.
func (s serving) toml() string {
	var b strings.Builder
	var rules []string
	for _, r := range s.rules {
		rules = append(rules, strconv.Quote(r))
	}
	fmt.Fprintf(&b, "rules = [%s]\n", strings.Join(rules, ", "))
	fmt.Fprintf(&b, "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n%s\n\n[storage]\nurl = %q\n%s\n", s.server, "file://"+s.store, s.storage)
	for _, u := range s.upstreams {
		fmt.Fprintf(&b, "\n[[upstream]]\nname = %q\nurl = %q\nallow_private = true\n%s\n", u.name, u.url, u.more)
	}
	b.WriteString("\n" + s.more + "\n")
	return b.String()
}

// serve starts Entrepot and returns once it says where it listens.
func serve(t testing.TB, s serving) *entrepot {
	t.Helper()
	if s.store == "" {
		s.store = filepath.Join(t.TempDir(), "store")
	}
	e := &entrepot{process: startServe(t, s), store: s.store}
	e.url = "http://" + e.log.wait(t, listens)[1]
	e.admin = "http://" + e.log.wait(t, administers)[1]
	return e
}

// startServe starts `entrepot serve` and does not wait for anything.
func startServe(t testing.TB, s serving) *process {
	t.Helper()
	bin := entrepotBinary(t)
	conf := filepath.Join(t.TempDir(), "entrepot.toml")
	if err := os.WriteFile(conf, []byte(s.toml()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "serve", "--quiet", "--config", conf)
	limits := ""
	if s.debug {
		cmd.Args = append(cmd.Args, "--log-level", "debug")
	}
	if s.files > 0 {
		limits += fmt.Sprintf("ulimit -n %d && ", s.files)
	}
	if s.group.dir != "" {
		limits += fmt.Sprintf("echo $$ >%q && ", s.group.procs())
	}
	if limits != "" {
		cmd = exec.Command("sh", append([]string{"-c", limits + `exec "$0" "$@"`}, cmd.Args...)...)
	}
	cmd.Dir = filepath.Dir(conf)
	cmd.Env = append(os.Environ(), s.env...)
	return startProcess(t, "entrepot", cmd)
}

// entrepotBinary returns where the binary is.
func entrepotBinary(t testing.TB) string {
	t.Helper()
	bin, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

var (
	listens     = regexp.MustCompile(`entrepot: serving http://(\S+) `)
	administers = regexp.MustCompile(`entrepot: admin address http://(\S+) `)
)

// address is host and port of the registry.
func (e *entrepot) address() string { return strings.TrimPrefix(e.url, "http://") }

// ready fails the test where Entrepot is not ready at the first asking.
func (e *entrepot) ready(t testing.TB) {
	t.Helper()
	if resp := send(t, http.MethodGet, e.admin+"/readyz", "", nil); resp.StatusCode != http.StatusOK {
		t.Fatalf("/readyz answers %d as soon as it listens, want 200", resp.StatusCode)
	}
}

// An answer is a response that was read to its end.
type answer struct {
	*http.Response
	body []byte
	err  error // of reading the body: it was cut
}

// get makes a request to a registry, with headers given as "Name: value".
func get(t testing.TB, method, url string, headers ...string) answer {
	t.Helper()
	a, err := tryGet(t, method, url, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return a
}

// tryGet is get where no answer at all is an outcome too.
func tryGet(t testing.TB, method, url string, headers ...string) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := bare.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{Response: resp}
	a.body, a.err = io.ReadAll(resp.Body)
	return a, nil
}

// bare follows no redirect and decodes nothing: it shows what was answered.
var bare = &http.Client{
	Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}
