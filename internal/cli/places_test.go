package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/remote"
)

func testPlaces(t *testing.T, ups ...upstream) *places {
	t.Helper()
	client := remote.NewClient(remote.ClientConfig{})
	t.Cleanup(func() { client.Close() })
	p, err := newPlaces(client, ups)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlan(t *testing.T) {
	p := testPlaces(t,
		upstream{name: "docker.io", url: "https://registry-1.docker.io", mirrors: []string{"https://mirror.gcr.io", "http://10.0.0.1:5000/v2/hub"}},
		upstream{name: "*.example.com"}, upstream{name: "*.eu.example.com"})
	for host, want := range map[string][]string{
		"docker.io":        {"docker.io@mirror.gcr.io", "docker.io@10.0.0.1:5000/v2/hub", "docker.io"},
		"a.example.com":    {"a.example.com"},
		"a.eu.example.com": {"a.eu.example.com"},
		"example.com":      nil,
		"a.example.org":    nil,
		"":                 nil,
	} {
		n := ref.Name{Host: host, Path: "a/b"}
		all, err := p.plan(mirror.OpManifest, ref.Ref{Name: n})
		if want == nil {
			if !errors.Is(err, oci.ErrNotFound) {
				t.Errorf("%s: got %v, want ErrNotFound", host, err)
			}
			continue
		}
		var got []string
		for _, place := range all {
			got = append(got, place.Label)
			if place.Name != n || !place.Tags || place.Reader == nil {
				t.Errorf("%s: got %+v", host, place)
			}
			if labelOwner(place.Label) != host {
				t.Errorf("label %q is counted for %q, want %q", place.Label, labelOwner(place.Label), host)
			}
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", host, got, err, want)
		}
	}
}

// Clients choose the hosts below a wildcard; they must not fill the memory.
func TestWildcardHostsAreBounded(t *testing.T) {
	p := testPlaces(t, upstream{name: "*.example.com"})
	for i := range 3 * maxSeen {
		if _, err := p.plan(mirror.OpTags, ref.Ref{Name: ref.Name{Host: fmt.Sprintf("h%d.example.com", i), Path: "a"}}); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.seen) > maxSeen {
		t.Errorf("%d hosts are remembered, at most %d should be", len(p.seen), maxSeen)
	}
}

// What one account may read must not answer for another one.
func TestScopes(t *testing.T) {
	scopes := map[string]account{}
	for _, a := range []account{
		{},
		{username: "a", password: remote.NewSecret("one")},
		{username: "b", password: remote.NewSecret("one")},
		{dockerConfig: "a"},
		{dockerConfig: "b"},
	} {
		s := (&upstream{account: a}).scope("docker.io")
		if other, taken := scopes[s]; taken {
			t.Errorf("%+v and %+v share the scope %s", a, other, s)
		}
		scopes[s] = a
		if a == (account{}) != (s == "docker.io") {
			t.Errorf("scope of %+v is %s", a, s)
		}
	}
	of := func(first string, turns ...string) string {
		u := upstream{account: account{username: first, password: remote.NewSecret(fmt.Sprint(scopes))}}
		for _, name := range turns {
			u.turns = append(u.turns, account{username: name})
		}
		return u.scope("docker.io")
	}
	if before, has := scopes[of("a")]; !has || before.username != "a" {
		t.Error("a new password drops what the account has cached")
	}
	if of("a", "b", "c") != of("c", "a", "b") {
		t.Error("the order of accounts that take turns drops what they have cached")
	}
	if both := of("a", "b"); both == of("a") || both == of("b") || both == of("a", "c") {
		t.Error("what two accounts have read in turn answers for other accounts")
	}
}

func TestPolicies(t *testing.T) {
	p := newPolicies([]upstream{{name: "docker.io", tagTTL: 5}, {name: "*.example.com", tagTTL: 7, account: account{username: "u"}}}, func(string) string { return "" })
	if got := p.of(context.Background(), ref.Name{Host: "docker.io", Path: "a"}); got.TagTTL != 5 || !got.Anonymous || got.Scope != "docker.io" {
		t.Errorf("docker.io: got %+v", got)
	}
	a, b := p.of(context.Background(), ref.Name{Host: "a.example.com", Path: "a"}), p.of(context.Background(), ref.Name{Host: "b.example.com", Path: "a"})
	if a.TagTTL != 7 || a.Anonymous || a.Scope == b.Scope {
		t.Errorf("two hosts below one wildcard: got %+v and %+v", a, b)
	}
}
