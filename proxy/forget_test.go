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
