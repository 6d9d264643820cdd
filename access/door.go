package access

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// A DoorConfig says how callers are known. The zero value knows nobody: every
// caller is anonymous, whatever the request says.
type DoorConfig struct {
	// Htpasswd names a file of accounts, "" for none. Hashes are bcrypt. The
	// file is read again when it changes; where it cannot be used then, the
	// accounts from before stay.
	Htpasswd string
	// CIDR are the networks that may connect at all; none means everybody.
	CIDR []netip.Prefix
	// Log gets what an operator should know; nil means discard. Credentials
	// never get there.
	Log *slog.Logger
}

// A Door finds out who calls. It is safe for concurrent use. A nil Door takes
// everybody for anonymous.
type Door struct {
	cidr     []netip.Prefix
	accounts *accounts // nil where there are none
	failures failures
	log      *slog.Logger
}

// NewDoor reads what cfg names. The error names the file and the line that is
// wrong.
func NewDoor(cfg DoorConfig) (*Door, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	d := &Door{cidr: cfg.CIDR, log: cfg.Log, failures: failures{until: map[netip.Prefix]time.Time{}}}
	if cfg.Htpasswd != "" {
		var err error
		if d.accounts, err = openAccounts(cfg.Htpasswd, cfg.Log); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Knows reports whether there are any accounts: whether somebody who is
// refused could come back with credentials.
func (d *Door) Knows() bool { return d != nil && d.accounts != nil }

// Realm is the URL at which the sender of a request gets tokens, "" where there
// is none that can be told him.
func (d *Door) Realm(*http.Request) string { return "" }

// Service is the name of this server in tokens.
func (d *Door) Service() string { return "entrepot" }

// Connects reports whether an address may talk to us at all. Remote is an
// http.Request's RemoteAddr.
func (d *Door) Connects(remote string) bool {
	if d == nil || len(d.cidr) == 0 {
		return true
	}
	addr := address(remote)
	return slices.ContainsFunc(d.cidr, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// address is the IP address of a RemoteAddr, without a zone. The zero value
// means that it is none.
func address(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// Caller finds out who sent a request. The error is an [*oci.Error] of kind
// ErrUnauthorized where its credentials are wrong, and of kind ErrUnavailable
// with the code TOOMANYREQUESTS where they were not looked at.
func (d *Door) Caller(r *http.Request) (Caller, error) {
	given := r.Header["Authorization"]
	if given == nil || !d.Knows() {
		return Caller{}, nil
	}
	if len(given) > 1 {
		return Caller{}, wrong("there is more than one Authorization header", nil)
	}
	scheme, _, _ := strings.Cut(given[0], " ")
	if !strings.EqualFold(scheme, "Basic") {
		return Caller{}, wrong("credentials of this kind are not known here", nil)
	}
	user, password, ok := r.BasicAuth()
	switch {
	case !ok:
		return Caller{}, wrong("the Authorization header is malformed", nil)
	case user == "" && password == "":
		return Caller{}, nil // podman without an account
	}
	return d.login(user, oci.NewSecret(password), address(r.RemoteAddr))
}

// login checks a name and a password.
func (d *Door) login(user string, password oci.Secret, from netip.Addr) (Caller, error) {
	if d.accounts == nil {
		return Caller{}, wrong("there are no passwords here", nil)
	}
	hash, known := d.accounts.hash(user)
	key := d.accounts.sum(user, password, hash)
	if known && d.accounts.remembered(key) {
		return Caller{User: user}, nil
	}
	net := network(from)
	if wait := d.failures.wait(net); wait > 0 {
		return Caller{}, tooMany("too many wrong passwords", wait)
	}
	err := d.accounts.compare(key, hash, password, known)
	switch {
	case errors.Is(err, errBusy):
		return Caller{}, tooMany(err.Error(), time.Second)
	case err != nil:
		d.failures.add(net)
		d.log.Info("login refused", slog.String("addr", from.String()))
		return Caller{}, wrong(err.Error(), nil)
	}
	return Caller{User: user}, nil
}

func wrong(message string, cause error) error {
	return &oci.Error{Kind: oci.ErrUnauthorized, Code: oci.CodeUnauthorized, Message: message, Err: cause}
}

func tooMany(message string, wait time.Duration) error {
	return &oci.Error{Kind: oci.ErrUnavailable, Code: oci.CodeTooManyRequests, Message: message, RetryAfter: wait}
}
