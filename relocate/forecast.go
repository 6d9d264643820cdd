package relocate

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Forecast is what a run would do, as far as manifests tell. Unless they are
// left behind, what refers to the images, as signatures do, is in it.
type Forecast struct {
	Images []ImageForecast `json:"images"`
	// Sources and Targets are what the registries would give and get, by their
	// names.
	Sources []Traffic `json:"sources"`
	Targets []Traffic `json:"targets"`
	// ListedBytes counts the blobs of every image; UniqueBytes counts each blob
	// once.
	ListedBytes int64 `json:"listed_bytes"`
	UniqueBytes int64 `json:"unique_bytes"`
	// Referrers is what refers to the images, and ReferrerBytes its blobs, which
	// the other figures count too.
	Referrers     int   `json:"referrers"`
	ReferrerBytes int64 `json:"referrer_bytes"`
}

// An ImageForecast is what would become of one image.
type ImageForecast struct {
	Source   string     `json:"source"`
	Digest   oci.Digest `json:"digest"`
	Target   string     `json:"target"`
	Present  bool       `json:"present"`            // the tag is what it should be
	Existing oci.Digest `json:"existing,omitempty"` // what the tag is, where that is something else
	Bytes    int64      `json:"bytes"`              // of its blobs, and of those of what refers to it
	// Referrers is how many signatures, attestations and the like it has.
	Referrers int    `json:"referrers"`
	Error     string `json:"error,omitempty"` // why it would fail
	Class     string `json:"class,omitempty"`
	Hint      string `json:"hint,omitempty"`
}

// Traffic is what goes to or comes from one registry, in bytes of blobs.
type Traffic struct {
	Registry string `json:"registry"`
	Pull     int64  `json:"pull_bytes"`
	Push     int64  `json:"push_bytes"`
	Mount    int64  `json:"mount_bytes"`
	Present  int64  `json:"present_bytes"`
}

// Foresee asks source and target what a run would have to do, and writes
// nothing. A target that is a [Prober] is asked whether it would take the pushes.
// The error is that of ctx, or says as that of [Run] that the target
// lacks what the source leaves out; whatever else would fail is in the forecast.
func Foresee(ctx context.Context, cfg Config, pairs []Pair) (Forecast, error) {
	f := &forecaster{cfg: cfg, run: newRun(Config{Source: cfg.Source}, nil), images: make([]foreseen, len(pairs))}
	var err error
	if f.base, err = cfg.findBase(ctx, pairs); err != nil {
		return Forecast{}, err
	}
	var g errgroup.Group
	g.SetLimit(cmp.Or(cfg.Jobs, forecastJobs))
	for i, p := range pairs {
		g.Go(func() error {
			f.images[i].pair = p
			f.images[i].err = f.image(ctx, &f.images[i])
			return nil
		})
	}
	_ = g.Wait() // what fails is an image's
	f.rights(ctx)
	if err := context.Cause(ctx); err != nil {
		return Forecast{}, err
	}
	return f.sum(), nil
}

// forecastJobs is how many images are asked about at once.
const forecastJobs = 16

// A forecaster makes one forecast.
type forecaster struct {
	cfg    Config
	run    *run // knows the tags of repositories
	images []foreseen
	base   map[oci.Digest]ref.Name // :: blob that the source leaves out → where the target has it
	repos  flights[ref.Name, bool] // :: repository of the target → it is there
	has    flights[placed, bool]   // :: blob and repository of the target → it is there
}

// foreseen is what is known of an image.
type foreseen struct {
	pair     Pair
	digest   oci.Digest
	existing oci.Digest // the target's tag; "" for none
	exists   bool       // the target's repository
	blobs    map[oci.Digest]*blobSeen
	err      error

	manifests []oci.Digest
	attaching bool // what is found refers to the image
	referrers int
}

type blobSeen struct {
	size     int64
	there    bool
	attached bool // it is of what refers to the image alone
}

// saw notes a blob that is to be copied.
func (img *foreseen) saw(d oci.Descriptor) {
	if img.blobs[d.Digest] == nil && !isForeign(d) {
		img.blobs[d.Digest] = &blobSeen{size: d.Size, attached: img.attaching}
	}
}

func (f *forecaster) image(ctx context.Context, img *foreseen) error {
	m, err := f.cfg.Source.Manifest(ctx, img.pair.Source)
	if err != nil {
		return f.cfg.unkept(ctx, img.pair, err)
	}
	img.digest, img.blobs = m.Digest, make(map[oci.Digest]*blobSeen)
	if err := f.walk(ctx, img, m, true, 0); err != nil {
		return err
	}
	if !f.cfg.NoReferrers {
		if err := f.attach(ctx, img); err != nil {
			return err
		}
	}
	return f.compare(ctx, img)
}

