package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
)

// The upstreams of these tests. Nothing resolves these names, so that what
// arrives went through the mirror.
const (
	firstUpstream  = "upstream.invalid"
	secondUpstream = "second.invalid"
)

// A client is a program that people pull images with.
type client struct {
	name  string
	tools []string // programs that it needs
	ns    bool     // whether it names the upstream by ns
	all   bool     // whether it takes every platform of an index
	skip  []string // tags that it cannot pull
	// pull pulls the image through the mirror into a fresh place of its own
	// and checks that it has what the origin has. By is what the client is
	// told: a tag or a digest.
	pull func(t *testing.T, at mirrorAt, im *image, by string)
}

// A mirrorAt says how a client is pointed at the mirror.
type mirrorAt struct {
	address  string // host and port of Entrepot
	upstream string // the name that the image has in the client's eyes
}

// prefix is the upstream's place behind the mirror's address.
func (m mirrorAt) prefix() string { return m.address + "/" + m.upstream }

var clients = []client{
	{name: "skopeo", tools: []string{"skopeo"}, all: true, pull: pullSkopeo},
	{name: "podman", tools: []string{"podman"}, pull: pullPodman},
	{name: "containerd", tools: []string{"containerd", "ctr"}, ns: true, pull: pullContainerd},
	{name: "crane", tools: []string{"crane"}, all: true, pull: pullCrane},
	{name: "oras-go", all: true, pull: pullOras},
	{name: "dockerd", tools: []string{"dockerd"}, skip: []string{"mixed"}, pull: pullDockerd},
	{name: "plain", all: true, pull: pullPlain},
}

// TestRealClients pulls images made of Debian packages through one running
// Entrepot with every client of this machine, cold and warm, by tag and by
// digest, from two upstreams that have the same names for other content.
func TestRealClients(t *testing.T) {
	first, second := startOrigin(t), startOrigin(t)
	e := serve(t, serving{upstreams: []upstream{
		{name: firstUpstream, url: first.url, more: "default = true"},
		{name: secondUpstream, url: second.url},
	}})
	front := newWire(t, e.url)
	common := commonImage(t)
	push(t, first.direct, common)

	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			for _, tool := range c.tools {
				kit.tool(t, tool)
			}
			r := clientRun{client: c, front: front}
			r.images(t, first, mirrorAt{front.address(), firstUpstream}, "multi", "docker", "mixed")
			if c.name != "dockerd" && c.name != "plain" { // these name no upstream
				r.images(t, second, mirrorAt{front.address(), secondUpstream}, "multi")
			}
			r.pull(t, mirrorAt{front.address(), firstUpstream}, common, common.tag)
		})
	}
}

// A clientRun is one client behind the wire.
type clientRun struct {
	client
	front *wire
}

// images fills an origin with images of this client's own, so that they are
// cold, pulls them and pulls them again.
func (r clientRun) images(t *testing.T, o *origin, at mirrorAt, tags ...string) {
	t.Helper()
	for _, im := range clientImages(t, "real/"+r.name, at.upstream+" and "+r.name) {
		if !slices.Contains(tags, im.tag) || slices.Contains(r.skip, im.tag) {
			continue
		}
		push(t, o.direct, im)
		o.take()
		r.pull(t, at, im, im.tag)
		checkCold(t, o.take(), im, r.all)

		r.pull(t, at, im, im.tag)
		if im.tag == "multi" {
			r.pull(t, at, im, string(im.root().Digest))
		}
		if log := o.take(); len(log.of("", "blobs"))+len(log.of("GET", "manifests")) > 0 {
			t.Errorf("%s:%s is warm, but the upstream was asked for\n%s", im.repo, im.tag, log)
		}
	}
}

