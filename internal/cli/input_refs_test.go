package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// mustMarshal returns v as JSON.
func mustMarshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestInspectStoredBundle reads a bundle that is in a registry, as cnab-to-oci
// stores it: its images are where the bundle is.
func TestInspectStoredBundle(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	s := reg.Shelf
	img := s.AddImage("apps/hello", regtest.Image{Layers: []int64{100}, Seed: 1})
	bundle := s.AddBlob("apps/hello", regtest.Bytes([]byte(`{"invocationImages":[{"image":"example/hello:1"}],"name":"hello","schemaVersion":"v1.2.0"}`)))
	bundle.MediaType = "application/vnd.cnab.config.v1+json"
	config := s.AddManifest("apps/hello", oci.TypeImageManifest, mustMarshal(t, ispec.Manifest{MediaType: oci.TypeImageManifest, Config: bundle}))
	first, second := config.Descriptor(), img.Descriptor()
	first.Annotations = map[string]string{"io.cnab.manifest.type": "config"}
	second.Annotations = map[string]string{"io.cnab.manifest.type": "invocation"}
	s.AddManifest("apps/hello", oci.TypeImageIndex, mustMarshal(t, ispec.Index{MediaType: oci.TypeImageIndex, Manifests: []oci.Descriptor{first, second}}), "v1")

	inspect := func(args ...string) (string, string, int) {
		var out, errs bytes.Buffer
		code := Main(t.Context(), Env{
			Args: append([]string{"inspect", "--rules", "none"}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
			Getenv: func(string) string { return "" },
		})
		return out.String(), errs.String(), code
	}
	out, errs, code := inspect(reg.Host()+"/apps/hello:v1", "--json")
	if want := `"reference":"example/hello:1","normalized":"docker.io/example/hello:1","from":"` + reg.Host() + "/apps/hello@" + string(img.Digest) + `"`; code != 0 || !strings.Contains(out, want) {
		t.Errorf("exit code %d, %s%s, want %s", code, out, errs, want)
	}
	if _, errs, code := inspect(reg.Host() + "/apps/hello@" + string(img.Digest)); code != 1 || !strings.Contains(errs, "it is no index of a bundle") {
		t.Errorf("an image: exit code %d, %s", code, errs)
	}
	if _, errs, code := inspect("nowhere.yaml"); code != 1 || !strings.Contains(errs, "no such file") {
		t.Errorf("a file that is not there: exit code %d, %s", code, errs)
	}
}
