// Package imports holds the import rules of the house, as a test. The table is
// explained in doc/design.md.
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/entrepot/entrepot"

// rooms says which rooms each room may import. A room that is not named here
// may not exist.
//
//	:: room → rooms
var rooms = map[string][]string{
	"ref":              {},
	"oci":              {"ref"},
	"rules":            {"ref"},
	"rules/runimage":   {"ref"},
	"rules/conf":       {"ref", "rules", "rules/runimage", "internal/tree"},
	"store":            {"ref", "oci"},
	"remote":           {"ref", "oci"},
	"mirror":           {"ref", "oci", "remote"},
	"proxy":            {"ref", "oci", "store"},
	"layout":           {"ref", "oci"},
	"relocate":         {"ref", "oci", "rules", "rules/conf"},
	"openshift":        {"ref", "rules", "rules/conf", "relocate"},
	"access":           {"ref", "oci"},
	"registry":         {"ref", "oci", "access"},
	"document":         {"ref", "oci", "internal/tree"},
	"catalog":          {"ref", "oci"},
	"imageset":         {"ref", "oci", "layout", "relocate", "openshift", "document", "catalog"},
	"internal/web":     {"ref", "oci"},
	"internal/edge":    {},
	"internal/tree":    {},
	"internal/cli":     {"ref", "oci", "rules", "rules/conf", "rules/runimage", "store", "remote", "mirror", "proxy", "layout", "relocate", "openshift", "registry", "access", "document", "catalog", "imageset", "internal/web", "internal/edge"},
	"cmd/entrepot":     {"internal/cli"},
	"internal/imports": {},

	// For tests only; see testsOnly.
	"internal/regtest": {"ref", "oci"},
	"internal/faultfs": {},
	"internal/e2e":     {},
	"internal/golden":  {},
	"store/storetest":  {"ref", "oci", "store"},
}

// testsOnly are the rooms that only tests may import.
var testsOnly = []string{"internal/regtest", "internal/faultfs", "internal/e2e", "internal/golden", "store/storetest"}

// owners says which rooms alone may import a module from outside.
//
//	:: module path → rooms
var owners = map[string][]string{
	"github.com/prometheus/client_golang": {"internal/web"},
	"github.com/spf13/cobra":              {"internal/cli"},
	"github.com/vbauerster/mpb":           {"internal/cli"},
	"github.com/pelletier/go-toml":        {"internal/cli", "rules/conf"},
	"go.yaml.in/yaml":                     {"internal/tree", "document", "catalog", "openshift", "imageset"},
	"k8s.io/client-go":                    {"imageset"},
	"github.com/klauspost/compress":       {"catalog", "imageset"},
	"oras.land/oras-go":                   {"remote"},
	"helm.sh/helm":                        {"document"},
	"github.com/distribution/reference":   {},
	"github.com/hanwen/go-fuse":           {"internal/faultfs"},
	"golang.org/x/crypto":                 {"access"},
	"github.com/go-jose/go-jose":          {"access"},

	// In modules of their own; see modules_test.go.
	"github.com/google/go-containerregistry": {},
}

type goPackage struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func TestImports(t *testing.T) {
	for _, p := range list(t) {
		room := roomOf(p.ImportPath)
		allowed, known := rooms[room]
		if !known {
			t.Errorf("%s: a new room needs its line in the import table", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			if target := roomOf(imp); target != "" {
				if target != room && !slices.Contains(allowed, target) {
					t.Errorf("%s imports %s: not allowed", room, target)
				}
				if slices.Contains(testsOnly, target) && !slices.Contains(testsOnly, room) {
					t.Errorf("%s imports %s, which is for tests only", room, target)
				}
				continue
			}
			for mod, owner := range owners {
				if (imp == mod || strings.HasPrefix(imp, mod+"/")) && !slices.Contains(owner, room) {
					t.Errorf("%s imports %s, which belongs to %v", room, imp, owner)
				}
			}
		}
	}
}

// pure are packages below net that parse and print, and reach for nothing.
//
//	:: import path → true
var pure = map[string]bool{"net/netip": true, "net/url": true}

// TestPureRooms holds that the rooms that plan do not reach for the network.
func TestPureRooms(t *testing.T) {
	for _, p := range list(t) {
		if room := roomOf(p.ImportPath); room != "ref" && room != "oci" && room != "rules" && room != "rules/runimage" {
			continue
		}
		for _, imp := range p.Imports {
			if (imp == "net" || strings.HasPrefix(imp, "net/") || imp == "os") && !pure[imp] {
				t.Errorf("%s imports %s: this room is pure", p.ImportPath, imp)
			}
		}
	}
}

// TestRulesAreLight holds that importing rules, or what chooses a run image,
// brings go-digest and nothing else from outside the standard library, and no
// HTTP.
func TestRulesAreLight(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{.Standard}}", module+"/rules", module+"/rules/runimage").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		path, standard, _ := strings.Cut(strings.TrimSpace(line), " ")
		own := strings.HasPrefix(path, module+"/")
		if path == "net/http" || standard == "false" && !own && path != "github.com/opencontainers/go-digest" {
			t.Errorf("rules brings %s", path)
		}
	}
}

// roomOf returns the room of an import path of this module, "" for others.
func roomOf(path string) string {
	room, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	return room
}

func list(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"/...").Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 2 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}
