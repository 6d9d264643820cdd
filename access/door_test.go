package access

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/oci"
	"golang.org/x/crypto/bcrypt"
)

// hashOf makes a hash as cheap as there is.
func hashOf(t testing.TB, password string, cost int) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// canary is in every password of these tests, so that a log that has one shows.
const canary = "c4n4ry"

func write(t testing.TB, path, text string) {
	t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// newDoor returns a door with the accounts ci and bob, and its log.
func newDoor(t testing.TB) (d *Door, path string, log *bytes.Buffer) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "htpasswd")
	write(t, path, "# accounts\n\nci:"+hashOf(t, canary+"-ci", 4)+"\nbob:"+hashOf(t, canary+"-bob", 4)+"\r\n")
	log = new(bytes.Buffer)
	d, err := NewDoor(DoorConfig{Htpasswd: path, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if strings.Contains(log.String(), canary) || strings.Contains(log.String(), "$2a$") {
			t.Errorf("a secret is in the log:\n%s", log)
		}
	})
	return d, path, log
}

func request(authorization string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return r
}

func basic(user, password string) *http.Request {
	r := request("")
	r.SetBasicAuth(user, password)
	return r
}

func code(err error) string {
	if e, ok := errors.AsType[*oci.Error](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

func TestBasic(t *testing.T) {
	d, _, _ := newDoor(t)
	for range 2 { // the second time from memory
		if c, err := d.Caller(basic("ci", canary+"-ci")); err != nil || c.User != "ci" || c.Limits != nil {
			t.Errorf("right password: got %+v, %v", c, err)
		}
	}
	for what, r := range map[string]*http.Request{
		"nothing":       request(""),
		"empty account": basic("", ""),
	} {
		if c, err := d.Caller(r); err != nil || !c.Anonymous() {
			t.Errorf("%s: got %+v, %v", what, c, err)
		}
	}
	twice := basic("ci", canary+"-ci")
	twice.Header.Add("Authorization", twice.Header.Get("Authorization"))
	for what, r := range map[string]*http.Request{
		"wrong password":    basic("ci", canary+"-bob"),
		"empty password":    basic("ci", ""),
		"unknown user":      basic("eve", canary+"-ci"),
		"hash as password":  basic("ci", d.accounts.now.hashes["ci"].Reveal()),
		"user of anonymous": basic("anonymous", ""),
		"other scheme":      request("Digest x"),
		"no base64":         request("Basic ?"),
		"no colon":          request("Basic " + base64.StdEncoding.EncodeToString([]byte("ci"))),
		"two headers":       twice,
	} {
		if c, err := d.Caller(r); code(err) != oci.CodeUnauthorized || !errors.Is(err, oci.ErrUnauthorized) || !c.Anonymous() {
			t.Errorf("%s: got %+v, %v", what, c, err)
		}
	}
}

// TestNilDoor holds that a server without accounts does not look at what clients
// send: Docker sends those of Docker Hub to its mirrors.
func TestNilDoor(t *testing.T) {
	open, err := NewDoor(DoorConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*Door{nil, open} {
		if c, err := d.Caller(basic("hub", canary)); err != nil || !c.Anonymous() || d.Knows() || !d.Connects("192.0.2.1:1") {
			t.Errorf("got %+v, %v", c, err)
		}
	}
}

func TestHtpasswdIsReadAgain(t *testing.T) {
	d, path, log := newDoor(t)
	login := func(user, password string) bool {
		_, err := d.Caller(basic(user, password))
		return err == nil
	}
	if !login("ci", canary+"-ci") {
		t.Fatal("ci cannot log in")
	}
	write(t, path, "ci:"+hashOf(t, canary+"-new", 4)+"\n")
	if login("ci", canary+"-ci") || !login("ci", canary+"-new") || login("bob", canary+"-bob") {
		t.Error("the old file still counts, or its remembered passwords")
	}
	write(t, path, "ci:plain-"+canary+"\n")
	for range 2 { // the second time, nothing is told again
		if !login("ci", canary+"-new") {
			t.Error("accounts are gone with a bad file")
		}
	}
	if n := strings.Count(log.String(), "htpasswd cannot be used"); n != 1 || !strings.Contains(log.String(), path+": line 1: the hash is not bcrypt") {
		t.Errorf("told %d times:\n%s", n, log)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !login("ci", canary+"-new") {
		t.Error("accounts are gone with their file")
	}
	write(t, path, "")
	if login("ci", canary+"-new") {
		t.Error("an account outlives its line")
	}
}

func TestParseHtpasswd(t *testing.T) {
	good := hashOf(t, "x", 4)
	costly := strings.Replace(good, "$04$", "$13$", 1)
	for text, want := range map[string]string{
		"ci":                               "line 1: it is not USER:HASH",
		"\n\nci:" + canary:                 "line 3: the hash is not bcrypt",
		"ci:{SHA}" + canary:                "line 1: the hash is not bcrypt",
		"ci:$apr1$" + canary:               "line 1: the hash is not bcrypt",
		"ci:" + costly:                     "line 1: the bcrypt hash has cost 13, the limit is 12",
		"ci:" + good[:59]:                  "line 1: the hash is not bcrypt",
		"ci:$2x" + strings.Repeat("!", 57): "line 1: the bcrypt hash is malformed",
		":" + good:                         "line 1: the user has no name",
		"anonymous:" + good:                "line 1: nobody can be called",
		"a\x01:" + good:                    "line 1: the user's name has control characters",
		"ci:" + good + "\nci:" + good:      "line 2: the user is there twice",
		"ci:x\nok:" + good + "\nother:y":   "line 3: the hash is not bcrypt",
	} {
		_, err := parseHtpasswd([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	h, err := parseHtpasswd([]byte("a:" + good + "\nb:" + strings.Replace(good, "$2a$04", "$2y$05", 1)))
	if err != nil || len(h.hashes) != 2 || !strings.HasPrefix(h.decoy.Reveal(), "$2y$05") {
		t.Errorf("got %d accounts, %v", len(h.hashes), err)
	}
	if err := bcrypt.CompareHashAndPassword([]byte(emptyDecoy), []byte("x")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		t.Errorf("the decoy of an empty file costs nothing: %v", err)
	}
}

func FuzzHtpasswd(f *testing.F) {
	f.Add([]byte("# x\nci:$2a$04$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234\n"))
	f.Add([]byte("ci:$2y$31$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"))
	f.Add([]byte("\n:\n::\nanonymous:$2"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseHtpasswd(data)
		if err != nil {
			return
		}
		for user, hash := range h.hashes {
			cost, err := bcrypt.Cost([]byte(hash.Reveal()))
			if err != nil || cost > MaxCost || user == "" || user == AnonymousName || strings.Contains(user, ":") {
				t.Errorf("took %q with cost %d (%v)", user, cost, err)
			}
		}
	})
}

// TestUnknownUserIsCompared holds that a name that nobody has costs what one
// costs that somebody has.
func TestUnknownUserIsCompared(t *testing.T) {
	d, _, _ := newDoor(t)
	hash, known := d.accounts.hash("eve")
	if cost, err := bcrypt.Cost([]byte(hash.Reveal())); known || err != nil || cost != 4 {
		t.Fatalf("known %v, %v", known, err)
	}
	// Even the decoy's own password is no way in.
	for _, p := range []string{canary + "-ci", canary + "-bob"} {
		if _, err := d.Caller(basic("eve", p)); !errors.Is(err, oci.ErrUnauthorized) {
			t.Errorf("got %v", err)
		}
	}
}

// TestVerifiedForFiveMinutes holds how long a password is remembered: the gate
// is shut, so that nothing but memory can answer.
func TestVerifiedForFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, _ := newDoor(t)
		if _, err := d.Caller(basic("ci", canary+"-ci")); err != nil {
			t.Fatal(err)
		}
		d.accounts.gate.present.Store(1 << 20)
		time.Sleep(verifiedFor - time.Second)
		if _, err := d.Caller(basic("ci", canary+"-ci")); err != nil {
			t.Errorf("it was forgotten: %v", err)
		}
		time.Sleep(time.Second)
		_, err := d.Caller(basic("ci", canary+"-ci"))
		if code(err) != oci.CodeTooManyRequests {
			t.Errorf("it is remembered for too long: %v", err)
		}
		if _, err := d.Caller(basic("ci", "other")); code(err) != oci.CodeTooManyRequests {
			t.Errorf("a queue that is full: got %v", err)
		}
	})
}

// TestGate holds that no more wait than may.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{slots: make(chan struct{}, 2)}
		var wg sync.WaitGroup
		release := make(chan struct{})
		for range 2 + maxWaiting {
			wg.Go(func() {
				if err := g.enter(); err != nil {
					t.Error(err)
					return
				}
				<-release
				g.leave()
			})
		}
		synctest.Wait()
		if err := g.enter(); !errors.Is(err, errBusy) {
			t.Errorf("got %v, want errBusy", err)
		}
		if len(g.slots) != 2 {
			t.Errorf("%d run at once, want 2", len(g.slots))
		}
		close(release)
		wg.Wait()
		if err := g.enter(); err != nil {
			t.Error(err)
		}
	})
}

// TestSameLoginTogether holds that many clients that begin with the same right
// password are all let in, more than may wait.
func TestSameLoginTogether(t *testing.T) {
	d, _, _ := newDoor(t)
	var wg sync.WaitGroup
	for range 4 * maxWaiting {
		wg.Go(func() {
			if _, err := d.Caller(basic("ci", canary+"-ci")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestFailuresAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, _ := newDoor(t)
		if _, err := d.Caller(basic("ci", canary+"-ci")); err != nil {
			t.Fatal(err)
		}
		try := func(from, password string) error {
			r := basic("bob", password)
			r.RemoteAddr = from
			_, err := d.Caller(r)
			return err
		}
		for i := range failBurst {
			if err := try("192.0.2.1:1", "wrong"); code(err) != oci.CodeUnauthorized {
				t.Fatalf("try %d: %v", i, err)
			}
		}
		err := try("192.0.2.1:2", canary+"-bob")
		if e, ok := errors.AsType[*oci.Error](err); !ok || e.Code != oci.CodeTooManyRequests || e.RetryAfter <= 0 || e.RetryAfter > failEvery {
			t.Errorf("after %d wrong ones: got %v", failBurst, err)
		}
		if err := try("192.0.2.2:1", canary+"-bob"); err != nil {
			t.Errorf("from elsewhere: %v", err)
		}
		if _, err := d.Caller(basic("ci", canary+"-ci")); err != nil {
			t.Errorf("what is remembered: %v", err)
		}
		time.Sleep(failEvery)
		if err := try("192.0.2.1:1", "wrong"); code(err) != oci.CodeUnauthorized {
			t.Errorf("later: %v", err)
		}
		if err := try("192.0.2.1:1", "wrong"); code(err) != oci.CodeTooManyRequests {
			t.Errorf("right after that: %v", err)
		}
	})
}

func TestFailuresAreBounded(t *testing.T) {
	f := failures{until: map[netip.Prefix]time.Time{}}
	a := netip.MustParseAddr("10.0.0.0")
	for range maxFailing + 100 {
		a = a.Next()
		f.add(network(a))
	}
	if len(f.until) > maxFailing {
		t.Errorf("%d networks are remembered", len(f.until))
	}
	if network(netip.MustParseAddr("2001:db8::1")) != network(netip.MustParseAddr("2001:db8::ffff:1")) {
		t.Error("an IPv6 network is not taken as one")
	}
}

func TestVerifiedIsBounded(t *testing.T) {
	a := accounts{verified: map[[32]byte]time.Time{}}
	for i := range maxVerified + 100 {
		a.remember([32]byte{byte(i), byte(i >> 8)})
	}
	if len(a.verified) > maxVerified {
		t.Errorf("%d are remembered", len(a.verified))
	}
}

func TestConnects(t *testing.T) {
	d, err := NewDoor(DoorConfig{CIDR: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}})
	if err != nil {
		t.Fatal(err)
	}
	for remote, want := range map[string]bool{
		"10.1.2.3:1": true, "[::ffff:10.1.2.3]:1": true, "[fd00::1]:1": true, "[fd00::1%eth0]:1": true,
		"11.1.2.3:1": false, "[::1]:1": false, "127.0.0.1:1": false, "": false, "@": false, "10.1.2.3": false,
	} {
		if got := d.Connects(remote); got != want {
			t.Errorf("%q: got %v", remote, got)
		}
	}
}

// TestSecret holds that what keeps secrets does not show them to anything that
// prints (CVE-2025-48374).
func TestSecret(t *testing.T) {
	d, _, _ := newDoor(t)
	if _, err := d.Caller(basic("ci", canary+"-ci")); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "accounts", d.accounts.now, "decoy", d.accounts.now.decoy)
	}
	for _, text := range []string{fmt.Sprintf("%+v %#v %v", d.accounts.now, d.accounts.now, *d.accounts.now), log.String()} {
		if strings.Contains(text, canary) || strings.Contains(text, "$2a$") || strings.Contains(text, fmt.Sprint([]byte("$2a$"))[:8]) {
			t.Errorf("got %s", text)
		}
	}
}
