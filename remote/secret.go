package remote

import "github.com/entrepot/entrepot/oci"

// A Secret is text that must not be shown; see [oci.Secret].
type Secret = oci.Secret

// NewSecret returns a Secret that holds s.
func NewSecret(s string) Secret { return oci.NewSecret(s) }
