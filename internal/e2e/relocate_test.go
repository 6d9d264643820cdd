package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
)

// sourceName is what the documents call the source's registry. It is found
// through mirror rules, and nothing resolves it.
const sourceName = "source.invalid"

// A removal is a set of images at a source, the documents that name them, and a
// registry that wants a token, to which they move.
type removal struct {
	*testing.T
	source *origin
	target *guarded
	images []*image
	docs   []string // a bundle and manifests
	rules  string   // a registries.conf that leads to the source
}

// newRemoval makes images of Debian packages and the documents.
func newRemoval(t *testing.T) *removal {
	r := &removal{T: t, source: startOrigin(t), target: startGuarded(t), images: clientImages(t, "team/app", "relocate")}
	for _, im := range r.images {
		push(t, r.source.direct, im)
	}
	r.rules = writeFile(t, "source.conf", fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n",
		sourceName, strings.TrimPrefix(r.source.direct, "http://")))
	multi, docker, mixed := r.name(0), r.name(1), r.images[2].root().Digest
	r.docs = []string{
		writeFile(t, "bundle.json", fmt.Sprintf(`{"images":{"web":{"contentDigest":%q,"image":%q}},"invocationImages":[{"image":%q}],"name":"b","schemaVersion":"v1.2.0","version":"1.0.0"}`,
			r.images[0].root().Digest, multi, docker)),
		writeFile(t, "manifests.yaml", fmt.Sprintf(`# What runs here.
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}   # kept as it is
spec:
  template:
    spec:
      initContainers:
      - {name: a, image: '%s'}
      containers:
      - name: b
        image: "%s" # by tag
      - name: c
        image: %s
`, docker, multi, sourceName+"/team/app@"+string(mixed))),
	}
	return r
}

// name is what documents call an image.
func (r *removal) name(i int) string { return sourceName + "/team/app:" + r.images[i].tag }

