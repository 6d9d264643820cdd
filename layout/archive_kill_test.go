package layout_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/layout"
)

// killEnv makes the test binary write an archive to the path that it holds, and
// stop in the middle of a blob.
const killEnv = "ENTREPOT_TEST_ARCHIVE"

func killContents(t *testing.T) (things, layout.Contents) {
	sizes := make([]int64, 20)
	for i := range sizes {
		sizes[i] = int64(20_000 + i)
	}
	th := newThings(t, sizes...)
	return th, th.contents
}

// TestKilledWriter is the process that is killed. When it has opened so many
// blobs it stops in the middle of the next one, and says so.
func TestKilledWriter(t *testing.T) {
	after, path, ok := strings.Cut(os.Getenv(killEnv), " ")
	if !ok {
		t.Skip("it is run by TestKill")
	}
	left, err := strconv.Atoi(after)
	if err != nil {
		t.Fatal(err)
	}
	_, c := killContents(t)
	c.Blobs = slices.Clone(c.Blobs)
	for i, b := range c.Blobs {
		c.Blobs[i].Open = func(ctx context.Context, off int64) (io.ReadCloser, error) {
			left--
			rc, err := b.Open(ctx, off)
			if left == 0 {
				rc = io.NopCloser(io.MultiReader(io.LimitReader(rc, 1000), stuck{}))
			}
			return rc, err
		}
	}
	_, err = layout.WriteArchive(t.Context(), layout.ArchiveConfig{Path: path, VolumeSize: 100_000, Jobs: 1}, c)
	t.Errorf("it was not killed: %v", err)
}

// stuck gives nothing, for as long as the parent lives.
type stuck struct{}

func (stuck) Read(p []byte) (int, error) {
	fmt.Println("stuck")
	return os.Stdin.Read(p)
}

// TestKill kills a writer with -9 at different points. What it leaves never
// passes for an archive, and is gone on with to the bytes of an undisturbed run.
func TestKill(t *testing.T) {
	th, c := killContents(t)
	whole := write(t, layout.ArchiveConfig{VolumeSize: 100_000}, c)
	dir := t.TempDir()
	path := filepath.Join(dir, "images.tar")
	for _, after := range []int{1, 4, 9, 15} {
		kill(t, after, path)
		onlyPartial(t, dir)
	}
	w := write(t, layout.ArchiveConfig{Path: path, VolumeSize: 100_000}, c)
	if w.Kept == 0 {
		t.Error("nothing of the killed runs was kept")
	}
	for i := range w.Paths {
		want, _ := os.ReadFile(whole.Paths[i])
		if got, err := os.ReadFile(w.Paths[i]); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what one run writes, %v", w.Paths[i], err)
		}
	}
	th.hold(t, open(t, w.Paths...))
}

// kill starts a writer and kills it in the middle of a blob.
func kill(t *testing.T, after int, path string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledWriter$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", killEnv, after, path))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil { // it stays open until the process is gone
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // that it was killed is known
	if line != "stuck\n" {
		t.Fatalf("the writer says %q, %v", line, err)
	}
}

// TestKilledNaming holds that a run which was killed when some volumes had their
// names is gone on with.
func TestKilledNaming(t *testing.T) {
	_, c := killContents(t)
	path := filepath.Join(t.TempDir(), "images.tar")
	cfg := layout.ArchiveConfig{Path: path, VolumeSize: 100_000}
	w := write(t, cfg, c)
	if len(w.Paths) < 3 {
		t.Fatalf("%d volumes", len(w.Paths))
	}
	for _, p := range w.Paths[2:] {
		if err := os.Rename(p, p+".partial"); err != nil {
			t.Fatal(err)
		}
	}
	journal := "entrepot archive 1 " + string(w.Set.ID) + "\n"
	for _, b := range w.Set.Blobs {
		journal += string(b.Digest) + "\n"
	}
	if err := os.WriteFile(path+".partial.journal", []byte(journal), 0o666); err != nil {
		t.Fatal(err)
	}
	again := write(t, cfg, c)
	if again.Read != 0 {
		t.Errorf("%d bytes were read again", again.Read)
	}
	if err := open(t, again.Paths...).Verify(t.Context(), true); err != nil {
		t.Error(err)
	}
	if _, err := layout.WriteArchive(t.Context(), cfg, c); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("a third run: %v, want that it is there already", err)
	}
}
