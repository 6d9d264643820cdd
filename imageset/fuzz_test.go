package imageset_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/imageset"
	"github.com/entrepot/entrepot/ref"
)

func FuzzGraph(f *testing.F) {
	f.Add([]byte(`{"nodes":[{"version":"1.0.0","payload":"a.io/b:c","metadata":{"` + channelsKey + `":"c,d"}},{"version":"1.0.1","payload":"a.io/b:d"}],"edges":[[0,1]]}`))
	f.Add([]byte(`{"edges":[[-1,0]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if g, err := imageset.ParseGraph("c", data); (g == nil) != (err != nil) {
			t.Fatalf("ParseGraph = %v, %v", g, err)
		}
	})
}

func FuzzRelease(f *testing.F) {
	_, references, _ := strings.Cut(stream("cli="+contentRepo+digest("a")), "=")
	_, boot, _ := strings.Cut(bootimages, "=")
	f.Add([]byte(references), []byte(boot))
	f.Fuzz(func(t *testing.T, references, boot []byte) {
		images, err := imageset.ReadPayload(references, boot)
		if err != nil {
			return
		}
		for _, i := range images {
			if _, err := ref.Parse(i); err != nil {
				t.Errorf("%q is an image: %v", i, err)
			}
		}
	})
}

func FuzzGraphData(f *testing.F) {
	f.Add([]byte("not compressed"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, d := range [][]byte{data, gzipped(t, data), gzipped(t, tarball(t, []string{"channels/a=" + string(data)}))} {
			layer, err := imageset.GraphLayer(d)
			if (layer == nil) != (err != nil) {
				t.Fatalf("GraphLayer = %d bytes, %v", len(layer), err)
			}
			if bytes.Contains(layer, []byte("../")) && !bytes.Contains(data, []byte("../")) {
				t.Error("a path leads out")
			}
		}
	})
}

// FuzzIndex reads the index of a chart repository.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(index))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := newBench(t)
		b.env.Fetch = func(_ context.Context, url string) ([]byte, error) {
			if strings.HasSuffix(url, "/index.yaml") {
				return data, nil
			}
			return nil, context.DeadlineExceeded
		}
		set, err := b.parse("  helm: {repositories: [{name: a, url: 'https://a.example.com/x', charts: [{name: web}]}]}\n").Expand(t.Context(), b.env)
		if (set == nil) != (err != nil) {
			t.Fatalf("Expand = %v, %v", set, err)
		}
	})
}
