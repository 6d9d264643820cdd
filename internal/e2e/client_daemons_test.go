package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
)

// The clients of this file unpack what they pull.

// pullPodman pulls into a storage of its own, with the vfs driver: it mounts
// nothing. The layers that it unpacked are packed again and compared with the
// uncompressed digests of the origin's.
func pullPodman(t *testing.T, at mirrorAt, im *image, by string) {
	dir := t.TempDir()
	podman := podmanIn(t, dir, registriesConf(t, at))
	name := reference(at.upstream, im, by)
	podman("pull", "--quiet", "--signature-policy", policy(t), name)
	digests := podman("image", "inspect", "--format", "{{range .RepoDigests}}{{.}} {{end}}", name)
	if !strings.Contains(digests, string(im.root().Digest)) {
		t.Errorf("podman knows the image as %s, want %s", digests, im.root().Digest)
	}
	saved := filepath.Join(dir, "saved")
	podman("save", "--quiet", "--format", "oci-dir", "--uncompressed", "-o", saved, name)
	for d := range im.layers() {
		diff := im.diffs[d]
		got, err := os.ReadFile(filepath.Join(saved, "blobs", "sha256", diff.Encoded()))
		if err != nil || oci.FromBytes(got, "") != diff {
			t.Errorf("podman has not unpacked layer %s to %s: %v", d, diff, err)
		}
	}
}

// podmanIn returns what runs podman with all that it writes below dir.
func podmanIn(t *testing.T, dir, registriesConf string) func(args ...string) string {
	return func(args ...string) string {
		t.Helper()
		global := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"),
			"--tmpdir", filepath.Join(dir, "tmp"), "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"}
		cmd := exec.Command(kit.tool(t, "podman"), append(global, args...)...)
		cmd.Env = append(os.Environ(), "CONTAINERS_REGISTRIES_CONF="+registriesConf, "TMPDIR="+dir)
		return run(t, cmd)
	}
}

// layers are the layers that a client of linux/amd64 takes.
func (im *image) layers() map[oci.Digest]bool {
	layers := make(map[oci.Digest]bool)
	for _, d := range im.closure(false) {
		if _, ok := im.diffs[d]; ok {
			layers[d] = true
		}
	}
	return layers
}

// pullContainerd pulls with a containerd of its own, through a hosts.toml.
func pullContainerd(t *testing.T, at mirrorAt, im *image, by string) {
	dir := t.TempDir()
	p, sock := startContainerd(t, dir)
	certs := filepath.Join(dir, "certs.d", at.upstream)
	if err := os.MkdirAll(certs, 0o755); err != nil {
		t.Fatal(err)
	}
	hosts := fmt.Sprintf("server = \"http://%s\"\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", at.upstream, at.address)
	if err := os.WriteFile(filepath.Join(certs, "hosts.toml"), []byte(hosts), 0o644); err != nil {
		t.Fatal(err)
	}
	ctr := func(args ...string) *exec.Cmd {
		return exec.Command(kit.tool(t, "ctr"), append([]string{"-a", sock}, args...)...)
	}
	run(t, ctr("images", "pull", "--platform", "linux/amd64", "--snapshotter", "native", "--hosts-dir", filepath.Join(dir, "certs.d"), reference(at.upstream, im, by)))
	for _, d := range im.closure(false) {
		got, err := ctr("content", "get", string(d)).Output()
		if err != nil || !bytes.Equal(got, im.content(d)) {
			t.Errorf("containerd has %d bytes of %s, %v; want the origin's %d", len(got), d, err, len(im.content(d)))
		}
	}
	p.stop(t)
}

// startContainerd starts a containerd whose every path is below dir and
// returns it and its socket. It unpacks with the native snapshotter, which mounts
// nothing that stays.
func startContainerd(t *testing.T, dir string) (p *process, socket string) {
	socket = filepath.Join(dir, "c.sock")
	conf := writeFile(t, "containerd.toml", fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.overlayfs", "io.containerd.internal.v1.opt"]
[grpc]
address = %q
[ttrpc]
address = %q
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket, filepath.Join(dir, "t.sock")))
	p = startProcess(t, "containerd", exec.Command(kit.tool(t, "containerd"), "--config", conf))
	p.log.wait(t, regexp.MustCompile(`containerd successfully booted`))
	return p, socket
}

// pullDockerd pulls with a Docker daemon of its own. Its mirrors are for
// Docker Hub's names alone, and it names no upstream: what answers is the
// default one.
func pullDockerd(t *testing.T, at mirrorAt, im *image, by string) {
	dir := t.TempDir()
	sock := filepath.Join(dir, "d.sock")
	conf, err := json.Marshal(map[string]any{
		"registry-mirrors": []string{"http://" + at.address}, "insecure-registries": []string{"127.0.0.0/8"},
		"bridge": "none", "iptables": false, "ip6tables": false, "ip-masq": false, "storage-driver": "vfs",
		"data-root": filepath.Join(dir, "data"), "exec-root": filepath.Join(dir, "exec"),
		"pidfile": filepath.Join(dir, "pid"), "hosts": []string{"unix://" + sock},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, "dockerd", exec.Command(kit.tool(t, "dockerd"), "--config-file", writeFile(t, "daemon.json", string(conf))))
	p.log.wait(t, regexp.MustCompile(`API listen on`))
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", sock)
	}}
	defer tr.CloseIdleConnections()
	q := url.Values{"fromImage": {im.repo}, "tag": {by}, "platform": {"linux/amd64"}}
	dockerAPI(t, tr, http.MethodPost, "/images/create?"+q.Encode())
	name := strings.TrimPrefix(reference("", im, by), "/")
	if said := dockerAPI(t, tr, http.MethodGet, "/images/"+name+"/json"); !strings.Contains(said, string(im.root().Digest)) {
		t.Errorf("dockerd knows %s as %s, want the digest %s", name, said, im.root().Digest)
	}
	p.stop(t)
}

// dockerAPI makes one request to a Docker daemon and returns what it says.
func dockerAPI(t *testing.T, tr http.RoundTripper, method, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://docker"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || strings.Contains(string(said), `"error"`) {
		t.Fatalf("dockerd answers %s %s with %d: %s (%v)", method, path, resp.StatusCode, said, err)
	}
	return string(said)
}
