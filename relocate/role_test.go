package relocate

import "testing"

func TestRole(t *testing.T) {
	got := RelatedImage.And(Catalog).And("").And("catalog,additional")
	if want := Role("additional,catalog,related"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for r, want := range map[Role]bool{Catalog: true, RelatedImage: true, ReleaseImage: false, "": false} {
		if got.Has(r) != want {
			t.Errorf("%q in %q: got %v", r, got, !want)
		}
	}
	if !Role("").Has("") || Role("release-content").Has(ReleaseImage) {
		t.Error("roles are compared as a whole")
	}
	for _, s := range []string{"", "release", "additional,catalog,related", "catalog,additional,catalog"} {
		r, err := ParseRole(s)
		if err != nil || r != Role("").And(Role(s)) {
			t.Errorf("%q: got %q, %v", s, r, err)
		}
	}
	for _, s := range []string{"releases", "catalog,", "catalog, additional", "Catalog"} {
		if r, err := ParseRole(s); err == nil {
			t.Errorf("%q: got %q, want an error", s, r)
		}
	}
}

// What an image is for does not depend on which of its mentions comes first.
func TestPairsHaveTheRolesOfAllMentions(t *testing.T) {
	all := []Mention{
		{Written: "quay.io/org/index:v1", Role: Catalog},
		{Written: "quay.io/org/index:v1", Role: Additional},
		{Written: "quay.io/org/index:v1"},
		{Written: "quay.io/org/index:v1", Target: "elsewhere/index", Role: HelmImage},
		{Written: "alpine:3"},
	}
	for range all {
		all = append(all[1:], all[0])
		pairs, err := Pairs(all, naming(t, "", "r.io/m"))
		if err != nil {
			t.Fatal(err)
		}
		if len(pairs) != 2 || pairs[0].Role != "" || pairs[1].Role != "additional,catalog,helm" {
			t.Errorf("got %+v", pairs)
		}
	}
}

func TestRoleApart(t *testing.T) {
	for r, want := range map[Role]bool{
		"": false, Catalog: true, UpdateGraph: true, Catalog.And(UpdateGraph): true, ReleaseImage: false, Catalog.And(Additional): false,
	} {
		if got := r.Apart(); got != want {
			t.Errorf("%q: got %v, want %v", r, got, want)
		}
	}
}