// relocate runs the command and returns its exit code and what it said.
func (r *removal) relocate(args ...string) (int, string) {
	r.Helper()
	bin, err := kit.binary()
	if err != nil {
		r.Fatal(err)
	}
	all := append(append([]string{"relocate"}, r.docs...), "--rules", "registries.conf="+r.rules, "--authfile", r.target.auth)
	cmd := exec.Command(bin, append(all, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+r.TempDir(), "XDG_CACHE_HOME="+r.TempDir())
	dieWithParent(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		r.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// done runs the command, which has to succeed.
func (r *removal) done(args ...string) {
	r.Helper()
	if code, said := r.relocate(args...); code != 0 {
		r.Fatalf("relocate ends with %d:\n%s", code, said)
	}
}

// mapping reads a relocation mapping.
func (r *removal) mapping(file string) map[string]string {
	r.Helper()
	var m map[string]string
	raw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		r.Fatal(err)
	}
	return m
}

// TestRelocate moves a set with flattened names into a registry that wants
// tokens. What other programs find there is what the source had, the documents
// differ in the names alone, and podman pulls by the original names while the
// source is gone.
func TestRelocate(t *testing.T) {
	r := newRemoval(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	r.done("--to", r.target.address+"/mirror", "--output", at("out"), "--map", at("map.json"),
		"--emit", "registries.conf="+at("mirror.conf"), "--report", at("report.json"))

	m := r.mapping(at("map.json"))
	r.sameDigests(m)
	for _, doc := range r.docs {
		want := string(readFile(t, doc))
		if strings.HasSuffix(doc, ".yaml") {
			for from, to := range m {
				want = strings.ReplaceAll(want, from, to)
			}
		}
		sameFile(t, filepath.Join(at("out"), filepath.Base(doc)), []byte(want))
	}
	r.source.stop(t)
	r.podmanPulls(at("mirror.conf"))

	code, said := r.relocate("--to", r.target.address+"/mirror", "--emit", "hosts.toml="+at("certs.d"))
	if code != 4 || !strings.Contains(said, "hosts.toml cannot express this") || !strings.Contains(said, "--naming host-path") {
		t.Errorf("flattened names as hosts.toml: exit code %d, want 4, with the reason:\n%s", code, said)
	}
}

// TestRelocateForContainerd keeps the paths below the source's name, so that
// containerd's own configuration can lead there.
func TestRelocateForContainerd(t *testing.T) {
	r := newRemoval(t)
	certs := filepath.Join(t.TempDir(), "certs.d")
	r.done("--to", r.target.address, "--naming", "host-path", "--emit", "hosts.toml="+certs)
	r.source.stop(t)
	dir := t.TempDir()
	p, sock := startContainerd(t, dir)
	for _, name := range []string{r.name(0), r.name(1), sourceName + "/team/app@" + string(r.images[2].root().Digest)} {
		run(t, exec.Command(kit.tool(t, "ctr"), "-a", sock, "images", "pull", "--platform", "linux/amd64", "--snapshotter", "native",
			"--user", guardedUser+":"+guardedPassword, "--hosts-dir", certs, name))
	}
	for _, im := range r.images {
		for _, d := range im.closure(false) {
			got, err := exec.Command(kit.tool(t, "ctr"), "-a", sock, "content", "get", string(d)).Output()
			if err != nil || oci.FromBytes(got, "") != d {
				t.Errorf("containerd has %d bytes of %s: %v", len(got), d, err)
			}
		}
	}
	p.stop(t)
}

// sameDigests asks skopeo and crane what the targets are.
func (r *removal) sameDigests(m map[string]string) {
	r.Helper()
	for i, name := range []string{r.name(0), r.name(1), sourceName + "/team/app@" + string(r.images[2].root().Digest)} {
		to, want := m[name], string(r.images[i].root().Digest)
		if to == "" {
			r.Fatalf("the mapping has nothing for %s: %v", name, m)
		}
		if kit.here("skopeo") {
			got := run(r, exec.Command(kit.tool(r, "skopeo"), "inspect", "--authfile", r.target.auth, "--tls-verify=false",
				"--override-arch", "amd64", "--override-os", "linux", "--format", "{{.Digest}}", "docker://"+to))
			if strings.TrimSpace(got) != want {
				r.Errorf("skopeo finds %s at %s, want %s", got, to, want)
			}
		}
		if kit.here("crane") {
			cmd := exec.Command(kit.tool(r, "crane"), "digest", "--insecure", to)
			cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+filepath.Dir(r.target.auth))
			if got := run(r, cmd); strings.TrimSpace(got) != want {
				r.Errorf("crane finds %s at %s, want %s", got, to, want)
			}
		}
	}
}

// here reports whether a program is here; that it is not is noted.
func (k *toolkit) here(name string) bool {
	_, ok := k.find(name)
	return ok
}

// podmanPulls pulls all images by their original names.
func (r *removal) podmanPulls(conf string) {
	r.Helper()
	if !kit.here("podman") {
		kit.miss(r, "podman", notHere)
		return
	}
	dir := r.TempDir()
	podman := func(args ...string) string {
		global := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"),
			"--tmpdir", filepath.Join(dir, "tmp"), "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"}
		cmd := exec.Command(kit.tool(r, "podman"), append(global, args...)...)
		cmd.Env = append(os.Environ(), "CONTAINERS_REGISTRIES_CONF="+conf, "REGISTRY_AUTH_FILE="+r.target.auth, "TMPDIR="+dir)
		return run(r, cmd)
	}
	for i, name := range []string{r.name(0), r.name(1), sourceName + "/team/app@" + string(r.images[2].root().Digest)} {
		podman("pull", "--quiet", "--signature-policy", policy(r.T), name)
		digests := podman("image", "inspect", "--format", "{{range .RepoDigests}}{{.}} {{end}}", name)
		if want := string(r.images[i].root().Digest); !strings.Contains(digests, want) {
			r.Errorf("podman knows %s as %s, want %s", name, digests, want)
		}
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
