package conf

import (
	"errors"
	"slices"
	"testing"

	"github.com/entrepot/entrepot/internal/golden"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// TestWriteGolden writes the configuration of every golden case in every
// format, its own among them: whatever is lost has a name.
func TestWriteGolden(t *testing.T) {
	for _, g := range golden.Files() {
		t.Run(g.Name, func(t *testing.T) {
			written := 0
			for _, c := range readGolden(t, g.Name) {
				d := c.dialect(t, g.Client)
				src := c.source(g.Format)
				src.Elsewhere = true
				strict, err := Read(src, rules.Native())
				if err != nil {
					t.Fatal(err)
				}
				cfg, err := Read(src, d)
				if err != nil {
					t.Fatal(err)
				}
				if firstError(strict) != nil || firstError(cfg) != nil {
					continue // such a source is not converted
				}
				for _, format := range Writers() {
					t.Run(c.Name+"/"+format, func(t *testing.T) { writeNamed(t, cfg, d, format, c.Reference) })
					written++
				}
			}
			if written == 0 {
				t.Error("no case was written")
			}
		})
	}
}

// odd reports whether a case's reference is one that clients read in different
// ways whatever is configured: podman matches a host whatever its port is, and
// some take capitals for another host. That is found where the user names such
// a reference, and has no other name.
func odd(reference string) bool {
	return slices.Contains([]string{"example.com:5000/app:1", "example.com:5000/a/b:1", "reg.example.com:5000/a/b:1", "Registry.Example.com/a/b:1"}, reference)
}

// writeNamed writes a configuration and holds that every loss has a name and a
// text, and that writing it again gives the same.
func writeNamed(t *testing.T, cfg rules.Config, d rules.Dialect, format, reference string) {
	opts := WriteOptions{Source: d}
	if r, err := ref.Parse(reference); err == nil {
		opts.References = []ref.Ref{r}
	}
	files, losses, err := Write(cfg, format, opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range losses {
		if l.Feature == featureDifference && odd(reference) {
			continue
		}
		if l.Feature == featureDifference || l.Feature == featureInvalid || l.Text == "" || l.Refuse && l.At.File == "" {
			t.Errorf("%+v", l)
		}
	}
	again, _, err := Write(cfg, format, opts)
	if err != nil || !slices.EqualFunc(files, again, func(a, b File) bool { return a.Name == b.Name && string(a.Data) == string(b.Data) }) {
		t.Errorf("written again it is something else: %v", err)
	}
	if t.Failed() {
		for _, f := range files {
			t.Logf("%s:\n%s", f.Name, f.Data)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	if _, _, err := Write(rules.Config{}, "no-such", WriteOptions{}); err == nil {
		t.Error("a format that does not exist was written")
	}
	if _, _, err := Write(rules.Config{}, "containerd-cri", WriteOptions{}); !errors.Is(err, ErrNoWriter) {
		t.Errorf("containerd-cri: %v", err)
	}
	refused := &rules.Problem{Text: "no"}
	if _, _, err := Write(rules.Config{Refused: refused}, "cnb", WriteOptions{}); !errors.Is(err, refused) {
		t.Errorf("a refused configuration: %v", err)
	}
}
