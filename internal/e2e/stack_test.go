package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// A stack is one Entrepot in front of one misbehaving registry, which it knows
// as docker.io.
type stack struct {
	*entrepot
	up  *regtest.Registry
	cfg serving
}

// newStack starts both. Keys are further keys of the upstream's table, more
// further tables.
func newStack(t testing.TB, keys, more string) *stack {
	t.Helper()
	return newStackOf(t, serving{more: more}, keys)
}

// newStackOf is newStack where more is to be said about how Entrepot is started.
func newStackOf(t testing.TB, cfg serving, keys string) *stack {
	t.Helper()
	s := &stack{up: regtest.New(t, regtest.Config{}), cfg: cfg}
	if s.cfg.store == "" {
		s.cfg.store = t.TempDir() + "/store"
	}
	s.cfg.upstreams = []upstream{{name: "docker.io", url: s.up.URL(), more: keys}}
	s.entrepot = serve(t, s.cfg)
	return s
}

// restart starts a new Entrepot on the store of the one before, which has to
// be gone.
func (s *stack) restart(t testing.TB) {
	t.Helper()
	s.entrepot = serve(t, s.cfg)
}

// ask makes a request to Entrepot; path starts after "/v2/".
func (s *stack) ask(t testing.TB, method, path string, headers ...string) answer {
	t.Helper()
	return get(t, method, s.url+"/v2/"+path, headers...)
}

// wire holds what was sent upstream since the last time against want, each
// "METHOD kind reference" with " bytes=…" where it was ranged; the order does
// not matter.
func (s *stack) wire(t testing.TB, want ...string) {
	t.Helper()
	var got []string
	for _, e := range s.up.Log() {
		got = append(got, wireLine(e))
	}
	s.up.ResetLog()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("sent upstream:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func wireLine(e regtest.Entry) string {
	line := fmt.Sprintf("%s %s %s", e.Method, e.Kind, e.Ref)
	if r := e.Header.Get("Range"); r != "" {
		line += " " + r
	}
	return strings.TrimSpace(line)
}

// blobGets is how many GETs of a blob the upstream has seen.
func (s *stack) blobGets(d oci.Digest) int {
	n := 0
	for _, e := range s.up.Log() {
		if e.Method == http.MethodGet && e.Kind == regtest.Blob && e.Ref == string(d) {
			n++
		}
	}
	return n
}

// status checks an answer's status and, for an error, that its document has
// that code and says nothing of the upstream.
func (a answer) status(t testing.TB, status int, code string) {
	t.Helper()
	if a.StatusCode != status || a.err != nil {
		t.Errorf("status %d (%v), want %d; body %.300q", a.StatusCode, a.err, status, a.body)
		return
	}
	if a.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("a challenge of the upstream reached the client: %q", a.Header.Get("WWW-Authenticate"))
	}
	if code == "" {
		return
	}
	var doc struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(a.body, &doc); err != nil || len(doc.Errors) != 1 || doc.Errors[0].Code != code {
		t.Errorf("the error document is %.300q, want one %s", a.body, code)
	}
}

// header checks headers of an answer, given as "Name: value"; "Name:" says
// that it is not there.
func (a answer) header(t testing.TB, want ...string) {
	t.Helper()
	for _, h := range want {
		name, value, _ := strings.Cut(h, ":")
		if got := a.Header.Get(name); got != strings.TrimSpace(value) {
			t.Errorf("%s is %q, want %q", name, got, strings.TrimSpace(value))
		}
	}
}

// is checks that an answer is the whole of some content.
func (a answer) is(t testing.TB, want []byte) {
	t.Helper()
	a.status(t, http.StatusOK, "")
	if !bytes.Equal(a.body, want) {
		t.Errorf("%d bytes that are not the %d expected", len(a.body), len(want))
	}
}

// contentOf reads all of a blob's content.
func contentOf(t testing.TB, c regtest.Content) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// addBlob puts a random blob on the upstream and returns it with its bytes.
func (s *stack) addBlob(t testing.TB, repo string, seed uint64, size int64) (oci.Digest, []byte) {
	t.Helper()
	c := regtest.Random(seed, size)
	return s.up.AddBlob(repo, c).Digest, contentOf(t, c)
}

// eventually waits until ok holds. It is for what another process does in its
// own time after it has answered.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("it does not happen that %s", what)
		}
	}
}

// metric is the sum of all series of a counter or gauge of Entrepot whose
// lines hold every one of the labels.
func (e *entrepot) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	a := get(t, http.MethodGet, e.admin+"/metrics")
	sum := 0.0
	for line := range strings.SplitSeq(string(a.body), "\n") {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		if !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			var v float64
			if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' ')+1:], &v); err != nil {
				t.Fatalf("metric %q: %v", line, err)
			}
			sum += v
		}
	}
	return sum
}
