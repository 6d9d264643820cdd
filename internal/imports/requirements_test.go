package imports

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// requirementsPage is the table of what the server promises and of the tests
// that hold it.
const requirementsPage = "../../doc/requirements.md"

// wanted are the rows that the page has to have: without this list a row could
// leave it unseen. It is what was asked for, and nothing else makes it longer.
var wanted = slices.Concat(
	numbered("A", 1, 11), numbered("B", 1, 13), numbered("C", 1, 16), numbered("D", 1, 5), numbered("E", 1, 5), numbered("F", 1, 7),
	numbered("G", 1, 6), numbered("H", 1, 3), numbered("I", 1, 4), []string{"J", "K"}, numbered("L", 1, 35), numbered("S", 1, 17),
	numbered("fault ", 1, 11), numbered("fault ", 13, 23), numbered("fault ", 29, 35), numbered("fault ", 38, 40), []string{"soak"}, advisories, incidents,
)

// advisories that concern a server, each group by its first.
var advisories = []string{
	"CVE-2026-33540", "GHSA-vh4v-2xq2-g5cg", "CVE-2026-50151", "CVE-2026-49349", "CVE-2020-15157", "CVE-2021-41092",
	"CVE-2024-3727", "GHSA-qv35-3gw6-8q4j", "CVE-2024-39897", "CVE-2026-35172", "CVE-2026-41888", "CVE-2026-31801",
	"CVE-2025-23208", "CVE-2025-48374", "CVE-2026-4404", "CVE-2025-24976", "CVE-2023-2253", "CVE-2017-11468", "GHSA-qq97-vm5h-rrhg",
	"CVE-2023-46737", "CVE-2020-13788", "CVE-2026-58442", "CVE-2025-47290", "CVE-2023-20902", "CVE-2025-59345", "CVE-2025-59354",
	"CVE-2026-40344", "CVE-2023-45289", "CVE-2025-22871", "CVE-2023-39325", "CVE-2026-56853", "CVE-2026-39822",
}

// incidents that can be replayed, each group by its first.
var incidents = []string{
	"distribution#2367", "distribution#1356", "distribution#4511", "distribution#3705", "distribution#4599", "harbor#23600",
	"harbor#23882", "harbor#18341", "zot#4357", "zot#4399", "zot#4241", "docker-registry-proxy#26", "distribution#3045",
	"harbor#12975", "restic#4619", "zot#4201", "zot#4062", "harbor#15654", "distribution#1960", "zot#2598", "moby#53321",
	"bazel-remote#386", "oc-mirror#526", "containerd#4908", "container-libs#777", "container-libs#1114", "containers-roadmap#2831",
	"skopeo#1101", "go-containerregistry#2084", "containerd#10624", "containerd#13682", "spegel#336", "skopeo#1466",
}

func numbered(prefix string, from, to int) []string {
	var ids []string
	for i := from; i <= to; i++ {
		ids = append(ids, prefix+strconv.Itoa(i))
	}
	return ids
}

// TestRequirements holds that every row of doc/requirements.md names tests that
// exist, or says why there is none.
func TestRequirements(t *testing.T) {
	page, err := os.ReadFile(requirementsPage)
	if err != nil {
		t.Fatal(err)
	}
	rows, problems := requirements(string(page))
	tests, err := findTests(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range slices.Concat(problems, unknown(rows, tests), lacking(rows, wanted)) {
		t.Errorf("doc/requirements.md: %s", p)
	}
}

// A requirement is a row of the page.
type requirement struct {
	line  int
	id    string   // in bold letters
	tests []string // package.TestName, package.TestName/sub
	note  string
}

// reasons are what the note of a row without a test may begin with.
var reasons = []string{"Open:", "With S3:", "Not ours:", "By nature:"}

var quoted = regexp.MustCompile("`([^`]+)`")

// requirements returns the rows of a page: the lines "| **id** | what | tests |
// note |". Any other row of a table is its head, or a problem.
func requirements(page string) (rows []requirement, problems []string) {
	seen := map[string]int{}
	for i, text := range strings.Split(page, "\n") {
		if !strings.HasPrefix(text, "|") || strings.HasPrefix(text, "|--") || strings.HasPrefix(text, "| row |") {
			continue
		}
		cells := strings.Split(strings.Trim(text, "|"), "|")
		for j := range cells {
			cells[j] = strings.TrimSpace(cells[j])
		}
		id, bold := strings.CutPrefix(cells[0], "**")
		id, end := strings.CutSuffix(id, "**")
		if len(cells) != 4 || !bold || !end || id == "" {
			problems = append(problems, fmt.Sprintf("line %d: a row has four cells, the first one in bold letters: %.60s", i+1, text))
			continue
		}
		if at := seen[id]; at > 0 {
			problems = append(problems, fmt.Sprintf("line %d: row %s is there already, in line %d", i+1, id, at))
		}
		seen[id] = i + 1
		r := requirement{line: i + 1, id: id, note: cells[3]}
		for _, m := range quoted.FindAllStringSubmatch(cells[2], -1) {
			r.tests = append(r.tests, m[1])
		}
		if reason := slices.ContainsFunc(reasons, func(s string) bool { return strings.HasPrefix(r.note, s) }); len(r.tests) == 0 && !reason {
			problems = append(problems, fmt.Sprintf("line %d: row %s has no test, and its note does not begin with one of %q", i+1, id, reasons))
		}
		rows = append(rows, r)
	}
	return rows, problems
}

// lacking tells which rows are not there.
func lacking(rows []requirement, want []string) (problems []string) {
	for _, id := range want {
		if !slices.ContainsFunc(rows, func(r requirement) bool { return r.id == id }) {
			problems = append(problems, "there is no row "+id)
		}
	}
	return problems
}

// namedTests are the tests of a package.
type namedTests struct {
	dir   string
	funcs map[string]bool
	subs  map[string]bool // what a subtest may be called: the strings of its tests, and the files of its testdata
}

// findTests reads the tests of all modules below root, whatever their build
// tags say, by the last name of each directory.
func findTests(root fs.FS) (map[string]namedTests, error) {
	tests := map[string]namedTests{}
	err := fs.WalkDir(root, ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && name != "." && strings.HasPrefix(e.Name(), "."):
			return fs.SkipDir
		case e.IsDir() || !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		dir := path.Dir(name)
		p, ok := tests[path.Base(dir)]
		if !ok {
			p = namedTests{dir, map[string]bool{}, map[string]bool{}}
			tests[path.Base(dir)] = p
		}
		if p.dir != dir {
			return fmt.Errorf("%s and %s have one name: doc/requirements.md cannot tell their tests apart", p.dir, dir)
		}
		return p.read(root, name)
	})
	return tests, err
}

