// Package registry speaks the OCI distribution protocol (distribution-spec
// 1.1 and what main has added since) in front of any backend.
//
// A request's name is routed by [Routes] to one of three readers: Hosted holds
// our own repositories and takes pushes where it has the powers for it,
// Proxied reads other registries and Archived archives, which are read-only.
//
//	h, err := registry.New(registry.Config{
//		Routes:  registry.Routes{Upstreams: []registry.Upstream{{Name: "docker.io"}}},
//		Hosted:  vault,
//		Proxied: proxy,
//		Access:  access.Policy{Anonymous: access.All},
//	})
//	http.Handle("/v2/", h)
//
// The handler must get the server's own ResponseWriter: behind a wrapper,
// files no longer go out by sendfile.
package registry

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/oci"
)

// Config says what a [Handler] serves. The zero value serves nothing: no name
// has an owner and nobody has a right.
type Config struct {
	// Routes says who owns which names.
	Routes Routes
	// Hosted holds our own repositories; nil means that there are none. What
	// it can besides reading is found by assertion: oci.Writer, Lister,
	// Catalog, ReferrersLister, Mounter, Deleter, Uploader. Names have no
	// Host.
	Hosted oci.Reader
	// Proxied reads from the upstreams, nil where there are none; by
	// assertion an oci.Lister, oci.ReferrersLister, and an oci.Deleter that
	// takes content out of its cache. Host is the upstream's name.
	Proxied oci.Reader
	// Archived reads the repositories of Routes.Archived, by the names that
	// these have there; nil where there are none. What else it can is found as
	// that of Proxied.
	Archived oci.Reader
	// Access says what callers may do.
	Access access.Policy
	// Door finds out who calls; nil takes everybody for anonymous. Both can be
	// changed later, by [Handler.SetAccess].
	Door *access.Door
	// Passthrough reports whether callers log in to an upstream themselves: an
	// Authorization for one of its names is then for the upstream alone, and
	// reaches Proxied by oci.LoginOf. Nil means that there is none.
	Passthrough func(upstream string) bool
	// MaxManifest limits a pushed manifest, in bytes; 0 means
	// oci.MaxManifest.
	MaxManifest int64
	// MaxPage limits the entries of one page of a listing; 0 means 10,000,
	// since older clients do not ask for a second one.
	MaxPage int
	// Stall limits how long the body of a request may stand still; 0 means
	// for ever.
	Stall time.Duration
	// InstanceID is what this server puts into the Via header of requests to
	// upstreams. A request that comes in with it went in a circle and is
	// refused; the Via of any other is handed on by oci.WithVia. "" means
	// that nobody looks.
	InstanceID string
	// Log gets one line per request, Warn for statuses from 500, Debug for
	// all others. Nil means discard.
	Log *slog.Logger
	// Trace, where not nil, says where a request stands in its trace, by what
	// it came with. Nil means that the client's trace is passed on as it is.
	Trace func(parent oci.Trace) oci.Trace
	// Observe, where not nil, is called at the end of every request, from
	// its goroutine.
	Observe func(Event)
}

// A Handler serves the protocol below /v2/. It is safe for concurrent use.
type Handler struct {
	cfg    Config
	table  *table
	log    *slog.Logger
	idBase string // of request IDs, random per process
	idNext atomic.Uint64
	entry  atomic.Pointer[entry]
}

// An entry is who may do what. A request holds to one from its beginning to
// its end.
type entry struct {
	policy access.Policy
	door   *access.Door
}

// SetAccess changes what callers may do and who finds out who they are, for
// requests from now on; those that are under way end by what they began with.
func (h *Handler) SetAccess(policy access.Policy, door *access.Door) {
	h.entry.Store(&entry{policy, door})
}

// New returns a Handler. It is an error where the routes contradict each
// other.
func New(cfg Config) (*Handler, error) {
	t, err := cfg.Routes.compile()
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	if cfg.MaxManifest == 0 {
		cfg.MaxManifest = oci.MaxManifest
	}
	if cfg.MaxPage == 0 {
		cfg.MaxPage = 10_000
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	var id [4]byte
	rand.Read(id[:]) // never fails
	h := &Handler{cfg: cfg, table: t, log: cfg.Log, idBase: hex.EncodeToString(id[:]) + "-"}
	h.SetAccess(cfg.Access, cfg.Door)
	return h, nil
}

// ServeHTTP answers one request. It panics with http.ErrAbortHandler, which
// net/http expects, where a body breaks after its header was sent: the client
// must not take what it got for all.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{h: h, entry: h.entry.Load(), w: w, r: r, header: w.Header(), at: parsePath(r.URL.Path), query: query(r.URL.RawQuery), start: time.Now()}
	c.vals = c.arena[:0]
	c.ctx = oci.WithOutcome(r.Context(), &c.out)
	defer c.done()
	c.name()
	if err := c.serve(); err != nil {
		c.fail(err)
	}
}

