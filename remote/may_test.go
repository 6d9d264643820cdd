package remote

import (
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// TestMayPush asks for the right to push, and leaves nothing behind.
func TestMayPush(t *testing.T) {
	for status, want := range map[int]error{
		0:                         nil,
		http.StatusUnauthorized:   oci.ErrUnauthorized,
		http.StatusForbidden:      oci.ErrDenied,
		http.StatusNotFound:       oci.ErrNotFound,
		http.StatusNotImplemented: oci.ErrUnsupported,
	} {
		reg, e := pusher(t)
		wire := []string{"POST 202", "DELETE 204"}
		if status != 0 {
			reg.On(regtest.Match{Kind: regtest.Upload}, regtest.Status(status))
			wire = nil
		}
		if err := e.MayPush(t.Context(), repo); !errors.Is(err, want) {
			t.Errorf("status %d: got %v, want %v", status, err, want)
		}
		if diff := cmp.Diff(wire, uploads(reg)); wire != nil && diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
		if n := reg.Count(http.MethodPut, "") + reg.Count(http.MethodPatch, ""); n > 0 {
			t.Errorf("status %d: %d requests that write", status, n)
		}
	}
}
