package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// TestStoreList names what is kept, what is pinned, and what an image has lost.
func TestStoreList(t *testing.T) {
	k := newKept(t)
	alpine := cached(t, k.open, ref.Name{Host: "docker.io", Path: "library/alpine"}, "a layer", "3.20")
	app := cached(t, k.open, ref.Name{Host: "quay.io:5000", Path: "team/app"}, "another layer", "V1")
	ours, _ := pushed(t, k.open, "apps/one", "a layer of our own")
	if err := k.open.Cache().Quarantine(oci.FromBytes([]byte("another layer"), "")); err != nil {
		t.Fatal(err)
	}
	k.store("pin", "alpine:3.20")
	k.exits(exitDone)
	k.store("list", "--json")
	k.exits(exitDone)
	got := map[string]listedJSON{}
	for d := json.NewDecoder(bytes.NewReader([]byte(k.out))); d.More(); {
		var l listedJSON
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		if l.Pool == "cache" && l.LastUsed == "" {
			t.Errorf("%s has no last use", l.Repository)
		}
		l.LastUsed = ""
		got[l.Repository] = l
	}
	for _, want := range []listedJSON{
		{"cache", "docker.io/library/alpine", string(alpine.Digest), alpine.MediaType, []string{"3.20"}, int64(len(alpine.Raw)) + 7, 0, "", true},
		{"cache", "quay.io:5000/team/app", string(app.Digest), app.MediaType, []string{"V1"}, int64(len(app.Raw)), 1, "", false},
		{"pushed", "apps/one", string(ours.Digest), ours.MediaType, []string{"1"}, ours.Size + 18, 0, "", true},
	} {
		a, _ := json.Marshal(got[want.Repository])
		b, _ := json.Marshal(want)
		if string(a) != string(b) {
			t.Errorf("got  %s\nwant %s", a, b)
		}
	}
	if len(got) != 3 {
		t.Errorf("%d lines", len(got))
	}
	k.store("list")
	k.exits(exitDone)
	if lines := strings.Split(strings.TrimSpace(k.out), "\n"); len(lines) != 4 || !strings.Contains(lines[1], "docker.io/library/alpine  3.20  "+string(alpine.Digest)) {
		t.Errorf("the table:\n%s", k.out)
	}
}
