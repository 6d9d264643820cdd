package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

var (
	empty  = FromBytes(nil, "")
	desc   = fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":0}`, empty)
	config = fmt.Sprintf(`{"mediaType":"application/vnd.example+json","digest":"%s","size":0}`, empty)
)

func manifest(mediaType, raw string) Manifest {
	return Manifest{MediaType: mediaType, Digest: FromBytes([]byte(raw), ""), Raw: []byte(raw)}
}

func TestLinksOfImage(t *testing.T) {
	m := manifest(TypeImageManifest, `{"schemaVersion":2,"config":`+config+`,"layers":[`+desc+`],"subject":`+desc+`}`)
	l, err := m.Links()
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Blobs()) != 2 || l.Subject == nil || l.ArtifactType != "application/vnd.example+json" {
		t.Errorf("Links() = %+v, want a config, a layer, a subject and the config's type as artifact type", l)
	}
}

// TestLinksRefuses holds what no manifest may say: to be two things at once
// (GHSA-qq97-vm5h-rrhg, GHSA-5j5w-g665-5m35), to be something else than it came
// as, a digest that is a path (CVE-2024-3727), a size that nobody can have
// (GHSA-f36w-mj3v-6jqv).
func TestLinksRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		mediaType, raw string
		want           error
	}{
		"unknown type":        {"text/html", `<html>`, ErrUnsupported},
		"schema 1":            {TypeDockerSchema1JWS, `{"schemaVersion":1}`, ErrUnsupported},
		"no JSON":             {TypeImageIndex, `<html>`, ErrInvalid},
		"schemaVersion":       {TypeImageIndex, `{"manifests":[]}`, ErrInvalid},
		"other mediaType":     {TypeImageIndex, `{"schemaVersion":2,"mediaType":"` + TypeImageManifest + `","manifests":[]}`, ErrInvalid},
		"index with layers":   {TypeImageIndex, `{"schemaVersion":2,"manifests":[],"layers":[]}`, ErrInvalid},
		"image and manifests": {TypeImageManifest, `{"schemaVersion":2,"config":` + config + `,"manifests":[]}`, ErrInvalid},
		"fsLayers":            {TypeImageManifest, `{"schemaVersion":2,"config":` + config + `,"fsLayers":[]}`, ErrInvalid},
		"no config":           {TypeImageManifest, `{"schemaVersion":2,"layers":[]}`, ErrInvalid},
		"bad digest":          {TypeImageIndex, `{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x","size":1}]}`, ErrInvalid},
		"subject's digest":    {TypeImageIndex, `{"schemaVersion":2,"manifests":[],"subject":{"digest":"sha256:../../x","size":1}}`, ErrInvalid},
		"size beyond int64":   {TypeImageIndex, `{"schemaVersion":2,"manifests":[{"digest":"` + string(empty) + `","size":9223372036854775808}]}`, ErrInvalid},
		"negative size":       {TypeImageIndex, `{"schemaVersion":2,"manifests":[{"digest":"` + string(empty) + `","size":-1}]}`, ErrInvalid},
		"too many manifests":  {TypeImageIndex, `{"schemaVersion":2,"manifests":[` + strings.Repeat(desc+",", MaxManifests) + desc + `]}`, ErrInvalid},
		"too many layers":     {TypeImageManifest, `{"schemaVersion":2,"config":` + config + `,"layers":[` + strings.Repeat(desc+",", MaxDescriptors) + desc + `]}`, ErrInvalid},
	} {
		if _, err := manifest(c.mediaType, c.raw).Links(); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func FuzzLinks(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":` + config + `,"layers":[` + desc + `]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[` + desc + `]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, mt := range []string{TypeImageManifest, TypeImageIndex} {
			l, err := manifest(mt, string(raw)).Links()
			if err != nil {
				continue
			}
			for _, d := range append(l.Blobs(), l.Manifests...) {
				if d.Size < 0 || strings.ContainsAny(string(d.Digest), "/\\.") {
					t.Fatalf("accepted descriptor %+v", d)
				}
			}
		}
	})
}

func TestVerifyReader(t *testing.T) {
	content := []byte("content")
	for _, alg := range []Digest{"sha256:", "sha512:"} {
		d := FromBytes(content, alg)
		if _, err := io.Copy(io.Discard, VerifyReader(bytes.NewReader(content), d, 7)); err != nil {
			t.Errorf("%s: good content: %v", alg, err)
		}
		for name, r := range map[string]io.Reader{
			"flipped": strings.NewReader("Content"),
			"short":   strings.NewReader("conten"),
			"long":    strings.NewReader("content!"),
		} {
			if _, err := io.Copy(io.Discard, VerifyReader(r, d, 7)); !errors.Is(err, ErrMismatch) {
				t.Errorf("%s, %s: got %v, want ErrMismatch", alg, name, err)
			}
		}
	}
}

func TestErrorText(t *testing.T) {
	cause := errors.New("cause")
	err := Errorf(ErrInvalid, CodeNameInvalid, "read it: %w", cause)
	if err.Error() != "read it: cause" || !errors.Is(err, ErrInvalid) || !errors.Is(err, cause) {
		t.Errorf("Errorf: got %q", err)
	}
	err = &Error{Kind: ErrUnavailable, Message: "upstream docker.io is unreachable", Err: cause}
	if err.Error() != "upstream docker.io is unreachable: cause" || !errors.Is(err, cause) {
		t.Errorf("literal: got %q", err)
	}
	if e, ok := errors.AsType[*Error](fmt.Errorf("around: %w", err)); !ok || e.Message != "upstream docker.io is unreachable" {
		t.Errorf("AsType: got %v, %v", e, ok)
	}
	if !errors.Is(&RangeError{Size: 3}, ErrInvalid) {
		t.Error("a RangeError is not ErrInvalid")
	}
}

func TestOutcome(t *testing.T) {
	var o Outcome
	ctx := WithOutcome(context.Background(), &o)
	OutcomeOf(ctx).Result = Stale
	if o.Result != Stale {
		t.Errorf("got %q, want %q", o.Result, Stale)
	}
	OutcomeOf(context.Background()).Result = Hit // must not panic
}

func TestFallbackTag(t *testing.T) {
	d := FromBytes(nil, "sha512:")
	want := "sha512-" + d.Encoded()[:64]
	if got := FallbackTag(d); got != want {
		t.Errorf("FallbackTag = %q, want %q", got, want)
	}
}

func ExampleManifest_Links() {
	raw := []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}]}`)
	m := Manifest{MediaType: TypeImageIndex, Digest: FromBytes(raw, ""), Raw: raw}
	links, err := m.Links()
	if err != nil {
		panic(err)
	}
	fmt.Println(len(links.Manifests), links.Manifests[0].Size)
	// Output: 1 0
}

func TestVia(t *testing.T) {
	if got := Via(t.Context()); got != "" {
		t.Errorf("Via of a bare context = %q", got)
	}
	ctx := context.WithoutCancel(WithVia(t.Context(), "1.1 a"))
	if got := Via(ctx); got != "1.1 a" {
		t.Errorf("Via = %q, want the one that was put in", got)
	}
}
