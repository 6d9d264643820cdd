package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A memoryGroup is a control group in which processes have so much memory,
// their page cache included, and no more.
type memoryGroup struct {
	dir string
	v2  bool
}

// newMemoryGroup makes one of so many bytes. The test is skipped by name where
// that cannot be done: without root, or where the controller is not here.
func newMemoryGroup(t testing.TB, limit int64) memoryGroup {
	t.Helper()
	name := fmt.Sprintf("entrepot-e2e-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"))
	var why []error
	for _, g := range []memoryGroup{{"/sys/fs/cgroup/memory", false}, {"/sys/fs/cgroup", true}} {
		g.dir = filepath.Join(g.dir, name)
		err := g.make(limit)
		if err == nil {
			t.Cleanup(func() {
				if err := os.Remove(g.dir); err != nil {
					t.Errorf("remove the group: %v", err)
				}
			})
			return g
		}
		why = append(why, err)
	}
	kit.skip(t, "a memory group", errors.Join(why...).Error())
	return memoryGroup{}
}

func (g memoryGroup) make(limit int64) error {
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return err
	}
	file := "memory.limit_in_bytes"
	if g.v2 {
		file = "memory.max"
	}
	// Where the controller is not enabled there is no such file.
	f, err := os.OpenFile(filepath.Join(g.dir, file), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(strconv.FormatInt(limit, 10))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return errors.Join(err, os.Remove(g.dir))
	}
	if g.v2 {
		os.WriteFile(filepath.Join(g.dir, "memory.swap.max"), []byte("0"), 0) // there may be no swap at all
	}
	return nil
}

// procs is the file that takes processes in.
func (g memoryGroup) procs() string { return filepath.Join(g.dir, "cgroup.procs") }

// kills is how often the kernel has killed in it for want of memory.
func (g memoryGroup) kills(t testing.TB) int {
	t.Helper()
	file := "memory.oom_control"
	if g.v2 {
		file = "memory.events"
	}
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			kills, err := strconv.Atoi(n)
			if err != nil {
				t.Fatal(err)
			}
			return kills
		}
	}
	t.Fatalf("%s does not count kills: %s", file, text)
	return 0
}