// read adds what is in a file, and in the testdata beside it.
func (p namedTests) read(root fs.FS, name string) error {
	src, err := fs.ReadFile(root, name)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch x := node.(type) {
		case *ast.FuncDecl:
			if x.Recv == nil && (strings.HasPrefix(x.Name.Name, "Test") || strings.HasPrefix(x.Name.Name, "Fuzz")) {
				p.funcs[x.Name.Name] = true
			}
		case *ast.BasicLit:
			if s, err := strconv.Unquote(x.Value); err == nil && x.Kind == token.STRING {
				p.subs[strings.ReplaceAll(s, " ", "_")] = true
			}
		}
		return true
	})
	scripts, err := fs.Glob(root, path.Join(p.dir, "testdata", "*.txt"))
	for _, s := range scripts {
		p.subs[strings.TrimSuffix(path.Base(s), ".txt")] = true
	}
	return err
}

// unknown tells which tests the rows name that are not there.
func unknown(rows []requirement, tests map[string]namedTests) (problems []string) {
	for _, r := range rows {
		for _, name := range r.tests {
			whole, sub, _ := strings.Cut(name, "/")
			pkg, fn, _ := strings.Cut(whole, ".")
			if p := tests[pkg]; !p.funcs[fn] || sub != "" && !p.hasSub(sub) {
				problems = append(problems, fmt.Sprintf("line %d: row %s names %s, which is not there", r.line, r.id, name))
			}
		}
	}
	return problems
}

// hasSub reports whether a subtest, or one within another, can be called so.
func (p namedTests) hasSub(sub string) bool {
	return p.subs[sub] || !slices.ContainsFunc(strings.Split(sub, "/"), func(s string) bool { return !p.subs[s] })
}

// TestRequirementsAreRead holds that a page that is wrong is found out.
func TestRequirementsAreRead(t *testing.T) {
	root := fstest.MapFS{
		"a/b/x_test.go":      {Data: []byte("//go:build never\n\npackage b\n\nfunc TestX(t *testing.T) { t.Run(\"one row\", nil) }\n")},
		"a/b/y_test.go":      {Data: []byte("package b\n\nfunc FuzzY() {}\n\nfunc (z) TestMethod() {}\n")},
		"a/b/testdata/s.txt": {Data: []byte("GET /")},
		"a/b/code.go":        {Data: []byte("package b\n\nfunc TestNot() {}\n")},
		".cache/b/x_test.go": {Data: []byte("not Go")},
	}
	tests, err := findTests(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, row, problem string }{
		{"tests", "| **Z1** | a | `b.TestX`, `b.FuzzY` | |", ""},
		{"subtests", "| **Z1** | a | `b.TestX/one_row` `b.TestX/s` `b.TestX/s/one_row` | |", ""},
		{"a reason", "| **Z1** | a | | Open: nobody has done it. |", ""},
		{"no test", "| **Z1** | a | | |", "no test"},
		{"no reason", "| **Z1** | a | | Later. |", "no test"},
		{"a name alone", "| **Z1** | a | b.TestX | |", "no test"},
		{"another package", "| **Z1** | a | `c.TestX` | |", "not there"},
		{"another test", "| **Z1** | a | `b.TestX`, `b.TestY` | |", "b.TestY, which is not there"},
		{"another subtest", "| **Z1** | a | `b.TestX/two` | |", "not there"},
		{"a method", "| **Z1** | a | `b.TestMethod` | |", "not there"},
		{"no test file", "| **Z1** | a | `b.TestNot` | |", "not there"},
		{"three cells", "| **Z1** | a | `b.TestX` |", "four cells"},
		{"not bold", "| Z1 | a | `b.TestX` | |", "four cells"},
		{"twice", "| **Z1** | a | `b.TestX` | |\n| **Z1** | a | `b.TestX` | |", "there already"},
		{"left out", "| **Z2** | a | `b.TestX` | |", "there is no row Z1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rows, problems := requirements("# Page\n\n| row | requirement | held by | note |\n|---|---|---|---|\n" + tt.row + "\n")
			problems = slices.Concat(problems, unknown(rows, tests), lacking(rows, []string{"Z1"}))
			got := strings.Join(problems, "; ")
			if (got == "") != (tt.problem == "") || !strings.Contains(got, tt.problem) {
				t.Errorf("got %q, want %q", got, tt.problem)
			}
		})
	}
}
