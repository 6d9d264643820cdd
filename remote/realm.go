package remote

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// A RealmError says that a registry named a token service that its credentials
// must not be sent to (spec/serve.md, F2; CVE-2026-33540, CVE-2026-48978). The
// service was not asked.
type RealmError struct {
	Realm  string // without query
	Reason string
}

// Error names the realm; it is for logs and not for clients.
func (e *RealmError) Error() string { return fmt.Sprintf("token service %s: %s", e.Realm, e.Reason) }

// realm reads the realm of a challenge, or of a token service's redirect, and
// refuses one that this endpoint's credentials must not go to. What its name
// resolves to is checked when it is dialled.
func (e *Endpoint) realm(from *url.URL, s string) (*url.URL, error) {
	u, err := resolve(from, s, e.plain())
	if err != nil {
		return nil, &RealmError{Realm: "(unusable)", Reason: err.Error()}
	}
	if err := e.checkRealm(u); err != nil {
		return nil, &RealmError{Realm: redact(u), Reason: err.Error()}
	}
	return u, nil
}

func (e *Endpoint) checkRealm(u *url.URL) error {
	if err := guard(hostPort(u), e.mayBePrivate(sameOrigin(u, e.base))); err != nil {
		return err
	}
	for _, host := range e.cfg.TokenHosts {
		if isHost(u, host) {
			return nil
		}
	}
	switch {
	case sameOrigin(u, e.base):
		return nil
	case e.cfg.LocalTokens && isThisMachine(u.Hostname()) && isThisMachine(e.base.Hostname()):
		return nil
	case hostPort(u) == hostPort(e.base):
		return nil // http and https on one port: whoever has the port has both
	case u.Scheme == "https" && sameDomain(u.Hostname(), e.base.Hostname()):
		return nil
	case u.Scheme == "https" && hubName(e.base.Hostname()) == hubHost && u.Host == "auth.docker.io":
		return nil
	}
	return errors.New("it is neither the registry's own, nor of its domain over https, nor among its token hosts")
}

// isThisMachine reports whether a host is a loopback address, or localhost.
func isThisMachine(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || strings.EqualFold(host, "localhost")
}

// isHost reports whether u is at a configured host: "auth.example.com", on the
// usual port, or "auth.example.com:8443".
func isHost(u *url.URL, host string) bool {
	want := url.URL{Scheme: u.Scheme, Host: strings.ToLower(host)}
	return hostPort(u) == hostPort(&want)
}

// sameDomain reports whether two hosts belong to one registrable domain:
// auth.example.com and registry.example.com do, a.github.io and b.github.io
// do not. Addresses have no domain.
func sameDomain(a, b string) bool {
	if isAddress(a) || isAddress(b) {
		return false
	}
	da, err := publicsuffix.EffectiveTLDPlusOne(strings.TrimSuffix(strings.ToLower(a), "."))
	if err != nil {
		return false
	}
	db, err := publicsuffix.EffectiveTLDPlusOne(strings.TrimSuffix(strings.ToLower(b), "."))
	return err == nil && da == db
}

// isAddress reports whether a host is an address in any spelling that some
// resolver takes for one: "127.1" and "0x7f.0.0.1" too.
func isAddress(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.TrimSuffix(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	return last == "" || strings.HasPrefix(last, "0x") || last[0] >= '0' && last[0] <= '9'
}
