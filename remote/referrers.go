package remote

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

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
	all, err := e.referrersAPI(ctx, n, d, artifactType)
	switch {
	case err == nil:
		return all, nil
	case errors.Is(err, errNoReferrers):
	case kindOf(err) == oci.ErrNotFound, kindOf(err) == oci.ErrInvalid, kindOf(err) == oci.ErrUnsupported:
	default:
		return nil, err
	}
	return e.referrersTag(ctx, n, d, artifactType)
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
