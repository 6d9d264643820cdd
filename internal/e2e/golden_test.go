package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/entrepot/entrepot/internal/golden"
)

// A tally counts the golden cases of one file.
type tally struct {
	file           string
	passed, failed int
	// differ are the cases that are answered differently on purpose.
	differ []string
}

func (c *tally) count(t *testing.T, name string, diffs []string) {
	t.Helper()
	if len(diffs) == 0 {
		c.passed++
		return
	}
	c.failed++
	t.Errorf("%s/%s:\n%s", c.file, name, strings.Join(diffs, "\n"))
}

// printTallies prints the counts, a line a file.
func printTallies(t *testing.T, all []tally) {
	t.Helper()
	var sum tally
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "passed\tfailed\t \n")
	for _, c := range all {
		fmt.Fprintf(w, "%d\t%d\t %s\n", c.passed, c.failed, strings.Join(append([]string{c.file}, c.differ...), ", on purpose not "))
		sum.passed, sum.failed = sum.passed+c.passed, sum.failed+c.failed
	}
	fmt.Fprintf(w, "%d\t%d\t in all\n", sum.passed, sum.failed)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// runEntrepot runs the binary with nothing in its environment but env, and
// returns its exit code and what it printed.
func runEntrepot(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr []byte) {
	t.Helper()
	bin, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	dieWithParent(cmd)
	cmd.Env = []string{"HOME=" + kit.dir}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.ExitCode() == 2 {
			t.Fatalf("%q: %v\n%s", args, err, &errs)
		}
		code = exit.ExitCode()
	}
	return code, out.Bytes(), errs.Bytes()
}

// TestGolden runs every golden case of the mirror rules by the command line.
func TestGolden(t *testing.T) {
	var all []tally
	for _, f := range golden.Files() {
		all = append(all, explainFile(t, f))
	}
	printTallies(t, all)
}

// explainFile runs the cases of a file through explain.
func explainFile(t *testing.T, f golden.File) tally {
	t.Helper()
	sum := tally{file: f.Name}
	cases, err := golden.Read(kit.root, f.Name)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if golden.Differs()[c.Name] != "" {
			sum.differ = append(sum.differ, c.Name)
			continue
		}
		path, err := c.Write(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		code, out, _ := runEntrepot(t, c.Config.Env, c.Args(f, path)...)
		sum.count(t, c.Name, c.Compare(code, out))
	}
	return sum
}

// TestGoldenNames runs the cases of relocation.json about what an image is
// called at a mirror.
func TestGoldenNames(t *testing.T) {
	cases, err := golden.ReadNamed(kit.root)
	if err != nil {
		t.Fatal(err)
	}
	var all []tally
	for _, c := range cases {
		if len(all) == 0 || all[len(all)-1].file != c.Group {
			all = append(all, tally{file: c.Group})
		}
		path, err := c.Case.Write(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		_, out, _ := runEntrepot(t, c.Case.Config.Env, c.Case.Args(c.File, path)...)
		a, err := golden.ParseAnswer(out)
		if err != nil {
			t.Fatal(err)
		}
		all[len(all)-1].count(t, c.Case.Reference, c.Compare(a))
	}
	printTallies(t, all)
}