// compare finds out what of an image the target has.
func (f *forecaster) compare(ctx context.Context, img *foreseen) (err error) {
	to := img.pair.Target
	img.exists, _, err = f.repos.do(ctx, to.Name, func() (bool, error) { return f.exists(ctx, to.Name) })
	if err != nil || !img.exists {
		return err
	}
	d, err := f.cfg.Target.Resolve(ctx, to.Name.WithTag(to.Tag))
	if err != nil && !errors.Is(err, oci.ErrNotFound) && !f.blind(err) {
		return err
	}
	img.existing = d.Digest
	for digest, b := range img.blobs {
		if img.existing == img.digest && !b.attached {
			b.there = true
			continue
		}
		b.there, _, err = f.has.do(ctx, placed{to.Name, digest}, func() (bool, error) { return f.holds(ctx, to.Name, digest) })
		if err != nil {
			return err
		}
	}
	return nil
}

// walk notes the blobs of a manifest and of those below it.
func (f *forecaster) walk(ctx context.Context, img *foreseen, m oci.Manifest, sparse bool, depth int) error {
	links, err := m.Links()
	switch {
	case err != nil:
		return err
	case depth > maxDepth:
		return oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "indexes are nested more than %d deep", maxDepth)
	}
	if sparse {
		links.Manifests = f.cfg.images(img.pair, links.Manifests)
	}
	img.manifests = append(img.manifests, m.Digest)
	for _, d := range links.Blobs() {
		img.saw(d)
	}
	for _, d := range links.Manifests {
		if !oci.IsManifest(d.MediaType) {
			img.saw(d)
			continue
		}
		child, err := f.cfg.Source.Manifest(ctx, img.pair.Source.Name.WithDigest(d.Digest))
		if err != nil {
			return err
		}
		if err := f.walk(ctx, img, child, false, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// exists reports whether the target has a repository. One that it cannot list
// may be there.
func (f *forecaster) exists(ctx context.Context, n ref.Name) (bool, error) {
	lister, ok := f.cfg.Target.(oci.Lister)
	if !ok {
		return true, nil
	}
	for _, err := range lister.Tags(ctx, n, "") {
		if errors.Is(err, oci.ErrNotFound) {
			return false, nil
		}
		if f.blind(err) {
			break
		}
		return true, err
	}
	return true, nil
}

func (f *forecaster) holds(ctx context.Context, n ref.Name, d oci.Digest) (bool, error) {
	_, err := f.cfg.Target.Stat(ctx, n, d)
	if errors.Is(err, oci.ErrNotFound) || f.blind(err) {
		return false, nil
	}
	return err == nil, err
}

// sum makes the forecast of what is known.
func (f *forecaster) sum() Forecast {
	out := Forecast{Images: []ImageForecast{}}
	t := tally{sources: map[string]*Traffic{}, targets: map[string]*Traffic{}, at: map[hostBlob]bool{}, done: map[placed]bool{}, read: map[oci.Digest]bool{}}
	for d, n := range f.base {
		t.at[hostBlob{n.Host, d}] = true
	}
	for i := range f.images { // what is there can be mounted from, whichever image comes first
		for d, b := range f.images[i].blobs {
			if b.there {
				t.at[hostBlob{f.images[i].pair.Target.Host, d}] = true
			}
		}
	}
	for i := range f.images {
		img := &f.images[i]
		out.Images = append(out.Images, img.forecast())
		if img.err != nil {
			continue
		}
		out.Referrers += img.referrers
		for d, b := range img.blobs {
			out.ListedBytes += b.size
			if b.attached {
				out.ReferrerBytes += b.size
			}
			if !t.read[d] {
				out.UniqueBytes += b.size
				t.read[d] = true
			}
			t.count(img, d, b)
		}
	}
	out.Sources, out.Targets = sorted(t.sources), sorted(t.targets)
	return out
}

type hostBlob struct {
	host   string
	digest oci.Digest
}

// A tally counts each blob where it would move.
type tally struct {
	sources, targets map[string]*Traffic
	at               map[hostBlob]bool // :: blob → the target's registry has it by then
	done             map[placed]bool
	read             map[oci.Digest]bool
}

func (t *tally) count(img *foreseen, d oci.Digest, b *blobSeen) {
	to := img.pair.Target.Name
	if t.done[placed{to, d}] {
		return
	}
	t.done[placed{to, d}] = true
	target, key := trafficAt(t.targets, to.Host), hostBlob{to.Host, d}
	switch {
	case b.there:
		target.Present += b.size
	case t.at[key]:
		target.Mount += b.size
	default:
		t.at[key] = true
		target.Push += b.size
		trafficAt(t.sources, img.pair.Source.Host).Pull += b.size
	}
}

func trafficAt(m map[string]*Traffic, host string) *Traffic {
	if m[host] == nil {
		m[host] = &Traffic{Registry: host}
	}
	return m[host]
}

func sorted(m map[string]*Traffic) []Traffic {
	out := []Traffic{}
	for _, t := range m {
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b Traffic) int { return cmp.Compare(a.Registry, b.Registry) })
	return out
}

func (img *foreseen) forecast() ImageForecast {
	one := ImageForecast{Source: img.pair.Source.String(), Target: img.pair.Target.String(), Digest: img.digest, Referrers: img.referrers}
	for _, b := range img.blobs {
		one.Bytes += b.size
	}
	switch {
	case img.err != nil:
		one.Error, one.Class, one.Hint = img.err.Error(), Class(img.err), hintOf(img.err)
	case img.existing == img.digest:
		one.Present = true
	default:
		one.Existing = img.existing
	}
	return one
}
