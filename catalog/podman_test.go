package catalog_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPodmanUnpacksWhatIsRebuilt has another tool judge the layers: what a container
// of the new image has is the filtered catalog, no cache, and all else as it was.
func TestPodmanUnpacksWhatIsRebuilt(t *testing.T) {
	program, err := exec.LookPath("podman")
	if err != nil {
		t.Skip("no podman here")
	}
	s := newShelf(t)
	s.image(made{layers: [][]byte{zip(t, catalogLayer(t)), zip(t, archive(t, "bin/opm = new"))}}, "v1")
	_, kept := s.rebuild("v1", "quay")
	dir, err := os.MkdirTemp("", "pod") // podman takes no long path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	images := filepath.Join(dir, "images") // and makes a name of it, in lower case
	if err := os.Symlink(s.dir, images); err != nil {
		t.Fatal(err)
	}
	policy := filepath.Join(dir, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) ([]byte, error) {
		// The vfs driver mounts nothing.
		cmd := exec.CommandContext(t.Context(), program, append([]string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
			"--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"}, args...)...)
		cmd.Env = append(os.Environ(), "TMPDIR="+dir)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			return errs.Bytes(), err
		}
		return out, nil
	}
	podman := func(args ...string) []byte {
		t.Helper()
		out, err := run(args...)
		if err != nil {
			t.Fatalf("podman %s: %v\n%s", args[0], err, out)
		}
		return out
	}
	if out, err := run("info"); err != nil {
		t.Skipf("podman does not run here: %s", out)
	}
	image := strings.TrimSpace(string(podman("pull", "--quiet", "--signature-policy", policy, "oci:"+images+":"+s.ref("quay").String())))
	if cmdline := string(podman("image", "inspect", "--format", "{{.Config.Entrypoint}} {{.Config.Cmd}}", image)); cmdline != "[/bin/opm] [serve /configs]\n" {
		t.Errorf("the command is %s", cmdline)
	}
	container := strings.TrimSpace(string(podman("create", image)))
	got := unpacked(t, podman("export", container))
	want := map[string]string{"bin/opm": "new", "tmp/": "1777", "configs/": "1777", "configs/quay/": "0755"}
	for _, f := range kept.Files() {
		want["configs/"+f.Path] = string(f.Data)
	}
	for name := range got {
		if _, ok := want[name]; !ok && !strings.HasPrefix(name, "configs") && !strings.HasPrefix(name, "tmp") {
			delete(got, name) // what podman adds to every container
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// unpacked returns the files of a tar, and the modes of its directories.
func unpacked(t *testing.T, data []byte) map[string]string {
	t.Helper()
	all := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		if h.Typeflag == tar.TypeDir {
			all[strings.TrimSuffix(name, "/")+"/"] = octal(h.Mode)
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(content)
	}
}
