package golden

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// A Conversion is a case of conversions.json: two configurations that were run
// by both clients, or one that a format can say in part.
type Conversion struct {
	Name, Why string
	From, To  Side
	// Equivalent says that To does what From does. Where it does not, To looks
	// right and is not.
	Equivalent bool
	IgnoreNS   bool
	References []string
	// Endpoints are the places of both sides.
	//
	//	:: reference → "from" or "to" → places
	Endpoints map[string]map[string][]Place
	// Expect is what happens to a loss: "refuse", "warn" or "lossless".
	Expect, Feature string
}

// A Side is one of the configurations.
type Side struct {
	Format string
	Files  map[string]string
}

// A Place is an endpoint as conversions.json writes it.
type Place struct {
	URL, Transport string
	Blocked        bool
}

// Client returns the client that the side was run with.
func (s *Side) Client() string {
	for _, f := range Files() {
		if f.Format == s.Format {
			return f.Client
		}
	}
	return ""
}

// ReadConversions reads the cases below the root of the module.
func ReadConversions(root string) (conversions, losses []Conversion, err error) {
	var all struct {
		Count               int
		Conversions, Losses []Conversion
	}
	data, err := os.ReadFile(filepath.Join(Dir(root), "conversions.json"))
	if err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, nil, fmt.Errorf("conversions: %w", err)
	}
	if all.Count == 0 || all.Count != len(all.Conversions)+len(all.Losses) {
		return nil, nil, fmt.Errorf("conversions: the count says %d", all.Count)
	}
	for _, list := range [][]Conversion{all.Conversions, all.Losses} {
		for i := range list {
			list[i].From.rename()
			list[i].To.rename()
		}
	}
	return all.Conversions, all.Losses, nil
}

// rename gives a side the name that its format has at the command line.
func (s *Side) rename() {
	switch s.Format {
	case "k3s registries.yaml":
		s.Format = "k3s"
	case "OpenShift ICSP, IDMS, ITMS":
		s.Format = "openshift"
	}
}

// Compare returns how the places of an answer differ from those wanted.
func (c *Conversion) Compare(a Answer, want []Place) []string {
	got := c.places(a)
	wanted := make([]Place, len(want))
	for i, p := range want {
		wanted[i] = c.plain(p)
	}
	if reflect.DeepEqual(got, wanted) {
		return nil
	}
	return []string{fmt.Sprintf("places\n   got %v\n  want %v", got, wanted)}
}

// places returns the places of an answer as conversions.json writes them.
func (c *Conversion) places(a Answer) []Place {
	var out []Place
	for _, t := range a.Tries {
		url, _ := t["url"].(string)
		p := Place{URL: url, Transport: "verify", Blocked: t["blocked"] == true}
		insecure := t["insecure"] == true
		switch {
		case strings.HasPrefix(url, "http:"):
			p.Transport = "http"
		case insecure && (t["httpFallback"] == true || a.As == "podman" || a.As == "openshift"):
			p.Transport = "skip-verify, then http"
		case insecure:
			p.Transport = "skip-verify"
		}
		out = append(out, c.plain(p))
	}
	return out
}

// plain drops ns where the case does not look at it, and gives Docker Hub one of
// its names: clients differ in it, whatever is configured.
func (c *Conversion) plain(p Place) Place {
	p.URL = strings.Replace(p.URL, "https://index.docker.io/", "https://registry-1.docker.io/", 1)
	if c.IgnoreNS {
		p.URL, _, _ = strings.Cut(p.URL, "?")
	}
	return p
}
