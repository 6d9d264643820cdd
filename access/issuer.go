package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// An Issuer makes tokens that are taken here: an OpenID Connect provider, or a
// Kubernetes cluster with those of its service accounts. It is asked for its
// keys when the first token comes, and never before.
type Issuer struct {
	// URL is how it calls itself, the iss of its tokens. Its discovery document
	// is below it (OpenID Connect Discovery 1.0, section 4).
	URL string
	// Audience is whom its tokens have to be for. Those for others are not taken.
	Audience string
	// Keys is the URL of its key set; "" means that discovery says it.
	Keys string
	// CA names a PEM file with the authorities that its certificate has to be
	// from; "" means those of the system. It is read each time.
	CA string
	// TokenFile names a file with a bearer token that it wants to be shown,
	// as a Kubernetes API server does; "" means none. It is read each time.
	TokenFile string
	// UserClaim has the user's name, "" means sub; GroupsClaim has the names of
	// his groups, or of one, "" means groups.
	UserClaim   string
	GroupsClaim string
	// Prefix goes before the names of users and groups, so that those of
	// several issuers cannot be mistaken for each other.
	Prefix string
}

// check reports what is wrong with an issuer. It asks nobody.
func (i Issuer) check() error {
	if i.Audience == "" {
		return errors.New("it has no audience")
	}
	return cmp.Or(i.CheckURL(), i.CheckKeys(), i.CheckCA(), i.CheckTokenFile())
}

// CheckURL reports what is wrong with the URL.
func (i Issuer) CheckURL() error { return checkIssuerURL(i.URL) }

// CheckKeys reports what is wrong with the URL of the keys.
func (i Issuer) CheckKeys() error {
	if i.Keys == "" {
		return nil
	}
	return checkIssuerURL(i.Keys)
}

// CheckCA reports what is wrong with the file of authorities, and names it.
func (i Issuer) CheckCA() error {
	_, err := i.pool()
	return err
}

// CheckTokenFile reports what is wrong with the file of the token, and names it.
func (i Issuer) CheckTokenFile() error {
	_, err := i.token()
	return err
}

// checkIssuerURL refuses where keys could be exchanged on the way: plain HTTP,
// unless it is on this machine.
func checkIssuerURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no URL", s)
	case u.User != nil:
		return fmt.Errorf("the URL of %q holds credentials", u.Host)
	case u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery || u.Opaque != "":
		return fmt.Errorf("%q is no URL of a host and a path", s)
	case u.Scheme == "https", u.Scheme == "http" && onThisMachine(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q does not start with https://", s)
}

func onThisMachine(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// foreignAlgorithms are those that an issuer's tokens may be signed by: with a
// key that only it has. What can be made with its public key, or with none, is
// no signature (CVE-2025-24976, RFC 8725 section 3.1).
var foreignAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// An issuer is an Issuer with its keys.
type issuer struct {
	Issuer
	keys *keyring
}

func newIssuer(cfg Issuer, log *slog.Logger) (*issuer, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("issuer %s: %w", cfg.URL, err)
	}
	return &issuer{cfg, newKeyring(cfg.fetch, log.With(slog.String("issuer", cfg.URL)))}, nil
}

// parseForeign reads a token without believing it, for the issuer that it says.
func parseForeign(raw string) (token *jwt.JSONWebToken, iss string, err error) {
	if len(raw) > maxToken {
		return nil, "", errToken
	}
	token, err = jwt.ParseSigned(raw, foreignAlgorithms)
	if err != nil {
		return nil, "", err
	}
	var said struct {
		Issuer string `json:"iss"`
	}
	if err := token.UnsafeClaimsWithoutVerification(&said); err != nil {
		return nil, "", err
	}
	return token, said.Issuer, nil
}

// issued returns the issuers whose token it claims to be; there are several
// where one has tokens for several audiences. Nothing about it is verified.
func (d *Door) issued(raw string) (*jwt.JSONWebToken, []*issuer) {
	if d == nil || len(d.issuers) == 0 {
		return nil, nil
	}
	token, iss, err := parseForeign(raw)
	if err != nil {
		return nil, nil
	}
	var all []*issuer
	for _, i := range d.issuers {
		if i.URL == iss {
			all = append(all, i)
		}
	}
	return token, all
}

// Issued reports whether a bearer token claims to be of one of our issuers, so
// that it is for us and nobody else. It says nothing about whether it is valid.
func (d *Door) Issued(token string) bool {
	_, by := d.issued(token)
	return by != nil
}

