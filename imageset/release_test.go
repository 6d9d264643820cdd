package imageset_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/imageset"
	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/openshift"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

func reference(t *testing.T, s string) ref.Ref {
	t.Helper()
	r, err := ref.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const contentRepo = "quay.io/openshift-release-dev/ocp-v4.0-art-dev"

// stream is the file of a release that says what it is made of.
func stream(images ...string) string {
	var tags []string
	for _, i := range images {
		name, image, _ := strings.Cut(i, "=")
		tags = append(tags, fmt.Sprintf(`{"name":%q,"from":{"kind":"DockerImage","name":%q}}`, name, image))
	}
	return `release-manifests/image-references={"kind":"ImageStream","apiVersion":"image.openshift.io/v1","spec":{"tags":[` + strings.Join(tags, ",") + `]}}`
}

func digest(c string) string { return "@sha256:" + strings.Repeat(c, 64) }

// TestRelease reads a release by its tag, from compressed layers, the last of
// which counts.
func TestRelease(t *testing.T) {
	for name, pack := range map[string]func(*testing.T, []byte) []byte{"plain": asIs, "gzip": gzipped, "zstd": zstded} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.image("openshift-release-dev/ocp-release", pack, "amd64", "4.15.0-x86_64",
				[]string{stream("old=" + contentRepo + digest("0"))},
				[]string{"etc/passwd=x", stream("etcd="+contentRepo+digest("b"), "cli="+contentRepo+digest("a"), "tools="+contentRepo+digest("a"))},
				[]string{"etc/hosts=y"})
			set := b.expand("  platform:\n    release: quay.io/openshift-release-dev/ocp-release:4.15.0-x86_64\n")
			b.has(set,
				"quay.io/openshift-release-dev/ocp-release:4.15.0-x86_64 release mirror.platform.release",
				contentRepo+digest("a")+" release-content mirror.platform.release",
				contentRepo+digest("b")+" release-content mirror.platform.release",
			)
		})
	}
}

// TestReleaseOfSeveral reads the images of an index that are wanted.
func TestReleaseOfSeveral(t *testing.T) {
	b := newBench(t)
	const path = "openshift-release-dev/ocp-release"
	amd := b.image(path, gzipped, "amd64", "", []string{stream("cli=" + contentRepo + digest("a"))})
	arm := b.image(path, gzipped, "arm64", "", []string{stream("cli=" + contentRepo + digest("b"))})
	b.reg.AddIndex(path, []regtest.Built{amd, arm}, "4.15.0-multi")
	set := b.expand("  platform:\n    release: quay.io/" + path + ":4.15.0-multi\n")
	if got := len(set.Images); got != 3 {
		t.Errorf("%d images, want 3: %v", got, show(set.Images))
	}
}

func TestReleaseErrors(t *testing.T) {
	const path, field = "ocp/release", "isc.yaml:5: mirror.platform.release: read the release quay.io/ocp/release:v1"
	for name, test := range map[string]struct {
		layers [][]string
		want   string
	}{
		"no layers":  {nil, "it has no release-manifests/image-references: it is no release image"},
		"deleted":    {[][]string{{stream("cli=a.io/b:c")}, {"release-manifests/.wh.image-references="}}, "it has no release-manifests/image-references: it is no release image"},
		"opaque":     {[][]string{{stream("cli=a.io/b:c")}, {"release-manifests/.wh..wh..opq="}}, "it has no release-manifests/image-references: it is no release image"},
		"no JSON":    {[][]string{{"release-manifests/image-references={"}}, "release-manifests/image-references: unexpected end of JSON input"},
		"other":      {[][]string{{`release-manifests/image-references={"kind":"List"}`}}, "release-manifests/image-references is no ImageStream with images"},
		"no name":    {[][]string{{stream("cli=")}}, `release-manifests/image-references: cli: invalid reference "": it is empty`},
		"other kind": {[][]string{{strings.Replace(stream("cli=a.io/b:c"), "DockerImage", "ImageStreamTag", 1)}}, "release-manifests/image-references: cli is from ImageStreamTag, which is no image"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.image(path, gzipped, "amd64", "v1", test.layers...)
			b.fails("  platform:\n    release: quay.io/ocp/release:v1\n", field+": "+test.want)
		})
	}
	b := newBench(t)
	_, err := b.parse("  platform:\n    release: quay.io/ocp/release:v1\n").Expand(t.Context(), b.env)
	if err == nil || !strings.Contains(err.Error(), "manifest unknown") {
		t.Errorf("a release that is not there: %v", err)
	}
}

