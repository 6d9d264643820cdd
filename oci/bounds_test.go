package oci

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestFault31Bounds: small documents that would become huge ones are refused,
// without decoding them.
func TestFault31Bounds(t *testing.T) {
	const index = `{"schemaVersion":2,"mediaType":"` + TypeImageIndex + `",`
	var annotations strings.Builder
	for i := range maxValues + 1 {
		fmt.Fprintf(&annotations, `"%d":"",`, i)
	}
	for name, raw := range map[string]string{
		"a million descriptors":      index + `"manifests":[` + strings.Repeat("{},", 1_000_000) + `{}]}`,
		"a million, another list":    index + `"x":[` + strings.Repeat("0,", 1_000_000) + `0]}`,
		"many annotations":           index + `"manifests":[],"annotations":{` + annotations.String() + `"x":""}}`,
		"many URLs of one":           index + `"manifests":[{"urls":[` + strings.Repeat(`"",`, 1_000_000) + `""]}]}`,
		"many annotations of one":    index + `"manifests":[{"annotations":{` + annotations.String() + `"x":""}}]}`,
		"many behind a quoted quote": index + `"a":"\\\"","manifests":[` + strings.Repeat("{},", 1_000_000) + `{}]}`,
	} {
		m := Manifest{MediaType: TypeImageIndex, Raw: []byte(raw)}
		if _, err := m.Links(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: got %v, want ErrInvalid with the limit", name, err)
		}
		if n := testing.AllocsPerRun(1, func() { m.Links() }); n > 10 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	for name, raw := range map[string]string{
		"commas in a text":    index + `"manifests":[],"annotations":{"sbom":"` + strings.Repeat(`,[{\"`, 500_000) + `"}}`,
		"as many as may be":   index + `"manifests":[` + strings.Repeat(desc+",", MaxManifests-1) + desc + `]}`,
		"large annotations":   index + `"manifests":[],"annotations":{"a":"` + strings.Repeat("x", 3_900_000) + `"}}`,
		"lists in the middle": index + `"manifests":[],"x":{"y":[` + strings.Repeat("0,", MaxDescriptors+1) + `0]}}`,
	} {
		if _, err := (Manifest{MediaType: TypeImageIndex, Raw: []byte(raw)}).Links(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
