package oci

import "context"

type viaKey struct{}

// WithVia returns a context that carries the Via header with which a request
// came in, so that the requests that it causes can continue it: mirrors that
// form a loop, over however many hops, then recognise their own request
// (spec/serve.md, A11). Work that is detached with context.WithoutCancel keeps
// it.
func WithVia(ctx context.Context, via string) context.Context {
	return context.WithValue(ctx, viaKey{}, via)
}

// Via returns what [WithVia] put into ctx, "" where there is nothing.
func Via(ctx context.Context) string {
	via, _ := ctx.Value(viaKey{}).(string)
	return via
}