const bootimages = `release-manifests/0000_50_installer_coreos-bootimages.yaml=apiVersion: v1
kind: ConfigMap
data:
  stream: |
    {"stream": "rhcos-4.15", "architectures": {
      "x86_64": {"images": {"kubevirt": {"digest-ref": "quay.io/openshift-release-dev/ocp-v4.0-art-dev@sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"}}},
      "s390x": {"images": {}}}}
`

func TestKubeVirt(t *testing.T) {
	b := newBench(t)
	b.image("ocp/release", gzipped, "amd64", "v1", []string{bootimages}, []string{stream("cli=" + contentRepo + digest("a"))})
	config := "  platform:\n    release: quay.io/ocp/release:v1\n    kubeVirtContainer: true\n"
	b.has(b.expand(config),
		"quay.io/ocp/release:v1 release mirror.platform.release",
		contentRepo+digest("a")+" release-content mirror.platform.release",
		contentRepo+digest("c")+" release-content mirror.platform.kubeVirtContainer",
	)
	b.fails(config+"    architectures: [s390x, arm64]\n", "isc.yaml:6: mirror.platform.kubeVirtContainer: the release quay.io/ocp/release:v1 has no KubeVirt image for arm64, s390x")
}

// channel is a graph: releases of a channel, and the updates between them by
// their place. It puts the releases into the registry.
func (b *bench) channel(channel, arch string, versions string, edges string) []byte {
	b.t.Helper()
	var nodes []string
	for v := range strings.FieldsSeq(versions) {
		m := b.image("ocp/release", gzipped, arch, "", []string{stream("cli=" + contentRepo + digest("a")), "version=" + v + arch})
		nodes = append(nodes, fmt.Sprintf(`{"version":%q,"payload":"quay.io/ocp/release@%s","metadata":{"io.openshift.upgrades.graph.release.channels":%q}}`, v, m.Digest, "candidate,"+channel))
	}
	return []byte(`{"nodes":[` + strings.Join(nodes, ",") + `],"edges":[` + edges + `]}`)
}

// releases are the tags of the releases of a set.
func releases(set *imageset.Set) string {
	var all []string
	for _, i := range set.Images {
		if i.Role == "release" {
			all = append(all, strings.TrimPrefix(i.Target, ":"))
		}
	}
	return strings.Join(all, " ")
}

