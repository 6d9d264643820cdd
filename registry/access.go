package registry

import (
	"errors"
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A verb is what a request wants to do to a repository.
type verb uint8

const (
	pull   verb = iota
	push        // an upload's requests too, whatever their method
	remove      // manifests, tags and blobs
)

// rights are what a caller needs for the verb.
func (v verb) rights() access.Rights {
	switch v {
	case pull:
		return access.Pull
	case push:
		return access.Push
	}
	return access.Delete
}

// A loginError says that other credentials are needed: with the cause, those
// that came are wrong, without one there were none, or they are good for less.
type loginError struct {
	scope string // what the request needs, for the challenge; "" for nothing in particular
	short bool   // the credentials are right, but not for this
	err   error  // nil where there were no credentials
}

func (e *loginError) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	return "credentials are needed"
}

func (e *loginError) Unwrap() error { return e.err }

// identify finds out who calls, and refuses whom nothing is allowed. That
// comes before everything else: who may do nothing learns nothing.
func (c *call) identify() error {
	door := c.entry.door
	if !door.Connects(c.r.RemoteAddr) {
		return oci.Errorf(oci.ErrDenied, oci.CodeDenied, "this address may not connect")
	}
	visitor, err := c.visitor()
	if err != nil {
		return err
	}
	if c.caller, err = door.Caller(visitor); err != nil {
		if errors.Is(err, oci.ErrUnauthorized) {
			return &loginError{err: err}
		}
		return err
	}
	if c.caller.Anonymous() && c.entry.policy.Nothing() {
		return &loginError{scope: c.scope()}
	}
	return nil
}

// permit refuses what the caller may not do. It comes before anything is looked
// up, so that a refusal is the same whether there is such a repository or not.
func (c *call) permit() error {
	want := c.verb.rights()
	if c.at.resource == catalog {
		return c.permitCatalog()
	}
	if c.entry.policy.Allows(c.caller, c.target.name, want) {
		return nil
	}
	return c.refuse(want)
}

// refuse says why: a caller who could do more with other credentials is told
// to bring them, all others that they may not.
func (c *call) refuse(want access.Rights) error {
	more := c.caller
	more.Limits = nil
	if !c.caller.Covers(c.target.name, want) && c.entry.policy.Allows(more, c.target.name, want) {
		return &loginError{scope: c.scope(), short: true}
	}
	if c.caller.Anonymous() && c.entry.door.Knows() {
		return &loginError{scope: c.scope()}
	}
	who := "anonymous callers"
	if !c.caller.Anonymous() {
		who = c.caller.User
	}
	return oci.Errorf(oci.ErrDenied, oci.CodeDenied, "%s may not %s here", who, want)
}

// permitCatalog lets in whoever is not held to certain repositories; what a
// caller may not pull is left out of the list.
func (c *call) permitCatalog() error {
	if !c.caller.Covers(ref.Name{}, access.Pull) {
		return &loginError{scope: c.scope(), short: true}
	}
	return nil
}

// lists reports whether a repository of ours stands in the caller's catalog.
func (c *call) lists(path string) bool {
	who := c.caller
	who.Limits = nil // they were looked at as a whole
	return c.entry.policy.Allows(who, ref.Name{Path: path}, access.Pull)
}

// readable reports whether the caller may read a repository that a blob is to
// be mounted from. Without a name it is any of them, so that he must be
// allowed to read all.
func (c *call) readable(from ref.Name) bool {
	if from == (ref.Name{}) {
		return c.entry.policy.AllowsEverywhere(c.caller, access.Pull)
	}
	return c.entry.policy.Allows(c.caller, from, access.Pull)
}

// scope is what the request needs, as challenges and token services write it.
// The name is the repository's own, however the request came to it.
func (c *call) scope() string {
	if c.at.resource == catalog {
		return "registry:catalog:*"
	}
	if c.target.name == (ref.Name{}) {
		return ""
	}
	return Scope(c.target.name, c.verb.rights())
}

// Scope is a repository and what is wanted of it, as token services are told.
// Who may push is asked for the right to pull too, because a push begins with
// looking.
func Scope(name ref.Name, want access.Rights) string {
	if want&access.Push != 0 {
		want |= access.Pull
	}
	return "repository:" + access.Path(name) + ":" + want.String()
}

// challenge is the WWW-Authenticate header that tells a client how to log in.
func (c *call) challenge(err error) string {
	e, _ := errors.AsType[*loginError](err)
	realm := c.entry.door.Realm(c.r)
	if realm == "" {
		return `Basic realm="entrepot"`
	}
	var b strings.Builder
	fmt.Fprintf(&b, `Bearer realm="%s",service="%s"`, realm, c.entry.door.Service())
	if e == nil {
		return b.String()
	}
	if e.scope != "" {
		fmt.Fprintf(&b, `,scope="%s"`, e.scope)
	}
	switch {
	case e.short:
		b.WriteString(`,error="insufficient_scope"`)
	case e.err != nil:
		b.WriteString(`,error="invalid_token"`)
	}
	return b.String()
}

// Repository returns the repository that clients call by a name: its own, or
// an upstream's with its registry in front, as in the scope of a token. False
// means that nobody owns it.
func (h *Handler) Repository(name string) (ref.Name, bool) {
	host, path, _ := strings.Cut(name, "/")
	var ns []string
	if strings.Contains(host, ":") { // no path can hold a port
		name, ns = path, []string{host}
	}
	t, err := h.table.route(name, ns)
	return t.name, err == nil
}
