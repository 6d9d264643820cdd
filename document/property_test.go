package document

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/entrepot/entrepot/ref"
)

// genRef draws references, and names that plain YAML takes for something else.
func genRef() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		name := rapid.StringMatching(`((r[0-9]\.example(:[0-9]{2,4})?|localhost|\[::1\]:5000)/)?([a-z0-9]{1,5}/){0,2}[a-z0-9]{1,6}`).Draw(t, "name")
		if rapid.Bool().Draw(t, "tagged") {
			name += ":" + rapid.StringMatching(`[a-zA-Z0-9_][a-zA-Z0-9._-]{0,6}`).Draw(t, "tag")
		}
		if rapid.IntRange(0, 3).Draw(t, "digest") == 0 {
			name += "@sha256:" + rapid.StringMatching(`[0-9a-f]{64}`).Draw(t, "hex")
		}
		return name
	}).Filter(func(s string) bool { _, err := ref.Parse(s); return err == nil })
}

// genScalar writes a string in one of the styles that can stand in a block.
func genScalar(t *rapid.T, s, indent string) string {
	styles := []string{`"` + s + `"`, "'" + s + "'", "|-\n" + indent + "  " + s, ">\n" + indent + "  " + s + "\n", "!!str '" + s + "'"}
	if plainSafe(s, true) {
		styles = append(styles, s, s+"   # a comment: "+s)
	}
	return rapid.SampledFrom(styles).Draw(t, "style")
}

// genManifest draws a stream of objects and the references in it, in order.
func genManifest(t *rapid.T) (text string, refs []string) {
	var b strings.Builder
	if rapid.Bool().Draw(t, "bom") {
		b.WriteString("\ufeff")
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "objects") {
		if i > 0 {
			b.WriteString("---\n")
		}
		fmt.Fprintf(&b, "# objet numéro %d: ☃\napiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n", i)
		for range rapid.IntRange(1, 4).Draw(t, "containers") {
			r := genRef().Draw(t, "ref")
			refs = append(refs, r)
			switch rapid.IntRange(0, 2).Draw(t, "form") {
			case 0:
				fmt.Fprintf(&b, "      - {name: \"é\", image: '%s', x: [1, 2]}\n", r)
			case 1:
				fmt.Fprintf(&b, "      - name: \"é☃\"\n        image: %s\n", genScalar(t, r, "        "))
			default:
				fmt.Fprintf(&b, "      - ? image\n        : %s\n        name: {a: b}\n", genScalar(t, r, "        "))
			}
		}
	}
	text = b.String()
	if rapid.Bool().Draw(t, "crlf") {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return text, refs
}

// TestSplice holds the two laws of splicing: changing nothing gives the input,
// and what is found afterwards is what was written.
func TestSplice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, refs := genManifest(t)
		d, err := Read(Input{Name: "x.yaml", Data: []byte(text)}, Options{})
		if err != nil {
			t.Fatalf("read %q: %v", text, err)
		}
		if diff := cmp.Diff(refs, refsOf(d)); diff != "" {
			t.Fatalf("find in %q (-want +got):\n%s", text, diff)
		}
		files, err := d.Rewrite(func(s string) (string, bool) { return s, true })
		if err != nil || !bytes.Equal(files[0].Data, []byte(text)) {
			t.Fatalf("identity of %q: got %q, %v", text, files, err)
		}
		to := map[string]string{}
		var want []string
		for _, r := range refs {
			if to[r] == "" {
				to[r] = genRef().Draw(t, "target")
			}
			want = append(want, to[r])
		}
		files, err = d.Rewrite(func(s string) (string, bool) { return to[s], true })
		if err != nil {
			t.Fatalf("rewrite %q: %v", text, err)
		}
		again, err := Read(Input{Name: "x.yaml", Data: files[0].Data}, Options{})
		if err != nil {
			t.Fatalf("read %q again: %v", files[0].Data, err)
		}
		if diff := cmp.Diff(want, refsOf(again)); diff != "" {
			t.Fatalf("find in the rewritten %q (-want +got):\n%s", text, diff)
		}
	})
}

func refsOf(d *Document) []string {
	var out []string
	for _, i := range d.Images() {
		out = append(out, i.Ref)
	}
	return out
}