// foreign finds out whom a token of an issuer names.
func (d *Door) foreign(ctx context.Context, token *jwt.JSONWebToken, by []*issuer) (c Caller, err error) {
	for _, i := range by {
		if c, err = i.caller(ctx, token); err == nil {
			break
		}
	}
	if err != nil {
		if _, ok := errors.AsType[*oci.Error](err); ok {
			return Caller{}, err
		}
		return Caller{}, wrong(errToken.Error(), err)
	}
	// Names that somebody else gives out must not be those of our own accounts.
	if d.accounts != nil && d.accounts.known(c.User) {
		return Caller{}, wrong("the token names an account that has a password here", nil)
	}
	return c, nil
}

// caller returns whom a token names. An *oci.Error says that this could not be
// found out, any other that the token is not good.
func (i *issuer) caller(ctx context.Context, token *jwt.JSONWebToken) (Caller, error) {
	head := token.Headers[0]
	if err := checkType(head); err != nil {
		return Caller{}, err
	}
	keys, err := i.keys.find(ctx, head.KeyID, jose.SignatureAlgorithm(head.Algorithm))
	if err != nil {
		return Caller{}, err
	}
	var std jwt.Claims
	var all map[string]any
	for _, k := range keys {
		std, all = jwt.Claims{}, nil
		if err = token.Claims(k, &std, &all); err == nil {
			break
		}
	}
	if err == nil {
		err = check(std, i.URL, i.Audience)
	}
	if err != nil {
		return Caller{}, err
	}
	c, err := i.named(all)
	c.until = std.Expiry.Time()
	return c, err
}

// checkType refuses tokens that an issuer makes for other ends with the same
// issuer and audience, such as logout tokens (RFC 8725, section 3.11).
func checkType(h jose.Header) error {
	switch typ, _ := h.ExtraHeaders[jose.HeaderType].(string); strings.ToLower(typ) {
	case "", "jwt", "at+jwt", "application/at+jwt":
		return nil
	default:
		return fmt.Errorf("it is no ID token, but of type %q", typ)
	}
}

// byIssuer is how an issuer's user logs in.
const byIssuer = "oidc:"

// maxUser limits a user's name, in bytes.
const maxUser = 512

// serviceAccount is how the names of Kubernetes' service accounts begin, and
// serviceAccounts the group of all of them.
const (
	serviceAccount  = "system:serviceaccount:"
	serviceAccounts = "system:serviceaccounts"
)

// named returns whom verified claims name.
func (i *issuer) named(all map[string]any) (Caller, error) {
	claim := cmp.Or(i.UserClaim, "sub")
	user, _ := all[claim].(string)
	switch {
	case user == "":
		return Caller{}, fmt.Errorf("it has no %s, or none that is a text", claim)
	case len(user) > maxUser:
		return Caller{}, fmt.Errorf("its %s is too long", claim)
	}
	if verified, said := all["email_verified"]; claim == "email" && said && verified != true {
		return Caller{}, errors.New("its email is not verified")
	}
	if err := checkUser(i.Prefix + user); err != nil {
		return Caller{}, err
	}
	groups, err := textsOf(all, cmp.Or(i.GroupsClaim, "groups"))
	if err != nil {
		return Caller{}, err
	}
	if account, ok := strings.CutPrefix(user, serviceAccount); ok && claim == "sub" {
		if namespace, _, ok := strings.Cut(account, ":"); ok {
			groups = append(groups, serviceAccounts, serviceAccounts+":"+namespace)
		}
	}
	for n := range groups {
		groups[n] = i.Prefix + groups[n]
	}
	return Caller{User: i.Prefix + user, Groups: groups, Foreign: true, by: byIssuer + i.URL}, nil
}

// textsOf returns a claim that is a text or a list of texts; none where it is
// not there.
func textsOf(all map[string]any, claim string) ([]string, error) {
	switch v := all[claim].(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		texts := make([]string, 0, len(v))
		for _, one := range v {
			text, ok := one.(string)
			if !ok {
				return nil, fmt.Errorf("its %s are not all texts", claim)
			}
			texts = append(texts, text)
		}
		return texts, nil
	}
	return nil, fmt.Errorf("its %s is no list of texts", claim)
}

// stillTrusted reports whether whoever let a caller in can still do so.
func (d *Door) stillTrusted(c Caller) bool {
	if url, ok := strings.CutPrefix(c.by, byIssuer); ok {
		return slices.ContainsFunc(d.issuers, func(i *issuer) bool { return i.URL == url })
	}
	return c.by != byPassword || d.accounts != nil && d.accounts.known(c.User)
}

// unreachable says that a token could not be looked at.
func unreachable(wait time.Duration, cause error) error {
	return &oci.Error{Kind: oci.ErrUnavailable, Message: "the token's issuer cannot be reached", RetryAfter: wait, Err: cause}
}