// pull pulls once and holds the wire between client and mirror to account.
func (r clientRun) pull(t *testing.T, at mirrorAt, im *image, by string) {
	t.Helper()
	r.front.take()
	r.client.pull(t, at, im, by)
	log := r.front.take()
	if t.Failed() {
		t.Fatalf("the wire to the mirror:\n%s", log)
	}
	got := make(map[oci.Digest]bool)
	for _, e := range log {
		if ns := strings.Contains(e.Query, "ns="+at.upstream); ns != r.ns {
			t.Errorf("%s: ns sent: %v, want %v", e, ns, r.ns)
		}
		if e.Method == "GET" && e.Status == 200 {
			got[oci.Digest(e.Digest)] = true
		}
	}
	for _, d := range im.closure(r.all) {
		if !got[d] {
			t.Errorf("%s:%s by %s: %s did not go over the wire whole and unchanged\n%s", im.repo, im.tag, by, d, log)
		}
	}
}

// checkCold holds the wire to the upstream to account: every blob of the image
// was fetched, once.
func checkCold(t *testing.T, log exchanges, im *image, all bool) {
	t.Helper()
	times := make(map[oci.Digest]int)
	for _, e := range log.of("GET", "blobs") {
		times[oci.Digest(e.last())]++
	}
	for _, d := range im.closure(all) {
		if _, isBlob := im.blobs[d]; isBlob && times[d] != 1 {
			t.Errorf("%s:%s: blob %s was fetched %d times, want once\n%s", im.repo, im.tag, d, times[d], log)
		}
	}
	if heads := log.of("HEAD", "blobs"); len(heads) > 0 {
		t.Errorf("%s:%s: a blob that is missing needs no HEAD\n%s", im.repo, im.tag, heads)
	}
	if sent := log.of("", "blobs").bytes() + log.of("", "manifests").bytes(); sent > im.size() {
		t.Errorf("%s:%s: the upstream sent %d bytes, the image has %d\n%s", im.repo, im.tag, sent, im.size(), log)
	}
}

// clientImages are a two-platform index, a Docker schema 2 image and one with
// a zstd and a plain layer, none of which shares a byte with those of another
// salt.
func clientImages(t *testing.T, repo, salt string) []*image {
	t.Helper()
	of := func(form squeeze, name string) layer {
		return layer{salted(t, kit.tar(t, name), salt), form}
	}
	multi := newImage(repo, "multi")
	multi.index(t,
		multi.platform(t, "amd64", false, of(gzipped, "libc6"), of(gzipped, "bash")),
		multi.platform(t, "arm64", false, of(gzipped, "tzdata"), of(gzipped, "ca-certificates")))
	docker := newImage(repo, "docker")
	docker.platform(t, "amd64", true, of(gzipped, "coreutils"), of(gzipped, "dash"))
	mixed := newImage(repo, "mixed")
	other := zstandard
	if _, ok := kit.find("zstd"); !ok {
		kit.miss(t, "zstd layer", notHere)
		other = gzipped
	}
	mixed.platform(t, "amd64", false, of(other, "perl-base"), of(plain, "ca-certificates"))
	return []*image{multi, docker, mixed}
}

// commonImage is one of several large layers that all clients pull.
func commonImage(t *testing.T) *image {
	t.Helper()
	im := newImage("real/common", "v1")
	var layers []layer
	for _, name := range []string{"libc6", "bash", "coreutils", "perl-base", "git"} {
		layers = append(layers, layer{kit.tar(t, name), gzipped})
	}
	im.platform(t, "amd64", false, layers...)
	return im
}

// closure lists the digests that a client of linux/amd64 takes, or those of
// all platforms.
func (im *image) closure(all bool) []oci.Digest {
	var ds []oci.Digest
	seen := make(map[oci.Digest]bool)
	var walk func(d oci.Digest)
	walk = func(d oci.Digest) {
		if seen[d] {
			return
		}
		seen[d] = true
		ds = append(ds, d)
		i := slices.IndexFunc(im.manifests, func(m oci.Manifest) bool { return m.Digest == d })
		if i < 0 {
			return
		}
		links, err := im.manifests[i].Links()
		if err != nil {
			panic(fmt.Sprintf("%s:%s was built wrong: %v", im.repo, im.tag, err))
		}
		for _, b := range links.Blobs() {
			walk(b.Digest)
		}
		for _, m := range links.Manifests {
			if all || m.Platform.Architecture == "amd64" {
				walk(m.Digest)
			}
		}
	}
	walk(im.root().Digest)
	return ds
}
