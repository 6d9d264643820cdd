package remote

import (
	"context"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// cancelTime is how long an upload that nobody wants may take to end.
const cancelTime = 10 * time.Second

// MayPush returns why the registry would refuse a push to a repository, nil
// where it would not: it begins an upload, which is what a push begins with, and
// cancels it before any byte. A registry that makes a repository when its first
// upload begins has made it then; what else it keeps of a cancelled upload, as
// distribution an empty directory, is not to be seen in it and goes when it next
// cleans up.
func (e *Endpoint) MayPush(ctx context.Context, n ref.Name) error {
	empty := oci.FromBytes(nil, "")
	if err := checkDigest(n, empty); err != nil {
		return err
	}
	free, err := e.client.limits.enter(ctx, limitKey{hostPort(e.base), KindUpload})
	if err != nil {
		return err
	}
	defer free()
	s, err := e.newSession(ctx, n, empty)
	if err != nil {
		return err
	}
	// It has begun, and is ended even where the caller has given up meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
	defer cancel()
	e.cancel(ctx, s)
	return nil
}
