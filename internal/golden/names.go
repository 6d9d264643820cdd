package golden

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Named is a case of relocation.json that concerns mirror rules: what an
// image is called at the first place.
type Named struct {
	Group string // the list that it is in
	File         // its Name is that of a file to write, if any
	Case  Case
	// Name is what the image is called there; empty means that the rule does
	// not give it another name: it does not match, or the client refuses.
	Name string
}

// names are the lists of relocation.json that are used here.
type names struct {
	Pack []struct {
		In, Out string
		Mirrors map[string]string
	} `json:"pack_translate_registry"`
	RFC struct {
		Env   string
		Cases [][2]string
	} `json:"rfc285"`
	Rewrites [][4]string `json:"registries_conf_rewrite_ok"`
	Refused  [][3]string `json:"registries_conf_rewrite_err"`
}

// ReadNamed reads the cases below the root of the module.
func ReadNamed(root string) ([]Named, error) {
	var all names
	data, err := os.ReadFile(filepath.Join(root, "relocate", "testdata", "relocation.json"))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("relocation.json: %w", err)
	}
	return slices.Concat(all.pack(), all.rfc(), all.registries()), nil
}

func (all *names) pack() []Named {
	var out []Named
	for _, c := range all.Pack {
		text := "[registry-mirrors]\n"
		for _, key := range slices.Sorted(maps.Keys(c.Mirrors)) {
			text += fmt.Sprintf("%q = %q\n", key, c.Mirrors[key])
		}
		out = append(out, Named{
			Group: "pack_translate_registry", File: File{Format: "pack", Client: "pack"}, Name: c.Out,
			Case: Case{Reference: c.In, Config: Config{Files: map[string]string{"config.toml": text}}},
		})
	}
	return out
}

func (all *names) rfc() []Named {
	var out []Named
	for _, c := range all.RFC.Cases {
		out = append(out, Named{
			Group: "rfc285", File: File{Format: "cnb", Client: "lifecycle"}, Name: c[1],
			Case: Case{Reference: c[0], Config: Config{Env: map[string]string{"CNB_REGISTRY_MIRRORS": all.RFC.Env}}},
		})
	}
	return out
}

func (all *names) registries() []Named {
	conf := func(group, reference, prefix, location, name string) Named {
		text := fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\n", prefix, location)
		return Named{
			Group: group, File: File{Format: "registries.conf", Client: "podman"}, Name: name,
			Case: Case{Reference: reference, Config: Config{Files: map[string]string{"registries.conf": text}}},
		}
	}
	var out []Named
	for _, c := range all.Rewrites {
		out = append(out, conf("registries_conf_rewrite_ok", c[0], c[1], c[2], c[3]))
	}
	for _, c := range all.Refused {
		if strings.HasSuffix(c[2], "/") {
			continue // reading the file drops the slash, and then it is right
		}
		out = append(out, conf("registries_conf_rewrite_err", c[0], c[1], c[2], ""))
	}
	return out
}

// Compare returns how the answer of explain differs from the case.
func (n *Named) Compare(a Answer) []string {
	switch {
	case n.Name == "" && a.Error == "" && a.Rule.Match != "":
		return []string{fmt.Sprintf("the rule for %s leads to %v, and should not", a.Rule.Match, a.Tries)}
	case n.Name == "":
		return nil
	case len(a.Tries) == 0:
		return []string{fmt.Sprintf("no place, want %s: %s", n.Name, a.Error)}
	}
	want := n.Name
	if !strings.Contains(want[strings.LastIndexByte(want, '/'):], ":") {
		want += ":latest"
	}
	if got := a.Tries[0]["reference"]; got != want {
		return []string{fmt.Sprintf("called %v, want %s", got, want)}
	}
	return nil
}
