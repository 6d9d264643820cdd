package proxy

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// asked returns the blobs that the upstream was asked for, in order.
func (r *rig) asked() []oci.Digest {
	var all []oci.Digest
	for _, e := range r.up.Log() {
		if e.Kind == regtest.Blob {
			all = append(all, oci.Digest(e.Ref))
		}
	}
	return all
}

// A manifest that is asked for starts the fills of its blobs, in order; the
// client that asks for one finds it, or joins.
func TestPrefetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{PrefetchFills: 1})
		img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{1000, mib, 10}}, "3.20")
		if _, err := r.Resolve(t.Context(), alpine.WithTag("3.20")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := r.asked(); len(got) > 0 {
			t.Errorf("a HEAD fetched %v", got)
		}
		for range 2 {
			if _, _, err := r.pull("3.20"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		want := []oci.Digest{img.Config.Digest, img.Layers[0].Digest, img.Layers[1].Digest, img.Layers[2].Digest}
		if got := r.asked(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("fetched %v, want %v", got, want)
		}
		for _, d := range want {
			_, o, err := r.read(alpine, d)
			if err != nil {
				t.Error(err)
			}
			wantResult(t, o, oci.Hit)
		}
		if got := r.asked(); len(got) != len(want) {
			t.Errorf("upstream was asked %d times for blobs, want %d", len(got), len(want))
		}
	})
}

// No more fills run ahead than the budget has, in number and in bytes; a client
// does not wait for them.
func TestPrefetchBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{PrefetchFills: 3, PrefetchBytes: 2 * mib})
		img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{1000, mib, 1500 << 10, 3 * mib, 10, 20}}, "3.20")
		rule := r.up.On(regtest.Match{Kind: regtest.Blob}, regtest.Trouble{Hold: true})
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := r.asked(); len(got) != 3 || !slices.Contains(got, img.Layers[1].Digest) {
			t.Errorf("fetched %v, want config and two layers", got)
		}
		last := make(chan error)
		go func() { _, _, err := r.read(alpine, img.Layers[5].Digest); last <- err }()
		synctest.Wait()
		if got := r.asked(); len(got) != 4 || got[3] != img.Layers[5].Digest {
			t.Errorf("fetched %v, want what the client asked for", got)
		}
		rule.Release()
		if err := <-last; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := r.asked(); len(got) != 6 { // all but the one that is larger than the budget
			t.Errorf("fetched %d blobs, want 6", len(got))
		}
		if r.isStored(img.Layers[3].Digest) {
			t.Error("a blob larger than the budget was fetched")
		}
	})
}

// Children of an index, layers that live elsewhere, and what the upstream has
// refused are left alone.
func TestPrefetchLeavesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{PrefetchFills: 6})
		img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{1000}})
		r.up.AddIndex(alpine.Path, []regtest.Built{img}, "index")
		foreign := fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q,"size":%d},"layers":[
			{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":%q,"size":1},
			{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":%[3]q,"size":1},
			{"digest":%[3]q,"size":1,"urls":["https://example.com/layer"]}]}`,
			img.Config.Digest, img.Config.Size, oci.FromBytes([]byte("elsewhere"), ""))
		r.up.AddManifest(alpine.Path, oci.TypeImageManifest, []byte(foreign), "foreign")
		for _, tag := range []string{"index", "foreign"} {
			if _, _, err := r.pull(tag); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if got := r.asked(); len(got) != 1 || got[0] != img.Config.Digest {
			t.Errorf("fetched %v, want the config only", got)
		}
	})
}

// Close does not wait for what is still in the queue.
func TestPrefetchEndsWithClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{PrefetchFills: 1})
		r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{10, 20, 30}}, "3.20")
		rule := r.up.On(regtest.Match{Kind: regtest.Blob}, regtest.Trouble{Hold: true})
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		<-rule.Reached()
		closed := make(chan error)
		go func() { closed <- r.Close(t.Context()) }()
		synctest.Wait()
		rule.Release()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if got := r.asked(); len(got) != 1 {
			t.Errorf("fetched %d blobs, want 1", len(got))
		}
	})
}