func TestChannels(t *testing.T) {
	b := newBench(t)
	graphs := map[string][]byte{
		"stable-4.14 amd64": b.channel("stable-4.14", "amd64", "4.14.1 4.14.5 4.14.3 4.14.4", "[0,2],[2,1],[0,3],[3,1],[2,3]"),
		"stable-4.15 amd64": b.channel("stable-4.15", "amd64", "4.14.5 4.15.0 4.15.2", "[0,1],[1,2]"),
		"stable-4.16 amd64": b.channel("stable-4.16", "amd64", "4.15.2 4.16.0 4.16.1", "[0,1],[0,2],[1,2]"),
		"okd amd64":         b.channel("okd", "amd64", "4.1.0-0.okd-2024 4.1.0-0.okd-2023", ""),
		"stable-4.14 arm64": b.channel("stable-4.14", "arm64", "4.14.5", ""),
		"stable-4.14 multi": b.channel("stable-4.14", "multi", "4.14.5", ""),
	}
	b.env.Graph = func(_ context.Context, q imageset.Query) ([]byte, error) {
		if g := graphs[q.Channel+" "+q.Arch]; g != nil {
			return g, nil
		}
		return nil, fmt.Errorf("no graph of %s for %s", q.Channel, q.Arch)
	}
	for name, test := range map[string]struct{ config, want string }{
		"head":        {"channels: [{name: stable-4.14}]", "4.14.5-x86_64"},
		"full":        {"channels: [{name: stable-4.14, full: true}]", "4.14.1-x86_64 4.14.3-x86_64 4.14.4-x86_64 4.14.5-x86_64"},
		"from":        {"channels: [{name: stable-4.14, minVersion: 4.14.4}]", "4.14.4-x86_64 4.14.5-x86_64"},
		"to":          {"channels: [{name: stable-4.14, maxVersion: 4.14.3}]", "4.14.1-x86_64 4.14.3-x86_64"},
		"range":       {"channels: [{name: stable-4.14, minVersion: 4.14.2, maxVersion: 4.14.4}]", "4.14.3-x86_64 4.14.4-x86_64"},
		"shortest":    {"channels: [{name: stable-4.14, minVersion: 4.14.1, maxVersion: 4.14.5, shortestPath: true}]", "4.14.1-x86_64 4.14.4-x86_64 4.14.5-x86_64"},
		"no way":      {"channels: [{name: stable-4.14, minVersion: 4.14.4, maxVersion: 4.14.3, shortestPath: true}]", ""},
		"across":      {"channels: [{name: stable-4.14, minVersion: 4.14.4, maxVersion: 4.14.4}, {name: stable-4.16, minVersion: 4.16.1, maxVersion: 4.16.1}]", "4.14.4-x86_64 4.14.5-x86_64 4.15.0-x86_64 4.15.2-x86_64 4.16.1-x86_64"},
		"okd":         {"channels: [{name: okd, type: okd}, {name: stable-4.14}]", "4.1.0-0.okd-2024-x86_64 4.14.5-x86_64"},
		"two":         {"{channels: [{name: stable-4.14, minVersion: 4.14.5}], architectures: [arm64, amd64]}", "4.14.5-x86_64 4.14.5-aarch64"},
		"of several":  {"{channels: [{name: stable-4.14}], platforms: [{os: linux, architecture: arm64}]}", "4.14.5-multi"},
		"not there":   {"channels: [{name: stable-4.14, minVersion: 4.14.2, maxVersion: 4.14.5, shortestPath: true}]", ""},
		"no such one": {"channels: [{name: stable-4.99}]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := b.parse("  platform: " + strings.TrimSuffix("{"+strings.Trim(test.config, "{}")+"}}", "}") + "\n")
			set, err := c.Expand(t.Context(), b.env)
			if (err != nil) != (test.want == "") {
				t.Fatalf("Expand: %v", err)
			}
			if err == nil && releases(set) != test.want {
				t.Errorf("releases are %s\n          want %s", releases(set), test.want)
			}
		})
	}
}

