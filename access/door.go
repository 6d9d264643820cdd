package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
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
	// Certificates says that TLS asks for client certificates, and has verified
	// those that there are: the caller is then who the certificate names.
	Certificates bool
	// Authorities, where there are any, are those that count: a connection may
	// be older than the configuration, and its certificate by one that is no
	// longer asked for.
	Authorities []*x509.Certificate
	// CIDR are the networks that may connect at all; none means everybody.
	CIDR []netip.Prefix
	// TokenKey names the file of the key of our own tokens, which [MakeTokenKey]
	// makes; "" means that there are none.
	TokenKey string
	// Issuers are those whose tokens are taken, as a bearer's and as the
	// password of any user that is no account of ours.
	Issuers []Issuer
	// ExternalURL is where clients reach us, without a slash at the end, and
	// External the hosts under which they do, with a port where it is not
	// HTTP's or HTTPS's. Clients are sent for tokens to these, or to a
	// loopback address that they came to, and nowhere else: a Host header is
	// anybody's claim.
	ExternalURL string
	External    []string
	// Log gets what an operator should know; nil means discard. Credentials
	// never get there.
	Log *slog.Logger
}

// A Door finds out who calls. It is safe for concurrent use. A nil Door takes
// everybody for anonymous.
type Door struct {
	cidr     []netip.Prefix
	accounts *accounts // nil where there are none
	tokens   *tokens   // nil where there are none
	issuers  []*issuer
	certs    bool
	roots    map[string]bool // :: DER of an authority → true; nil: any that TLS has verified
	url      string          // "" where it is not known
	hosts    []string
	failures *failures
	log      *slog.Logger
}

// NewDoor reads what cfg names. The error names the file and the line that is
// wrong. The door has to be closed.
func NewDoor(cfg DoorConfig) (*Door, error) {
	return (&Door{failures: &failures{until: map[netip.Prefix]time.Time{}}}).With(cfg)
}

// With returns a door for another configuration that keeps what d has found out
// and what is still true: passwords that were right, networks that sent wrong
// ones, keys of issuers. Where the key of our own tokens is another one, tokens
// by the one before go on until their end. The error is that of [NewDoor]. Of d,
// requests that are under way may go on to make use; what both have is closed
// with the later one, the rest by [Door.Yield].
func (d *Door) With(cfg DoorConfig) (*Door, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	next := &Door{certs: cfg.Certificates, roots: rootsOf(cfg.Authorities), cidr: cfg.CIDR, url: cfg.ExternalURL, hosts: cfg.External, log: cfg.Log, failures: d.failures}
	if err := next.takeAccounts(d.accounts, cfg); err != nil {
		return nil, err
	}
	if cfg.TokenKey != "" {
		k, err := readKey(cfg.TokenKey)
		if err != nil {
			return nil, err
		}
		if next.tokens, err = d.tokens.with(k); err != nil {
			return nil, err
		}
	}
	for _, cfg := range cfg.Issuers {
		i, err := d.issuer(cfg, next.log)
		if err != nil {
			return nil, err
		}
		next.issuers = append(next.issuers, i)
	}
	return next, nil
}

func (d *Door) takeAccounts(known *accounts, cfg DoorConfig) (err error) {
	switch {
	case cfg.Htpasswd == "":
	case known != nil && known.path == cfg.Htpasswd:
		d.accounts = known
	default:
		d.accounts, err = openAccounts(cfg.Htpasswd, cfg.Log)
	}
	return err
}

// issuer returns one that d has, or a new one.
func (d *Door) issuer(cfg Issuer, log *slog.Logger) (*issuer, error) {
	for _, i := range d.issuers {
		if i.Issuer == cfg {
			return i, nil
		}
	}
	return newIssuer(cfg, log)
}

// Yield closes what next has not taken over. Requests that go on with d notice
// at most that a token cannot be looked at.
func (d *Door) Yield(next *Door) {
	for _, i := range d.issuers {
		if !slices.Contains(next.issuers, i) {
			i.keys.close()
		}
	}
}

// Close ends what asks issuers for their keys. Tokens of theirs are not taken
// any more where a key would have to be asked for.
func (d *Door) Close() {
	if d == nil {
		return
	}
	for _, i := range d.issuers {
		i.keys.close()
	}
}

// Knows reports whether there are any accounts: whether somebody who is
// refused could come back with credentials.
func (d *Door) Knows() bool { return d != nil && (d.accounts != nil || d.certs || len(d.issuers) > 0) }

// Realm is the URL at which the sender of a request gets tokens, "" where there
// is none that can be told him.
func (d *Door) Realm(r *http.Request) string {
	switch {
	case d == nil || d.tokens == nil:
		return ""
	case d.url != "":
		return d.url + TokenPath
	case !slices.Contains(d.hosts, strings.ToLower(r.Host)) && !loopback(r.Host):
		return ""
	case r.TLS != nil:
		return "https://" + r.Host + TokenPath
	}
	return "http://" + r.Host + TokenPath
}

// TokenPath is where a [TokenServer] is asked.
const TokenPath = "/token"

