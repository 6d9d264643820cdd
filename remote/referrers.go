package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// Referrers asks the referrers API, and where the registry has none reads the
// list under the tag of the referrers tag schema (distribution-spec 1.1,
// "Listing Referrers"). At most oci.MaxDescriptors are returned; more are
// ErrTooLarge.
func (e *Endpoint) Referrers(ctx context.Context, n ref.Name, d oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	if err := checkDigest(n, d); err != nil {
		return nil, err
	}
	all, err := e.subjects(ctx, n, d, artifactType)
	if errors.Is(err, errNoReferrers) {
		return e.referrersTag(ctx, n, d, artifactType)
	}
	return all, err
}

// Subjects asks the referrers API alone. Whether an endpoint has one is found
// out once.
func (e *Endpoint) Subjects(ctx context.Context, n ref.Name, d oci.Digest) ([]oci.Descriptor, error) {
	if err := checkDigest(n, d); err != nil {
		return nil, err
	}
	if done, unlock := e.api.begin(); !done {
		defer unlock() // whoever comes meanwhile waits for what is found out
	}
	if e.api.has.Load() == apiNone {
		return nil, noReferrers(errNoReferrers)
	}
	all, err := e.subjects(ctx, n, d, "")
	switch {
	case errors.Is(err, errNoReferrers):
		e.api.has.Store(apiNone)
		return nil, noReferrers(err)
	case err == nil:
		e.api.has.Store(apiThere)
	}
	return all, err
}

// An apiState is what is known of an endpoint's referrers API.
type apiState struct {
	mu  sync.Mutex // held by the first to ask
	has atomic.Int32
}

const (
	apiUnknown = iota
	apiThere
	apiNone
)

// begin reports whether it is known. Where it is not, the caller finds out, and
// then calls unlock.
func (a *apiState) begin() (known bool, unlock func()) {
	if a.has.Load() != apiUnknown {
		return true, nil
	}
	a.mu.Lock()
	if a.has.Load() != apiUnknown {
		a.mu.Unlock()
		return true, nil
	}
	return false, a.mu.Unlock
}

func noReferrers(err error) error {
	return &oci.Error{Kind: oci.ErrUnsupported, Code: oci.CodeUnsupported, Message: "the upstream has no referrers API", Err: err}
}

// subjects asks the API. The error is errNoReferrers where there is none.
func (e *Endpoint) subjects(ctx context.Context, n ref.Name, d oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	all, err := e.referrersAPI(ctx, n, d, artifactType)
	switch kindOf(err) {
	case oci.ErrNotFound, oci.ErrInvalid, oci.ErrUnsupported:
		return nil, fmt.Errorf("%w: %w", errNoReferrers, err)
	}
	return all, err
}

var errNoReferrers = errors.New("the answer is no list of referrers")

func (e *Endpoint) referrersAPI(ctx context.Context, n ref.Name, d oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	q := e.reading()
	if artifactType != "" {
		q.Set("artifactType", artifactType)
	}
	x := exchange{
		kind: KindReferrers, method: http.MethodGet, name: n, scopes: []string{e.scope(n, "pull")},
		url: e.url(n, "referrers/"+string(d), q), header: http.Header{"Accept": {oci.TypeImageIndex}}, want: []int{http.StatusOK},
	}
	var all []oci.Descriptor
	for raw, err := range e.pages(ctx, x) {
		if err != nil {
			return nil, err
		}
		var doc struct {
			SchemaVersion int              `json:"schemaVersion"`
			Manifests     []oci.Descriptor `json:"manifests"`
		}
		// A registry that does not know the path may answer it with a page of
		// its own.
		if json.Unmarshal(raw, &doc) != nil || doc.SchemaVersion != 2 {
			return nil, errNoReferrers
		}
		if all, err = appendReferrers(all, doc.Manifests, artifactType); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (e *Endpoint) referrersTag(ctx context.Context, n ref.Name, d oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	m, err := e.Manifest(ctx, n.WithTag(oci.FallbackTag(d)))
	if errors.Is(err, oci.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	links, err := m.Links()
	if err != nil {
		return nil, mismatch("%s: read the list of referrers: %w", e.cfg.Label, err)
	}
	return appendReferrers(nil, links.Manifests, artifactType)
}

// appendReferrers appends those of a type. Whether the registry filtered, as
// OCI-Filters-Applied would say, is no matter: filtering twice is the same.
func appendReferrers(all, some []oci.Descriptor, artifactType string) ([]oci.Descriptor, error) {
	for _, d := range some {
		if artifactType != "" && d.ArtifactType != artifactType {
			continue
		}
		if _, err := ref.ParseDigest(string(d.Digest)); err != nil || d.Size < 0 || !strings.Contains(d.MediaType, "/") {
			return nil, mismatch("a referrer's descriptor is malformed")
		}
		if all = append(all, d); len(all) > oci.MaxDescriptors {
			return nil, oci.Errorf(oci.ErrTooLarge, "", "there are more than %d referrers", oci.MaxDescriptors)
		}
	}
	return all, nil
}