// TestNoUpdate tells of a path that there is not, and takes its ends.
func TestNoUpdate(t *testing.T) {
	b := newBench(t)
	graph := b.channel("c-4.1", "amd64", "4.1.0 4.1.1 4.1.2", "[0,1]")
	b.env.Graph = func(context.Context, imageset.Query) ([]byte, error) { return graph, nil }
	set := b.expand("  platform:\n    channels:\n    - {name: c-4.1, minVersion: 4.1.0, maxVersion: 4.1.2, shortestPath: true}\n")
	if got := releases(set); got != "4.1.0-x86_64 4.1.2-x86_64" {
		t.Errorf("releases are %s", got)
	}
	b.env.Signatures = func(_ context.Context, d oci.Digest) ([][]byte, error) { return [][]byte{[]byte("signed " + d)}, nil }
	set = b.expand("  platform:\n    channels:\n    - {name: c-4.1, minVersion: 4.1.0, maxVersion: 4.1.2, shortestPath: true}\n")
	want := []string{"isc.yaml:6: mirror.platform.channels[0]: in the channel c-4.1 no update leads from 4.1.0 to 4.1.2: only these two are taken"}
	if diff := cmp.Diff(want, notes(set)); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func TestGraphErrors(t *testing.T) {
	const config, at = "  platform:\n    channels:\n    - name: c\n", "isc.yaml:6: mirror.platform.channels[0]: the channel c: "
	b := newBench(t)
	b.fails(config, at+imageset.ErrNoGraph.Error())
	for graph, want := range map[string]string{
		"{": "the update graph: unexpected end of JSON input",
		`{"nodes":[{"version":"x","payload":"a.io/b:c"}]}`:                         `the update graph: node 0: version "x": `,
		`{"nodes":[{"version":"1.0.0","payload":""}]}`:                             `the update graph: node 0: invalid reference "": it is empty`,
		`{"nodes":[{"version":"1.0.0","payload":"a.io/b:c"}],"edges":[[0,1]]}`:     "the update graph: edge 0 does not join two nodes",
		`{"nodes":[{"version":"1.0.0","payload":"a.io/b:c"}],"edges":[[0]]}`:       "the update graph: edge 0 does not join two nodes",
		`{"nodes":[{"version":"1.0.0","metadata":{"` + channelsKey + `":"d,e"}}]}`: "the update graph: it has no release of the channel c",
	} {
		b.env.Graph = func(context.Context, imageset.Query) ([]byte, error) { return []byte(graph), nil }
		_, err := b.parse(config).Expand(t.Context(), b.env)
		if err == nil || !strings.HasPrefix(err.Error(), at+want) {
			t.Errorf("%s\ngave %v\nwant %s", graph, err, at+want)
		}
	}
	b.env.Graph = func(context.Context, imageset.Query) ([]byte, error) { return nil, errors.New("no way") }
	b.fails(config, at+"no way")
}

const channelsKey = "io.openshift.upgrades.graph.release.channels"

// TestSignatures holds that signatures go with the set, and that their lack is
// told.
func TestSignatures(t *testing.T) {
	b := newBench(t)
	m := b.image("ocp/release", gzipped, "amd64", "v1", []string{stream("cli=" + contentRepo + digest("a"))})
	const config = "  platform:\n    release: quay.io/ocp/release:v1\n"
	if got := strings.Join(notes(b.expand(config)), "\n"); !strings.Contains(got, "there is no signature of the release quay.io/ocp/release:v1@"+string(m.Digest)) {
		t.Errorf("notes: %s", got)
	}
	b.env.Signatures = func(_ context.Context, d oci.Digest) ([][]byte, error) {
		return [][]byte{[]byte("one " + d), []byte("two")}, nil
	}
	set := b.expand(config)
	want := []relocate.File{
		{Name: openshift.SignatureFile(m.Digest, 1), Data: []byte("one " + m.Digest)},
		{Name: openshift.SignatureFile(m.Digest, 2), Data: []byte("two")},
	}
	if diff := cmp.Diff(want, set.Files); diff != "" || len(set.Notes) > 0 {
		t.Errorf("files (-want +got):\n%s\nnotes: %v", diff, notes(set))
	}
	b.env.Signatures = func(context.Context, oci.Digest) ([][]byte, error) { return nil, errors.New("no way") }
	b.fails(config, "isc.yaml:5: mirror.platform.release: the signature of the release quay.io/ocp/release:v1: no way")
}

// graphData is what the update service's data looks like.
func graphData(t *testing.T) []byte {
	t.Helper()
	return gzipped(t, tarball(t, []string{"version=1.0.0", "channels/stable-4.15.yaml=name: stable-4.15\n", "../../escaped=x"}))
}

// TestGraphImage builds the image of the update graph upon a base for two
// platforms, twice to the same bytes.
func TestGraphImage(t *testing.T) {
	b := newBench(t)
	b.image("ocp/release", gzipped, "amd64", "v1", []string{stream("cli=" + contentRepo + digest("a"))})
	var bases []regtest.Built
	for _, arch := range []string{"amd64", "arm64"} {
		bases = append(bases, b.image("ubi9/ubi", gzipped, arch, "", []string{"bin/bash=" + arch}))
	}
	b.reg.AddIndex("ubi9/ubi", bases, "latest")
	b.env.GraphData = func(context.Context) ([]byte, error) { return graphData(t), nil }
	const config = "  platform:\n    graph: true\n    release: quay.io/ocp/release:v1\n"
	set := b.expand(config)
	if got := show(set.Images[len(set.Images)-1:])[0]; got != "localhost/openshift/graph-image:latest > /openshift/graph-image:latest graph mirror.platform.graph" {
		t.Errorf("the image is %s", got)
	}
	from := set.Over(b.env.Source)
	r := reference(t, "localhost/openshift/graph-image:latest")
	m, err := from.Manifest(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	links, err := m.Links()
	if err != nil || len(links.Manifests) != 2 {
		t.Fatalf("%s, %v", m.Raw, err)
	}
	for _, child := range links.Manifests {
		b.complete(from, r.Name.WithDigest(child.Digest).String())
	}
	again, err := b.expand(config).Over(b.env.Source).Manifest(t.Context(), r)
	if err != nil || again.Digest != m.Digest {
		t.Errorf("the second one is %s, %v, want %s", again.Digest, err, m.Digest)
	}
	config2, err := from.Manifest(t.Context(), r.Name.WithDigest(links.Manifests[0].Digest))
	if err != nil {
		t.Fatal(err)
	}
	b.runs(from, r.Name, config2)
}

// runs checks what the image of a graph runs, and that its layer has the data.
func (b *bench) runs(from oci.Reader, n ref.Name, m oci.Manifest) {
	b.t.Helper()
	links, err := m.Links()
	if err != nil {
		b.t.Fatal(err)
	}
	read := func(d oci.Digest) []byte {
		blob, err := from.Blob(b.t.Context(), n, d, 0)
		if err != nil {
			b.t.Fatal(err)
		}
		defer blob.Body.Close()
		data, err := io.ReadAll(blob.Body)
		if err != nil {
			b.t.Fatal(err)
		}
		return data
	}
	var config struct {
		Architecture string
		Config       struct{ Cmd []string }
		RootFS       struct {
			Diffs []oci.Digest `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(read(links.Config.Digest), &config); err != nil {
		b.t.Fatal(err)
	}
	want := []string{"/bin/bash", "-c", "exec cp -rp /var/lib/cincinnati-graph-data/* /var/lib/cincinnati/graph-data"}
	if diff := cmp.Diff(want, config.Config.Cmd); diff != "" || config.Architecture != "amd64" {
		b.t.Errorf("the command (-want +got):\n%s", diff)
	}
	z, err := gzip.NewReader(bytes.NewReader(read(links.Layers[len(links.Layers)-1].Digest)))
	if err != nil {
		b.t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil || oci.FromBytes(plain, "") != config.RootFS.Diffs[len(links.Layers)-1] {
		b.t.Errorf("the layer is not what the configuration says: %v", err)
	}
	var names []string
	for r := tar.NewReader(bytes.NewReader(plain)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			b.t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	const dir = "var/lib/cincinnati-graph-data/"
	if diff := cmp.Diff([]string{dir + "version", dir + "channels/stable-4.15.yaml", dir + "escaped"}, names); diff != "" {
		b.t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestGraphImageErrors(t *testing.T) {
	b := newBench(t)
	b.image("ocp/release", gzipped, "amd64", "v1", []string{stream("cli=" + contentRepo + digest("a"))})
	const config, at = "  platform:\n    graph: true\n    release: quay.io/ocp/release:v1\n", "isc.yaml:5: mirror.platform.graph: the update graph"
	b.fails(config, at+": "+imageset.ErrNoGraphData.Error())
	for data, want := range map[string]string{
		"": ": its data: EOF",
		string(gzipped(t, []byte("no tar at all"))):     ": its data: unexpected EOF",
		string(gzipped(t, tarball(t, []string{"a=b"}))): ": its data has no channels: it is something else",
		string(graphData(t)):                            " is made upon registry.access.redhat.com/ubi9/ubi:latest, which cannot be read: manifest unknown",
	} {
		b.env.GraphData = func(context.Context) ([]byte, error) { return []byte(data), nil }
		b.fails(config, at+want)
	}
}
