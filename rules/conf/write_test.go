package conf

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// A conversion is a case of testdata/golden/conversions.json.
type conversion struct {
	Name, Why  string
	Equivalent bool
	Expect     string // of a loss
	Feature    string
	IgnoreNS   bool
	From, To   struct {
		Format string
		Files  map[string]string
	}
	References []string
	Endpoints  map[string]struct{ From, To []conversionTry }
}

type conversionTry struct {
	URL, Transport string
	Blocked        bool
}

// formatNames are what the cases call some formats.
var formatNames = map[string]string{"k3s registries.yaml": "k3s", "OpenShift ICSP, IDMS, ITMS": "openshift"}

func readConversions(t testing.TB) (conversions, losses []conversion) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "golden", "conversions.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Count               int
		Conversions, Losses []conversion
	}
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if all.Count != len(all.Conversions)+len(all.Losses) || all.Count == 0 {
		t.Fatalf("%d conversions and %d losses, the count says %d", len(all.Conversions), len(all.Losses), all.Count)
	}
	for _, list := range [][]conversion{all.Conversions, all.Losses} {
		for i := range list {
			for _, format := range []*string{&list[i].From.Format, &list[i].To.Format} {
				if name, ok := formatNames[*format]; ok {
					*format = name
				}
			}
		}
	}
	return all.Conversions, all.Losses
}

// read reads the source of a case as its client does.
func (c *conversion) read(t testing.TB) (rules.Config, rules.Dialect) {
	t.Helper()
	src := sourceOf(c.From.Format, c.From.Files)
	src.Elsewhere = true
	d := dialectOf(t, Clients(c.From.Format)[0])
	cfg, err := Read(src, d)
	if err != nil {
		t.Fatal(err)
	}
	return cfg, d
}

// write writes the case in its target's format.
func (c *conversion) write(t testing.TB, cfg rules.Config, d rules.Dialect) ([]File, []Loss) {
	t.Helper()
	var refs []ref.Ref
	for _, name := range c.References {
		refs = append(refs, parseRef(t, name))
	}
	files, losses, err := Write(cfg, c.To.Format, WriteOptions{Source: d, References: refs})
	if err != nil {
		t.Fatal(err)
	}
	return files, losses
}

func parseRef(t testing.TB, name string) ref.Ref {
	t.Helper()
	r, err := ref.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestConversions holds that what is equivalent comes out so, and that what
// looks right and is not is refused or written right.
func TestConversions(t *testing.T) {
	conversions, _ := readConversions(t)
	for _, c := range conversions {
		t.Run(c.Name, func(t *testing.T) {
			cfg, d := c.read(t)
			files, losses := c.write(t, cfg, d)
			told := slices.ContainsFunc(losses, func(l Loss) bool { return l.Refuse || l.Feature != featureNS })
			switch {
			case Refused(losses) > 0 && c.Equivalent:
				t.Fatalf("refused: %v", lossText(losses))
			case told && !c.Equivalent:
				return
			}
			result, err := readBack(files, formatNamed(t, c.To.Format), dialectOf(t, Clients(c.To.Format)[0]))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range c.References {
				got := c.tries(t, result, name)
				if diff := cmp.Diff(c.wanted(name), got); diff != "" {
					t.Errorf("%s: %s (-want +got):\n%s\n%s", c.Why, name, diff, files[0].Data)
				}
			}
		})
	}
}

func formatNamed(t testing.TB, name string) format {
	t.Helper()
	f, err := formatOf(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// wanted returns what the target should do: what it was found to do where the
// case is equivalent, and otherwise what the source does.
func (c *conversion) wanted(name string) []conversionTry {
	want := c.Endpoints[name].From
	if c.Equivalent {
		want = c.Endpoints[name].To
	}
	want = slices.Clone(want)
	for i := range want {
		want[i].URL = c.plain(want[i].URL)
	}
	return slices.DeleteFunc(want, func(t conversionTry) bool { return t.Blocked && c.To.Format != "registries.conf" })
}

// plain returns an address without ns, where that is not compared, and with the
// one name of Docker Hub.
func (c *conversion) plain(url string) string {
	if c.IgnoreNS {
		url, _, _ = strings.Cut(url, "?")
	}
	return strings.Replace(url, "//index.docker.io/", "//registry-1.docker.io/", 1)
}

func (c *conversion) tries(t *testing.T, cfg rules.Config, name string) []conversionTry {
	t.Helper()
	plan := rules.New(cfg).Plan(parseRef(t, name), rules.Pull, dialectOf(t, Clients(c.To.Format)[0]))
	var out []conversionTry
	for i := range plan.Tries {
		try := &plan.Tries[i]
		transport := map[reach]string{verified: "verify", unverifiedTLS: "skip-verify", plainHTTP: "http", unverifiedThenPlain: "skip-verify, then http"}[reachOf(try)]
		out = append(out, conversionTry{URL: c.plain(try.URL()), Transport: transport, Blocked: try.Blocked})
	}
	return out
}

func lossText(losses []Loss) string {
	var b strings.Builder
	for _, l := range losses {
		p := l.Problem()
		b.WriteString(l.Feature + " " + p.Level.String() + " " + p.Error() + "\n")
	}
	return b.String()
}

// TestLosses holds that what is lost is refused, or told, as the cases say.
func TestLosses(t *testing.T) {
	_, losses := readConversions(t)
	for _, c := range losses {
		t.Run(c.Name, func(t *testing.T) {
			cfg, d := c.read(t)
			_, losses := c.write(t, cfg, d)
			named := slices.IndexFunc(losses, func(l Loss) bool { return l.Feature == c.Feature })
			switch {
			case slices.ContainsFunc(losses, func(l Loss) bool { return l.Feature == featureDifference || l.Feature == featureInvalid }):
				t.Errorf("something has no name: %s", lossText(losses))
			case c.Expect == "lossless" && (named >= 0 || Refused(losses) > 0):
				t.Errorf("%s: lost: %s", c.Why, lossText(losses))
			case c.Expect == "lossless":
			case named < 0 || losses[named].Refuse != (c.Expect == "refuse") || c.Expect == "warn" && Refused(losses) > 0:
				t.Errorf("%s: want %s of %s, got: %s", c.Why, c.Expect, c.Feature, lossText(losses))
			case losses[named].At.Line == 0 || losses[named].At.File == "":
				t.Errorf("%s has no place", c.Feature)
			}
		})
	}
}