// loopback reports whether a Host header is an address, or the name, of this
// machine alone: whoever sent it is here.
func loopback(host string) bool {
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if strings.Trim(port, "0123456789") != "" {
			return false
		}
		name = h
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && addr.IsLoopback() && addr.Zone() == ""
}

// Service is the name of this server in tokens.
func (d *Door) Service() string { return tokenService }

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
	if !d.Knows() {
		return Caller{}, nil
	}
	given := r.Header["Authorization"]
	if given == nil {
		return d.certified(r.TLS)
	}
	if len(given) > 1 {
		return Caller{}, wrong("there is more than one Authorization header", nil)
	}
	scheme, token, _ := strings.Cut(given[0], " ")
	if strings.EqualFold(scheme, "Bearer") {
		return d.bearer(r.Context(), strings.TrimSpace(token))
	}
	if !strings.EqualFold(scheme, "Basic") {
		return Caller{}, wrong("credentials of this kind are not known here", nil)
	}
	user, password, ok := r.BasicAuth()
	switch {
	case !ok:
		return Caller{}, wrong("the Authorization header is malformed", nil)
	case user == "" && password == "":
		return d.certified(r.TLS) // podman without an account
	}
	return d.login(r.Context(), user, oci.NewSecret(password), address(r.RemoteAddr))
}

// certified returns whom a client certificate names: its common name or, where
// it has none, the first of its alternative names.
func (d *Door) certified(state *tls.ConnectionState) (Caller, error) {
	if !d.certs || state == nil || len(state.VerifiedChains) == 0 {
		return Caller{}, nil
	}
	if !d.vouched(state.VerifiedChains) {
		return Caller{}, wrong("the client certificate is not by an authority that counts", nil)
	}
	cert := state.VerifiedChains[0][0]
	names := append([]string{cert.Subject.CommonName}, cert.DNSNames...)
	names = append(names, cert.EmailAddresses...)
	for _, u := range cert.URIs {
		names = append(names, u.String())
	}
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	for _, name := range names {
		if name == "" {
			continue
		}
		if err := checkUser(name); err != nil {
			return Caller{}, wrong("the client certificate names no user", err)
		}
		return Caller{User: name}, nil
	}
	return Caller{}, wrong("the client certificate names nobody", nil)
}

// vouched reports whether one of our authorities has vouched for a certificate.
func (d *Door) vouched(chains [][]*x509.Certificate) bool {
	return d.roots == nil || slices.ContainsFunc(chains, func(c []*x509.Certificate) bool { return d.roots[string(c[len(c)-1].Raw)] })
}

func rootsOf(certs []*x509.Certificate) map[string]bool {
	if len(certs) == 0 {
		return nil
	}
	roots := map[string]bool{}
	for _, c := range certs {
		roots[string(c.Raw)] = true
	}
	return roots
}

// byPassword is how an account of the htpasswd file logs in.
const byPassword = "htpasswd"

// bearer finds out whose token it is.
func (d *Door) bearer(ctx context.Context, token string) (Caller, error) {
	if parsed, by := d.issued(token); by != nil {
		return d.foreign(ctx, parsed, by)
	}
	if d.tokens == nil || len(token) > maxToken {
		return Caller{}, wrong(errToken.Error(), nil)
	}
	c, err := d.tokens.caller(token)
	if err != nil {
		return Caller{}, wrong(errToken.Error(), err)
	}
	if !d.stillTrusted(c) {
		return Caller{}, wrong("the account is gone", nil)
	}
	return c, nil
}

// login checks a name and a password. A password that is the token of an issuer
// is looked at as such, whatever the name: to go by the name would tell which
// accounts there are.
func (d *Door) login(ctx context.Context, user string, password oci.Secret, from netip.Addr) (Caller, error) {
	if token, by := d.issued(password.Reveal()); by != nil {
		return d.foreign(ctx, token, by)
	}
	if d.accounts == nil {
		return Caller{}, wrong("there are no passwords here", nil)
	}
	hash, known := d.accounts.hash(user)
	key := d.accounts.sum(user, password, hash)
	if known && d.accounts.remembered(key) {
		return Caller{User: user, by: byPassword}, nil
	}
	origin := network(from)
	if wait := d.failures.wait(origin); wait > 0 {
		return Caller{}, tooMany("too many wrong passwords", wait)
	}
	err := d.accounts.compare(key, hash, password, known)
	switch {
	case errors.Is(err, errBusy):
		return Caller{}, tooMany(err.Error(), time.Second)
	case err != nil:
		d.failures.add(origin)
		d.log.Info("login refused", slog.String("addr", from.String()))
		return Caller{}, wrong(err.Error(), nil)
	}
	return Caller{User: user, by: byPassword}, nil
}

func wrong(message string, cause error) error {
	return &oci.Error{Kind: oci.ErrUnauthorized, Code: oci.CodeUnauthorized, Message: message, Err: cause}
}

func tooMany(message string, wait time.Duration) error {
	return &oci.Error{Kind: oci.ErrUnavailable, Code: oci.CodeTooManyRequests, Message: message, RetryAfter: wait}
}
