package e2e

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A trip carries images on a disk from a network to another one. The near side
// has the source's registry; the far side has one of its own, always at the
// same address, in a network namespace of its own where the machine allows it:
// no route leads there. Otherwise the near registry is not running meanwhile.
type trip struct {
	*testing.T
	near  *origin
	rules string // a registries.conf that leads to the source, as documents call it
	carry string // what goes there and back
	files string // the far registry's storage
	far   string // host:port of the far registry
}

func newTrip(t *testing.T) *trip {
	tr := &trip{T: t, near: startOrigin(t), carry: t.TempDir(), files: t.TempDir()}
	tr.far = strings.TrimPrefix(unreachable(t), "http://")
	tr.rules = writeFile(t, "source.conf", fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n",
		sourceName, strings.TrimPrefix(tr.near.direct, "http://")))
	return tr
}

// at is a file that is carried.
func (tr *trip) at(name string) string { return filepath.Join(tr.carry, name) }

// entrepot runs a command and returns its exit code and what it said.
func (tr *trip) entrepot(t *testing.T, args ...string) (int, string) {
	t.Helper()
	bin, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+home, "REGISTRY_AUTH_FILE="+filepath.Join(home, "auth.json"))
	dieWithParent(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// done runs a command, which has to succeed.
func (tr *trip) done(t *testing.T, args ...string) {
	t.Helper()
	if code, said := tr.entrepot(t, args...); code != 0 {
		t.Fatalf("entrepot %s ends with %d:\n%s", strings.Join(args, " "), code, said)
	}
}

// save saves an image set on the near side.
func (tr *trip) save(set string, args ...string) {
	tr.Helper()
	tr.done(tr.T, append([]string{"save", set, "--rules", "registries.conf=" + tr.rules}, args...)...)
}

// away does something on the far side, whose registry is running meanwhile.
func (tr *trip) away(name, files string, do func(t *testing.T)) {
	tr.Helper()
	ok := tr.Run(name, func(t *testing.T) {
		if !leaveNetwork(t) {
			kit.miss(t, "network namespaces", "this machine has none for us: the near registry is not running instead")
			tr.near.stop(t)
			defer tr.near.restart(tr.T)
		}
		if code, _ := tr.entrepot(t, "copy", "docker://"+strings.TrimPrefix(tr.near.direct, "http://")+"/team/app:multi", "oci:"+t.TempDir(), "--retry", "1"); code == 0 {
			t.Fatal("the far side reaches the near side")
		}
		far := startDistribution(t, files, tr.far)
		do(t)
		far.stop(t)
	})
	if !ok {
		tr.FailNow()
	}
}

// TestTrip carries an image set with a catalog, further images and a chart over
// a gap, twice: the second time with two new images.
func TestTrip(t *testing.T) {
	tr := newTrip(t)
	images := append(clientImages(t, "team/app", "trip"), operator(t)...)
	for _, im := range images {
		push(t, tr.near.direct, im)
	}
	chart := writeChart(t, sourceName+"/team/app:mixed")
	first := imageSet(t, chart, "team/app:multi", "team/app:docker")
	tr.save(first, "--output", tr.at("set.tar"), "--volume-size", "8MiB")
	volumes, err := filepath.Glob(tr.at("set-*.tar"))
	if err != nil || len(volumes) < 2 {
		t.Fatalf("the archive is %v, %v; want two volumes at least", volumes, err)
	}

	tr.away("there", tr.files, func(t *testing.T) { tr.unpack(t, volumes, images) })

	fresh := newImages(t, images[0])
	for _, im := range fresh {
		push(t, tr.near.direct, im)
	}
	second := imageSet(t, chart, "team/app:multi", "team/app:docker", "team/app:new1", "team/app:new2")
	tr.save(second, "--output", tr.at("update.tar"), "--have", tr.at("receipt.json"))
	tr.holdsOnly(tr.at("update.tar"), fresh, images)

	tr.away("there again", tr.files, func(t *testing.T) {
		conf := filepath.Join(t.TempDir(), "mirror.conf")
		tr.done(t, "load", tr.at("update.tar"), "--to", tr.far+"/mirror", "--emit", "registries.conf="+conf, "--map", tr.at("map2.json"))
		tr.done(t, "verify", tr.far+"/mirror", "--map", tr.at("map2.json"), "--deep")
		tr.pullByPodman(t, conf, fresh)
	})
	empty := t.TempDir()
	tr.away("elsewhere", empty, func(t *testing.T) { tr.lost(t, volumes) })
	if left, err := filepath.Glob(filepath.Join(empty, "docker/registry/v2/*")); err != nil || len(left) > 0 {
		t.Errorf("what could not be loaded has left %v, %v", left, err)
	}
}

// unpack loads the archive on the far side, pulls what it holds by the original
// names, and takes a receipt.
func (tr *trip) unpack(t *testing.T, volumes []string, images []*image) {
	conf, certs := filepath.Join(t.TempDir(), "mirror.conf"), filepath.Join(t.TempDir(), "certs.d")
	tr.done(t, append([]string{"verify", "--deep"}, volumes...)...)
	tr.done(t, append([]string{"load", "--to", tr.far + "/mirror", "--map", tr.at("map.json"), "--emit", "registries.conf=" + conf,
		"--emit", "openshift=" + filepath.Join(t.TempDir(), "cluster")}, volumes...)...)
	tr.pullByPodman(t, conf, slices.DeleteFunc(slices.Clone(images), isCatalog))
	tr.done(t, "receipt", tr.far+"/mirror", "--map", tr.at("map.json"), "--output", tr.at("receipt.json"))

	tr.done(t, append([]string{"load", "--to", tr.far, "--naming", "host-path", "--emit", "hosts.toml=" + certs}, volumes...)...)
	dir := t.TempDir()
	p, sock := startContainerd(t, dir)
	for _, im := range images[:3] {
		run(t, exec.Command(kit.tool(t, "ctr"), "-a", sock, "images", "pull", "--platform", "linux/amd64", "--snapshotter", "native",
			"--hosts-dir", certs, sourceName+"/"+im.repo+":"+im.tag))
		for _, d := range im.closure(false) {
			got, err := exec.Command(kit.tool(t, "ctr"), "-a", sock, "content", "get", string(d)).Output()
			if err != nil || oci.FromBytes(got, "") != d {
				t.Errorf("containerd has %d bytes of %s: %v", len(got), d, err)
			}
		}
	}
	p.stop(t)
}

// lost loads what is no use without the rest: each time it is said what is
// missing, and nothing is written.
func (tr *trip) lost(t *testing.T, volumes []string) {
	code, said := tr.entrepot(t, "load", tr.at("update.tar"), "--to", tr.far+"/mirror")
	if code == 0 || !strings.Contains(said, "sha256:") {
		t.Errorf("without the first archive: exit code %d, want another one and the blobs that are missing:\n%s", code, said)
	}
	alone := filepath.Join(t.TempDir(), filepath.Base(volumes[1]))
	if err := os.WriteFile(alone, readFile(t, volumes[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	code, said = tr.entrepot(t, "load", alone, "--to", tr.far+"/mirror")
	if code == 0 || !strings.Contains(said, "missing; "+alone+" is volume 2") {
		t.Errorf("with the second volume alone: exit code %d, want another one and which are missing:\n%s", code, said)
	}
}

// pullByPodman pulls images by their original names, through emitted
// configuration.
func (tr *trip) pullByPodman(t *testing.T, conf string, images []*image) {
	t.Helper()
	if !kit.here("podman") {
		kit.miss(t, "podman", notHere)
		return
	}
	podman := podmanIn(t, t.TempDir(), conf)
	for _, im := range images {
		name := sourceName + "/" + im.repo + ":" + im.tag
		podman("pull", "--quiet", "--signature-policy", policy(t), name)
		if got := podman("image", "inspect", "--format", "{{range .RepoDigests}}{{.}} {{end}}", name); !strings.Contains(got, string(im.root().Digest)) {
			t.Errorf("podman knows %s as %s, want %s", name, got, im.root().Digest)
		}
	}
}

// holdsOnly looks at the blobs of an archive: they are the manifests of all
// images, and of the new ones what no old one has.
func (tr *trip) holdsOnly(archive string, fresh, old []*image) {
	tr.Helper()
	want := make(map[oci.Digest]int64)
	for _, im := range fresh {
		for d, b := range im.blobs {
			want[d] = int64(len(b))
		}
	}
	for _, im := range old {
		for d := range im.blobs {
			delete(want, d)
		}
	}
	got := blobsOf(tr.T, archive)
	if !maps.Equal(got, want) {
		tr.Errorf("the second archive holds %v, want the new blobs alone: %v", got, want)
	}
}

var blobEntry = regexp.MustCompile(`^blobs/sha256/([0-9a-f]{64})$`)

// blobsOf returns the sizes of the blobs of an archive that are no manifests.
func blobsOf(t *testing.T, archive string) map[oci.Digest]int64 {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make(map[oci.Digest]int64)
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		m := blobEntry.FindStringSubmatch(h.Name)
		if m == nil {
			continue
		}
		raw, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(raw, []byte(`"schemaVersion"`)) {
			got[oci.Digest("sha256:"+m[1])] = h.Size
		}
	}
}

// imageSet writes an ImageSetConfiguration with one of the catalog's operators,
// a chart and further images.
func imageSet(t *testing.T, chart string, images ...string) string {
	t.Helper()
	text := fmt.Sprintf(`kind: ImageSetConfiguration
apiVersion: mirror.openshift.io/v2alpha1
mirror:
  operators:
  - catalog: %s/olm/index:v1
    packages:
    - name: web
  helm:
    local:
    - name: web
      path: %s
  additionalImages:
`, sourceName, chart)
	for _, name := range images {
		text += "  - name: " + sourceName + "/" + name + "\n"
	}
	return writeFile(t, "set.yaml", text)
}

// writeChart writes a chart that needs no values and names one image.
func writeChart(t *testing.T, image string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "web")
	for name, text := range map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\nannotations:\n  images: |\n    - name: app\n      image: " + image + "\n",
		"templates/pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - name: app\n    image: " +
			image + "\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func isCatalog(im *image) bool { return im.repo == "olm/index" }

// operator makes a catalog of two operators, and the bundle and the operand of
// the first.
func operator(t *testing.T) []*image {
	t.Helper()
	small := func(name string) layer { return layer{salted(t, tarOf(t, "./"+name, name), name), gzipped} }
	bundle := newImage("olm/web-bundle", "v1")
	bundle.platform(t, "amd64", false, small("bundle"))
	operand := newImage("olm/operand", "v1")
	operand.platform(t, "amd64", false, small("operand"))
	text := fmt.Sprintf(`{"schema":"olm.package","name":"web","defaultChannel":"stable"}
{"schema":"olm.channel","package":"web","name":"stable","entries":[{"name":"web.v1.0.0"}]}
{"schema":"olm.bundle","package":"web","name":"web.v1.0.0","image":"%[1]s/olm/web-bundle:v1",
 "properties":[{"type":"olm.package","value":{"packageName":"web","version":"1.0.0"}}],
 "relatedImages":[{"name":"operand","image":"%[1]s/olm/operand:v1"}]}
{"schema":"olm.package","name":"other","defaultChannel":"stable"}
{"schema":"olm.channel","package":"other","name":"stable","entries":[{"name":"other.v1.0.0"}]}
{"schema":"olm.bundle","package":"other","name":"other.v1.0.0","image":"%[1]s/olm/not-there:v1",
 "properties":[{"type":"olm.package","value":{"packageName":"other","version":"1.0.0"}}]}
`, sourceName)
	return []*image{bundle, operand, catalogImage(t, text)}
}

// catalogImage makes a catalog's image, with the label by which catalogs say
// where they are.
func catalogImage(t *testing.T, text string) *image {
	t.Helper()
	im := newImage("olm/index", "v1")
	files := tarOf(t, "configs/catalog.json", text)
	l := im.blob(ispec.MediaTypeImageLayerGzip, gzipBytes(t, files))
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","config":{"Labels":{"operators.operatorframework.io.index.configs.v1":"/configs"}},"rootfs":{"type":"layers","diff_ids":[%q]}}`,
		oci.FromBytes(files, ""))
	im.manifest(t, oci.TypeImageManifest, ispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.TypeImageManifest,
		Config: im.blob(ispec.MediaTypeImageConfig, []byte(config)), Layers: []oci.Descriptor{l}})
	return im
}

// tarOf is a tar with one file.
func tarOf(t *testing.T, name, text string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))})
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// newImages makes two images that share a layer with an old one and have one
// of their own.
func newImages(t *testing.T, old *image) []*image {
	t.Helper()
	var all []*image
	for _, tag := range []string{"new1", "new2"} {
		im := newImage(old.repo, tag)
		im.platform(t, "amd64", false, layer{salted(t, kit.tar(t, "libc6"), "trip"), gzipped}, layer{tarOf(t, "./"+tag, tag), gzipped})
		all = append(all, im)
	}
	return all
}

// startDistribution starts a distribution v3 registry at an address, on a
// storage that may have been another's before.
func startDistribution(t *testing.T, dir, address string) *process {
	t.Helper()
	conf := writeFile(t, "config.yml", fmt.Sprintf(`version: 0.1
log: {level: info, formatter: json, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
http: {addr: %q, secret: e2e}
`, dir, address))
	cmd := exec.Command(kit.tool(t, "registry"), "serve", conf)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	p := startProcess(t, "distribution v3, far away", cmd)
	p.log.wait(t, regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`))
	return p
}
