package proxy

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// TestForget holds that a "no" is no longer believed once the way to the
// upstream may be another one, and that a pause which it asked for holds on.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		_, _, err := r.pull("3.20")
		wantError(t, err, oci.ErrNotFound)
		r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
		_, _, err = r.pull("3.20")
		wantError(t, err, oci.ErrNotFound)
		r.Forget()
		if _, _, err := r.pull("3.20"); err != nil {
			t.Error(err)
		}

		r.up.On(regtest.Match{Times: 1}, regtest.Trouble{Err: &oci.Error{Kind: oci.ErrUnavailable, Code: oci.CodeTooManyRequests, RetryAfter: time.Minute}})
		_, _, err = r.pull("3.21")
		wantError(t, err, oci.ErrUnavailable)
		asked := len(r.up.Log())
		r.Forget()
		_, _, err = r.pull("3.21")
		wantError(t, err, oci.ErrUnavailable)
		if n := len(r.up.Log()); n != asked {
			t.Errorf("%d requests in the pause", n-asked)
		}
	})
}

// B13 (nexus#639): another account may have what the one before was refused, and
// need not wait for it; other upstreams are left as they are.
func TestForgetRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
		for name, refusal := range map[string]error{
			"refused": &oci.Error{Kind: oci.ErrDenied},
			"limited": &oci.Error{Kind: oci.ErrUnavailable, Code: oci.CodeTooManyRequests, RetryAfter: time.Hour},
			"away":    &oci.Error{Kind: oci.ErrUnavailable},
		} {
			rule := r.up.On(regtest.Match{}, regtest.Trouble{Err: refusal})
			for range breaks { // until its breaker is open
				if _, _, err := r.pull("3.20"); err == nil {
					t.Fatal(name, "got no error")
				}
				time.Sleep(time.Second)
			}
			rule.Remove()
			r.ForgetRefusals(func(host string) bool { return host == "quay.io" })
			if _, _, err := r.pull("3.20"); err == nil && name != "away" {
				t.Errorf("%s: another upstream's account ends it", name)
			}
			r.ForgetRefusals(func(host string) bool { return host == alpine.Host })
			if _, _, err := r.pull("3.20"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			synctest.Wait() // it is being stored
			if err := r.store.Cache().DeleteTag("docker.io", alpine, "3.20"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A stored tag outlives a refusal for as long with each account.
func TestForgetBeginsTheGraceAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		r.up.On(regtest.Match{}, regtest.Trouble{Err: &oci.Error{Kind: oci.ErrUnauthorized}})
		stale := func() bool { _, o, err := r.pull("3.20"); return err == nil && o.Result == oci.Stale }
		if !stale() {
			t.Error("there is no grace")
		}
		if time.Sleep(2 * time.Hour); stale() {
			t.Error("the grace does not end")
		}
		r.ForgetRefusals(func(string) bool { return true })
		if !stale() {
			t.Error("another account has no grace")
		}
	})
}
