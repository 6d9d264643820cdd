package cli

import (
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// keepMemory lets the garbage collector work harder where the process is about
// to use most of what its control group may have. It would else let garbage grow
// as large as what is in use: a thousand clients, whom net/http gives a buffer
// each, took 88 MiB of a group of 128 MiB, and take 56 with it (measured:
// TestFault34SmallMemory of internal/e2e). Whoever sets GOMEMLIMIT has said what he
// wants.
func keepMemory(log *slog.Logger) {
	limit := groupMemory(os.DirFS("/"))
	if limit == 0 || debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return
	}
	// The rest is for the page cache, which the group's limit counts too.
	debug.SetMemoryLimit(limit / 8 * 5)
	log.Debug("the memory of our control group is limited", "bytes", limit)
}

// groupMemory returns how many bytes of memory the control group of this process
// and those above it may have; 0 where there is no limit, or none that can be
// read. Root is the directory "/".
func groupMemory(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0 // not Linux
	}
	limit := int64(math.MaxInt64)
	for line := range strings.Lines(string(text)) {
		// "0::/path" in version 2; "4:memory:/path" in version 1, cgroups(7).
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		mount, file := "sys/fs/cgroup", "memory.max"
		if controllers == "memory" {
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if controllers != "" {
			continue
		}
		// A container may be told a path that its own mount does not have: the
		// group is at the top of that then.
		for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
			limit = min(limit, limitIn(root, path.Join(mount, dir, file)))
			if dir == "/" {
				break
			}
		}
	}
	if limit > 1<<50 { // version 1 writes a number of pages for none
		return 0
	}
	return limit
}

// limitIn reads a file with a number of bytes.
func limitIn(root fs.FS, name string) int64 {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n <= 0 { // "max"
		return math.MaxInt64
	}
	return n
}
