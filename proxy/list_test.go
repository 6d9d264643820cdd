package proxy

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// list collects tags.
func (r *rig) list(after string) (tags []string, o oci.Outcome, err error) {
	for tag, e := range r.Tags(oci.WithOutcome(r.t.Context(), &o), alpine, after) {
		if e != nil {
			return tags, o, e
		}
		tags = append(tags, tag)
	}
	return tags, o, nil
}

func TestTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.up.AddImage(alpine.Path, regtest.Image{}, "3.18", "3.19", "3.20")
		for _, tag := range []string{"3.20", "3.19"} {
			if _, _, err := r.pull(tag); err != nil {
				t.Fatal(err)
			}
		}
		tags, o, err := r.list("3.18")
		if err != nil || fmt.Sprint(tags) != "[3.19 3.20]" {
			t.Errorf("got %v, %v", tags, err)
		}
		wantResult(t, o, oci.Miss)
		synctest.Wait()
		r.up.On(regtest.Match{}, regtest.Down())
		for after, want := range map[string]string{"": "[3.19 3.20]", "3.19": "[3.20]", "3.195": "[3.20]", "4": "[]"} {
			tags, o, err = r.list(after)
			if err != nil || fmt.Sprint(tags) != want {
				t.Errorf("offline, after %q: %v, %v, want %s", after, tags, err, want)
			}
			wantResult(t, o, oci.Stale)
			if o.Warning != "stale: upstream docker.io unreachable, these are the tags that were seen here" {
				t.Errorf("warning %q", o.Warning)
			}
		}
	})
}

func TestTagsErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		_, _, err := r.list("")
		if e := wantError(t, err, oci.ErrNotFound); e.Code != oci.CodeNameUnknown {
			t.Errorf("code %q", e.Code)
		}
		r.up.On(regtest.Match{}, regtest.Down())
		_, _, err = r.list("")
		wantError(t, err, oci.ErrUnavailable)
	})
}

func TestReferrers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		img := r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
		sig := r.up.AddReferrer(alpine.Path, img.Descriptor(), "application/vnd.sig", 1)
		r.up.AddReferrer(alpine.Path, img.Descriptor(), "application/vnd.sbom", 2)
		ask := func(artifactType string, want int, how oci.Result) oci.Outcome {
			t.Helper()
			var o oci.Outcome
			list, err := r.Referrers(oci.WithOutcome(t.Context(), &o), alpine, img.Digest, artifactType)
			if err != nil || len(list) != want {
				t.Errorf("got %d, %v, want %d", len(list), err, want)
			}
			if artifactType != "" && want == 1 && list[0].Digest != sig.Digest {
				t.Errorf("got %v, want %v", list[0].Digest, sig.Digest)
			}
			wantResult(t, o, how)
			return o
		}
		ask("", 2, oci.Miss)
		ask("application/vnd.sig", 1, oci.Hit)
		r.wantWire("GET referrers")
		time.Sleep(referrersTTL)
		r.up.On(regtest.Match{}, regtest.Down())
		o := ask("application/vnd.sig", 1, oci.Stale)
		if o.Warning != "stale: upstream docker.io unreachable, cached 1m ago" {
			t.Errorf("warning %q", o.Warning)
		}
		list, err := r.Referrers(oci.WithOutcome(t.Context(), &o), alpine, oci.FromBytes(nil, ""), "")
		if err != nil || len(list) != 0 || o.Warning == "" {
			t.Errorf("got %v, %v, warning %q, want none and a warning", list, err, o.Warning)
		}
	})
}
