package remote

import (
	"context"
	"errors"
	"net/http"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

var _ oci.Deleter = (*Endpoint)(nil)

// DeleteTag deletes a tag. ErrUnsupported where the registry cannot.
func (e *Endpoint) DeleteTag(ctx context.Context, n ref.Name, tag string) error {
	if err := checkRef(n.WithTag(tag)); err != nil {
		return err
	}
	return e.delete(ctx, n, KindManifest, "manifests/"+tag)
}

// DeleteManifest deletes a manifest with its tags.
func (e *Endpoint) DeleteManifest(ctx context.Context, n ref.Name, d oci.Digest) error {
	if err := checkDigest(n, d); err != nil {
		return err
	}
	return e.delete(ctx, n, KindManifest, "manifests/"+string(d))
}

// DeleteBlob deletes a blob from its repository.
func (e *Endpoint) DeleteBlob(ctx context.Context, n ref.Name, d oci.Digest) error {
	if err := checkDigest(n, d); err != nil {
		return err
	}
	return e.delete(ctx, n, KindBlob, "blobs/"+string(d))
}

func (e *Endpoint) delete(ctx context.Context, n ref.Name, kind Kind, below string) error {
	res, err := e.run(ctx, exchange{
		kind: kind, method: http.MethodDelete, name: n, scopes: []string{e.scope(n, "delete")},
		url: e.url(n, below, nil), want: []int{http.StatusAccepted, http.StatusOK, http.StatusNoContent},
	})
	if told, ok := errors.AsType[*oci.Error](err); ok && told.Kind == oci.ErrInvalid {
		told.Kind, told.Code = oci.ErrUnsupported, oci.CodeUnsupported // distribution-spec 1.1, "Deleting": 400 or 405
	}
	if err != nil {
		return err
	}
	discard(res)
	return nil
}
