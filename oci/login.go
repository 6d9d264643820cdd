package oci

import "context"

type loginKey struct{}

// WithLogin returns a context that carries what a caller sent as his
// Authorization for an upstream, which is for that upstream and nobody else.
func WithLogin(ctx context.Context, authorization Secret) context.Context {
	if authorization.Empty() {
		return ctx
	}
	return context.WithValue(ctx, loginKey{}, authorization)
}

// LoginOf returns the Authorization that ctx carries, empty for none.
func LoginOf(ctx context.Context) Secret {
	s, _ := ctx.Value(loginKey{}).(Secret)
	return s
}
