package imageset

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// Where a release image has what it is made of.
const (
	imageReferences = "release-manifests/image-references"
	bootImages      = "release-manifests/0000_50_installer_coreos-bootimages.yaml"
)

// A release is one that is wanted.
type release struct {
	place   Place
	image   string // the reference
	tag     string // what it is called at the target; "" for its own tag
	version string // "" where it is not known
	arch    string
}

// releases adds the releases of the platform, with what they are made of.
func (x *expansion) releases(ctx context.Context) {
	p := x.cfg.Platform
	var wanted []release
	if p.Release != "" {
		wanted = []release{{place: p.ReleaseAt, image: p.Release}}
	} else if len(p.Channels) > 0 {
		wanted = x.channels(ctx)
	}
	for _, r := range wanted {
		x.release(ctx, r)
	}
	if p.Graph {
		x.graphImage(ctx)
	}
}

// release adds a release.
func (x *expansion) release(ctx context.Context, r release) {
	at, err := ref.Parse(r.image)
	if err != nil {
		x.fail(r.place, err, "", "the release %s", r.image)
		return
	}
	x.add(r.place, relocate.Mention{
		Written: r.image, Target: target("", r.tag), Role: relocate.ReleaseImage, Platforms: x.cfg.Platform.Platforms,
	})
	if x.env.Source == nil {
		x.fail(r.place, nil, "", "the release %s cannot be read from here", r.image)
		return
	}
	p, err := x.payload(ctx, at.WithDefaultTag())
	if err != nil {
		x.fail(r.place, err, "", "read the release %s", r.image)
		return
	}
	for _, image := range p.images {
		x.add(r.place, relocate.Mention{Written: image, Role: relocate.ReleaseContent, Platforms: x.cfg.Platform.Platforms})
	}
	if x.cfg.Platform.KubeVirt {
		x.kubeVirt(r, p)
	}
	x.signatures(ctx, r, p.digest)
}

// A payload is what a release image says.
type payload struct {
	digest oci.Digest
	images []string          // what it is made of, sorted, each one once
	disks  map[string]string // :: architecture as the installer calls it → image of the virtual machine's disk
}

// payload reads a release image. Of one for several architectures those that are
// wanted are read: they name the same images, unless somebody made them by hand.
func (x *expansion) payload(ctx context.Context, r ref.Ref) (payload, error) {
	m, err := x.env.Source.Manifest(ctx, r)
	if err != nil {
		return payload{}, err
	}
	p := payload{digest: m.Digest, disks: map[string]string{}}
	all, err := x.manifestsOf(ctx, r.Name, m)
	if err != nil {
		return p, err
	}
	for _, one := range all {
		names := []string{imageReferences}
		if x.cfg.Platform.KubeVirt {
			names = append(names, bootImages)
		}
		files, err := readFiles(ctx, x.env.Source, r.Name, one, names...)
		if err != nil {
			return p, err
		}
		if err := p.add(files); err != nil {
			return p, err
		}
	}
	slices.Sort(p.images)
	p.images = slices.Compact(p.images)
	return p, nil
}

// manifestsOf returns the image, or those of an index.
func (x *expansion) manifestsOf(ctx context.Context, n ref.Name, m oci.Manifest) ([]oci.Manifest, error) {
	if !oci.IsIndex(m.MediaType) {
		return []oci.Manifest{m}, nil
	}
	links, err := m.Links()
	if err != nil {
		return nil, err
	}
	var all []oci.Manifest
	for _, d := range links.Manifests {
		if d.Platform == nil || d.Platform.OS == "unknown" || !x.wants(d.Platform.OS, d.Platform.Architecture) {
			continue
		}
		child, err := x.env.Source.Manifest(ctx, n.WithDigest(d.Digest))
		if err != nil {
			return nil, err
		}
		all = append(all, child)
	}
	if len(all) == 0 {
		return nil, oci.Errorf(oci.ErrNotFound, "", "it has none of the platforms that are wanted")
	}
	return all, nil
}

func (x *expansion) wants(os, arch string) bool {
	wanted := x.cfg.Platform.Platforms
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(p relocate.Platform) bool { return p.OS == os && p.Architecture == arch })
}

// add reads the files of one image.
func (p *payload) add(files map[string][]byte) error {
	raw, ok := files[imageReferences]
	if !ok {
		return oci.Errorf(oci.ErrInvalid, "", "it has no %s: it is no release image", imageReferences)
	}
	var stream struct {
		Kind string
		Spec struct {
			Tags []struct {
				Name string
				From struct{ Kind, Name string }
			}
		}
	}
	if err := json.Unmarshal(raw, &stream); err != nil {
		return fmt.Errorf("%s: %w", imageReferences, err)
	}
	if stream.Kind != "ImageStream" || len(stream.Spec.Tags) == 0 {
		return oci.Errorf(oci.ErrInvalid, "", "%s is no ImageStream with images", imageReferences)
	}
	for _, t := range stream.Spec.Tags {
		if t.From.Kind != "" && t.From.Kind != "DockerImage" {
			return oci.Errorf(oci.ErrInvalid, "", "%s: %s is from %s, which is no image", imageReferences, t.Name, t.From.Kind)
		}
		if _, err := ref.Parse(t.From.Name); err != nil {
			return fmt.Errorf("%s: %s: %w", imageReferences, t.Name, err)
		}
		p.images = append(p.images, t.From.Name)
	}
	return p.readDisks(files[bootImages])
}

// readDisks reads the images that virtual machines start from (the stream
// metadata of CoreOS, in a ConfigMap).
func (p *payload) readDisks(raw []byte) error {
	if raw == nil {
		return nil
	}
	var object struct {
		Data struct{ Stream string }
	}
	var stream struct {
		Architectures map[string]struct {
			Images struct {
				KubeVirt struct {
					DigestRef string `json:"digest-ref"`
				}
			}
		}
	}
	err := yaml.Unmarshal(raw, &object)
	if err == nil && object.Data.Stream != "" {
		err = json.Unmarshal([]byte(object.Data.Stream), &stream)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", bootImages, err)
	}
	for arch, s := range stream.Architectures {
		if image := s.Images.KubeVirt.DigestRef; image != "" {
			p.disks[arch] = image
		}
	}
	return nil
}

// archNames are what releases and the installer call architectures.
//
//	:: ours → theirs
var archNames = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

func archName(arch string) string { return cmp.Or(archNames[arch], arch) }

// kubeVirt adds the disk images of the wanted architectures.
func (x *expansion) kubeVirt(r release, p payload) {
	c := x.cfg.Platform
	arches := slices.Clone(c.Architectures)
	for _, w := range c.Platforms {
		arches = append(arches, w.Architecture)
	}
	if len(arches) == 0 {
		arches = []string{"amd64"}
	}
	if slices.Contains(arches, "multi") {
		arches = nil
		for arch := range p.disks {
			arches = append(arches, arch)
		}
	}
	slices.Sort(arches)
	n := 0
	for _, arch := range slices.Compact(arches) {
		if image := p.disks[archName(arch)]; image != "" {
			n++
			x.add(c.KubeVirtAt, relocate.Mention{Written: image, Role: relocate.ReleaseContent})
		}
	}
	if n == 0 {
		x.fail(c.KubeVirtAt, nil, "leave kubeVirtContainer out", "the release %s has no KubeVirt image for %s", r.image, strings.Join(arches, ", "))
	}
}
