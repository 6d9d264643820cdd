package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// fill writes the file of an account, as an operator who changes it does.
func fill(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// What an upstream has refused a password is not refused the next one, nor does
// that wait for the pause that the account was told to make.
//
// nexus#639.
func TestServeCredentialsChange(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	reg.AddImage("team/app", regtest.Image{}, "v1")
	h := startHouse(t, reg, map[string]string{"team": "team/"})
	file := filepath.Join(t.TempDir(), "password")
	fill(t, file, "wrong")
	r := start(t, fmt.Sprintf(`
[[upstream]]
name = "example.com"
url = %q
allow_private = true
tag_ttl = "0"
auth = "service"
username = "team"
password_file = %q
`, h.url, file))
	tag := r.url + "/v2/example.com/team/app/manifests/v1"
	for range 2 {
		if code, _, _ := r.get(tag); code != 404 {
			t.Fatalf("with a wrong password: %d", code)
		}
	}
	fill(t, file, passwordOf("team"))
	r.out.waitCount(t, `msg="credentials reloaded"`, 1) // by itself
	if code, _, body := r.get(tag); code != 200 {
		t.Errorf("with the right password: %d: %s", code, body)
	}

	h.limit("team")
	if code, _, _ := r.get(r.url + "/v2/example.com/team/app/manifests/v2"); code != 429 {
		t.Errorf("an account that is limited: %d", code)
	}
	h.limit("")
	if code, _, _ := r.get(r.url + "/v2/example.com/team/app/manifests/v2"); code != 429 {
		t.Errorf("in its pause: %d", code)
	}
	fill(t, file, passwordOf("team")+"\n")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil { // or when it is told to
		t.Fatal(err)
	}
	r.out.waitCount(t, `msg="credentials reloaded"`, 2)
	if code, _, _ := r.get(r.url + "/v2/example.com/team/app/manifests/v2"); code != 404 {
		t.Errorf("after a change: %d, want the upstream's answer", code)
	}
}

// TestServeCredentialsChangeUnderLoad: tokens that are dropped while clients
// pull cost no request.
func TestServeCredentialsChangeUnderLoad(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	reg.SetAuth(regtest.Auth{Scheme: "Bearer", Username: "team", Password: "secret"})
	const images = 60
	for i := range images {
		reg.AddImage(fmt.Sprintf("team/app%d", i), regtest.Image{Layers: []int64{70_000, 3000}, Seed: uint64(i)}, "v1")
	}
	file := filepath.Join(t.TempDir(), "config.json")
	config := func(i int) string {
		return fmt.Sprintf(`{"auths":{%q:{"username":"team","password":"secret"}},"HttpHeaders":{"X":%q}}`, reg.Host(), strings.Repeat("x", 1+i%2)) // of another size each time
	}
	fill(t, file, config(0))
	r := start(t, fmt.Sprintf("[[upstream]]\nname = 'example.com'\nurl = %q\nallow_private = true\nauth = 'service'\ndocker_config = %q\n", reg.URL(), file))
	var next atomic.Int64
	var pulls sync.WaitGroup
	for range 4 {
		pulls.Go(func() {
			for i := next.Add(1) - 1; i < images; i = next.Add(1) - 1 {
				if err := pullAll(r.client, fmt.Sprintf("%s/v2/example.com/team/app%d", r.url, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	changes := 0
	for ; next.Load() < images; changes++ {
		fill(t, file, config(changes+1))
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		r.out.waitCount(t, `msg="credentials reloaded"`, changes+1)
	}
	pulls.Wait()
	if changes == 0 || reg.Count("GET", regtest.Token) < 2 {
		t.Errorf("%d changes, and %d tokens", changes, reg.Count("GET", regtest.Token))
	}
}
