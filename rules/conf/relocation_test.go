package conf

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/rules"
)

// TestBuildpacksGolden holds what pack's own tests say of its registry mirrors,
// and the examples of RFC 285.
func TestBuildpacksGolden(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "relocate", "testdata", "relocation.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Pack []struct {
			In, Out string
			Mirrors map[string]string
		} `json:"pack_translate_registry"`
		RFC struct {
			Env   string
			Cases [][2]string
		} `json:"rfc285"`
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Pack) == 0 || len(all.RFC.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range all.Pack {
		var text strings.Builder
		text.WriteString("[registry-mirrors]\n")
		for key, mirror := range c.Mirrors {
			fmt.Fprintf(&text, "%q = %q\n", key, mirror)
		}
		if got := firstPlace(t, "pack", "pack", text.String(), c.In); got != c.Out {
			t.Errorf("pack, %v: got %q, want %q", c.Mirrors, got, c.Out)
		}
	}
	for _, c := range all.RFC.Cases {
		if got := firstPlace(t, "cnb", "lifecycle", all.RFC.Env, c[0]); got != c[1] {
			t.Errorf("RFC 285: got %q, want %q", got, c[1])
		}
	}
}

// firstPlace returns what an image is called at the first place where a client
// looks for it.
func firstPlace(t *testing.T, format, client, text, name string) string {
	t.Helper()
	d, err := rules.DialectOf(client)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Read(Source{Format: format, Name: format, Text: []byte(text)}, d)
	if err != nil || c.Refused != nil {
		t.Fatal(err, c.Refused)
	}
	r, err := d.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	set := rules.New(c)
	plan := set.Plan(r, rules.Pull, d)
	if plan.Err != nil {
		t.Fatal(plan.Err)
	}
	if plan.Tries[0].Original {
		return d.Format(plan.Tries[0].Ref)
	}
	return plan.Tries[0].Reference()
}
