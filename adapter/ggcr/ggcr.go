// Package ggcr pulls images by mirror rules, for programs that use
// google/go-containerregistry.
//
// A [Puller] asks the places that a [rules.Set] plans for an image, in their
// order, until one can be reached and read. What it returns are
// go-containerregistry's own types under the name that was asked for:
//
//	cfg, err := ggcr.FromEnv(os.Getenv) // CNB_REGISTRY_MIRRORS
//	p, err := ggcr.New(cfg)
//	defer p.Close()
//	img, found, err := p.Image(ctx, ref)
//
// It is an [http.RoundTripper] as well. A program that has its calls of package
// remote already passes it there and changes nothing else:
//
//	img, err := remote.Image(ref, remote.WithTransport(p))
//
// It reads: manifests and blobs from any place, lists of tags and referrers
// from the last. Requests that write are refused. Credentials come from its own
// keychain, asked with the host of the place, so that an image's credentials
// never reach a mirror; those that the caller gives to package remote are not
// used.
package ggcr

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/conf"
)

// A Config configures a Puller. The zero value reads every image from its own
// registry, anonymously.
type Config struct {
	// Rules say where images are; nil means in their own registries.
	Rules *rules.Set
	// Dialect is how the rules are understood; the zero value is rules.Native.
	Dialect rules.Dialect
	// Keychain holds the credentials of each place; nil is anonymous. Docker
	// Hub is asked for as index.docker.io, as everywhere in
	// go-containerregistry.
	Keychain authn.Keychain
	// Transport carries the requests; nil is remote.DefaultTransport. It is
	// copied. Rules add authorities, client certificates and the time to dial.
	Transport *http.Transport
	// Options are passed to package remote: platform, jobs, retries. Transport,
	// credentials and context are the Puller's.
	Options []remote.Option
	// Log gets a line for each place that failed; nil discards.
	Log *slog.Logger
}

// FromEnv returns a Config with the rules of CNB_REGISTRY_MIRRORS, as the
// buildpacks lifecycle would read them. The error is a [*rules.Problem] where
// the variable is wrong.
func FromEnv(getenv func(string) string) (Config, error) {
	d, err := rules.DialectOf("lifecycle")
	if err != nil {
		return Config{}, err
	}
	src, err := conf.System("lifecycle", conf.Machine{Getenv: getenv})
	if err != nil {
		return Config{}, err
	}
	c, err := conf.Read(src, d)
	if err != nil {
		return Config{}, err
	}
	if c.Refused != nil {
		return Config{}, c.Refused
	}
	return Config{Rules: rules.New(c), Dialect: d}, nil
}

// A Puller reads images from the places that rules plan. Its methods are safe
// for concurrent use. Make one with [New].
type Puller struct {
	cfg  Config
	log  *slog.Logger
	base *http.Transport

	mu      sync.Mutex                 // guards what follows
	carried map[string]*http.Transport // :: settings → connections of places that have these
	asked   map[line]*session          // :: place and repository → how it is authorised

	served sync.Map // :: ref.Name → rules.Try; the place of a repository's last manifest
}

var _ http.RoundTripper = (*Puller)(nil)

// New returns a Puller. Nothing is asked yet. Whoever made it closes it.
func New(cfg Config) (*Puller, error) {
	if cfg.Rules == nil {
		cfg.Rules = rules.New(rules.Config{})
	}
	if cfg.Dialect.HubWire == "" {
		cfg.Dialect = rules.Native()
	}
	if cfg.Keychain == nil {
		cfg.Keychain = authn.NewMultiKeychain() // anonymous
	}
	if cfg.Transport == nil {
		t, ok := remote.DefaultTransport.(*http.Transport)
		if !ok {
			return nil, errors.New("remote.DefaultTransport is no *http.Transport: set Config.Transport")
		}
		cfg.Transport = t
	}
	p := &Puller{cfg: cfg, log: cfg.Log, base: cfg.Transport.Clone(), carried: map[string]*http.Transport{}, asked: map[line]*session{}}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	return p, nil
}

// Close closes idle connections. Layers that are being read stay readable. It
// always returns nil.
func (p *Puller) Close() error {
	p.base.CloseIdleConnections()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.carried {
		t.CloseIdleConnections()
	}
	return nil
}

// Found says where something was read.
type Found struct {
	// Ref is what was asked for, and what the result is called.
	Ref name.Reference
	// From is the image as it is called where it was read.
	From string
	// Failed are the places that were asked before, in order.
	Failed []Attempt
}

// Get reads a manifest. Images and indexes of the result read from all places
// as well; ctx governs that, too.
func (p *Puller) Get(ctx context.Context, ref name.Reference) (*remote.Descriptor, Found, error) {
	ctx, rec := p.record(ctx, ref)
	d, err := remote.Get(ref, p.options(ctx)...)
	return d, rec.found(), err
}

// Head asks for a manifest's digest, size and media type.
func (p *Puller) Head(ctx context.Context, ref name.Reference) (*v1.Descriptor, Found, error) {
	ctx, rec := p.record(ctx, ref)
	d, err := remote.Head(ref, p.options(ctx)...)
	return d, rec.found(), err
}

// Image reads an image; of an index the one for the platform of the options.
// Its layers are read from all places as well; ctx governs that, too.
func (p *Puller) Image(ctx context.Context, ref name.Reference) (v1.Image, Found, error) {
	ctx, rec := p.record(ctx, ref)
	img, err := remote.Image(ref, p.options(ctx)...)
	return img, rec.found(), err
}

// Index reads an index. Its images are read from all places as well; ctx
// governs that, too.
func (p *Puller) Index(ctx context.Context, ref name.Reference) (v1.ImageIndex, Found, error) {
	ctx, rec := p.record(ctx, ref)
	idx, err := remote.Index(ref, p.options(ctx)...)
	return idx, rec.found(), err
}

func (p *Puller) options(ctx context.Context) []remote.Option {
	all := append([]remote.Option{}, p.cfg.Options...)
	return append(all, remote.WithTransport(p), remote.WithContext(ctx), remote.WithAuth(nil), remote.WithAuthFromKeychain(nil))
}

// A recorder takes down where the first manifest of a call was read.
type recorder struct {
	ref      name.Reference
	insecure bool // the name was made with name.Insecure

	mu   sync.Mutex // guards what follows
	done bool
	got  Found
}

type recorderKey struct{}

func (p *Puller) record(ctx context.Context, ref name.Reference) (context.Context, *recorder) {
	rec := &recorder{ref: ref, insecure: ref.Context().Scheme() == "http"}
	return context.WithValue(ctx, recorderKey{}, rec), rec
}

// note takes down where a manifest was read; "" for nowhere.
func (r *recorder) note(from string, failed []Attempt) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.done {
		r.done = from != ""
		r.got.From, r.got.Failed = from, failed
	}
}

func (r *recorder) found() Found {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Found{Ref: r.ref, From: r.got.From, Failed: r.got.Failed}
}

// recorderOf returns the recorder of a call, nil for none.
func recorderOf(ctx context.Context) *recorder {
	rec, _ := ctx.Value(recorderKey{}).(*recorder)
	return rec
}