// serve decides what the request is, whose the name is and whether the caller
// may, in this order and before a byte of the body is read.
func (c *call) serve() error {
	if c.query != "" {
		c.ns = c.query.all("ns")
		c.echoNamespace()
	}
	if err := c.identify(); err != nil {
		return err
	}
	do, ok := actionOf(c.at.resource, c.r.Method)
	c.op, c.verb = do.op, do.verb
	switch {
	case c.at.resource == unknown:
		return oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "no such path")
	case !ok:
		return &methodError{allowed[c.at.resource]}
	case c.at.resource == base:
		return do.run(c)
	}
	var err error
	if c.at.resource == catalog {
		if c.target, err = c.h.table.catalog(c.ns); err != nil {
			return err
		}
	} else if c.target, err = c.h.table.route(c.at.name, c.ns); err != nil {
		return err
	}
	if err := c.allow(); err != nil {
		return err
	}
	switch {
	case c.target.archived:
		c.reader = c.h.cfg.Archived
	case c.target.proxied:
		c.reader = c.h.cfg.Proxied
	default:
		c.reader = c.h.cfg.Hosted
	}
	if c.reader == nil {
		return oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "nothing is served under this name")
	}
	return do.run(c)
}

// allow refuses what the caller may not do, and what nobody may do to an
// upstream's names or an archive's.
func (c *call) allow() error {
	if c.target.archived {
		if err := c.allowArchived(); err != nil {
			return err
		}
		return c.permit()
	}
	if c.target.proxied {
		c.ctx = oci.WithCause(c.ctx, &c.cause)
		if via := c.r.Header["Via"]; via != nil {
			all := strings.Join(via, ", ")
			if c.h.cfg.InstanceID != "" && strings.Contains(all, c.h.cfg.InstanceID) {
				return errLoop
			}
			c.ctx = oci.WithVia(c.ctx, all) // so that the others on the way see a circle too
		}
		switch c.verb {
		case push:
			return oci.Errorf(oci.ErrDenied, oci.CodeDenied, "read-only proxy namespace: %s belongs to an upstream", c.at.name)
		case remove:
			if !c.mayDiscard() {
				return &methodError{"GET, HEAD"}
			}
		}
	}
	return c.permit()
}

// mayDiscard reports whether the caller may take an upstream's content out of the
// cache: somebody we know, who may delete there. To all others there is no such
// method.
func (c *call) mayDiscard() bool {
	_, ok := c.h.cfg.Proxied.(oci.Deleter)
	return ok && !c.caller.Anonymous() && c.entry.policy.Allows(c.caller, c.target.name, access.Delete)
}

// An action is what a method does to a resource.
type action struct {
	op   string
	verb verb
	run  func(*call) error
}

// allowed holds the methods of each resource, for the Allow header.
var allowed = [...]string{
	unknown:   "",
	base:      "GET, HEAD",
	catalog:   "GET, HEAD",
	tags:      "GET, HEAD",
	manifest:  "GET, HEAD, PUT, DELETE",
	blob:      "GET, HEAD, DELETE",
	uploads:   "POST",
	session:   "GET, HEAD, PATCH, PUT, DELETE",
	referrers: "GET, HEAD",
}

// actionOf returns what a request does; ok is false where the resource has no
// such method.
func actionOf(res resource, method string) (do action, ok bool) {
	switch method {
	case http.MethodGet, http.MethodHead:
		return readOf(res)
	case http.MethodPut:
		switch res {
		case manifest:
			return action{"manifest", push, (*call).putManifest}, true
		case session:
			return action{"upload", push, (*call).finishUpload}, true
		}
	case http.MethodPost:
		if res == uploads {
			return action{"upload", push, (*call).startUpload}, true
		}
	case http.MethodPatch:
		if res == session {
			return action{"upload", push, (*call).continueUpload}, true
		}
	case http.MethodDelete:
		switch res {
		case manifest:
			return action{"manifest", remove, (*call).deleteManifest}, true
		case blob:
			return action{"blob", remove, (*call).deleteBlob}, true
		case session:
			return action{"upload", push, (*call).cancelUpload}, true
		}
	}
	return action{}, false
}

func readOf(res resource) (action, bool) {
	switch res {
	case base:
		return action{"ping", pull, (*call).ping}, true
	case catalog:
		return action{"catalog", pull, (*call).listRepositories}, true
	case tags:
		return action{"tags", pull, (*call).listTags}, true
	case manifest:
		return action{"manifest", pull, (*call).getManifest}, true
	case blob:
		return action{"blob", pull, (*call).getBlob}, true
	case session:
		return action{"upload", push, (*call).showUpload}, true
	case referrers:
		return action{"referrers", pull, (*call).listReferrers}, true
	}
	return action{}, false
}

// ping answers /v2/: clients ask it before anything else, so it asks nobody.
func (c *call) ping() error {
	c.set("Docker-Distribution-Api-Version", "registry/2.0")
	c.set("Content-Type", "application/json")
	if c.caller.Anonymous() && c.entry.door.Knows() && !c.entry.policy.AllowsEverywhere(c.caller, access.All) {
		// Credentials might help later (RFC 9110, 11.6.1); podman, which asks
		// nowhere else, sends them from here on.
		c.set("Www-Authenticate", c.challenge(nil))
	}
	return c.send([]byte("{}"))
}
