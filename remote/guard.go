package remote

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// A GuardError says that an address was not dialled, because an endpoint
// without AllowPrivate must not reach it (spec/serve.md, F3). It is found in
// the chain of an [oci.Error].
type GuardError struct {
	Address string // host:port, as it would have been dialled
	Reason  string // what kind of address it is: "loopback", "private", …
}

// Error names the address; it is for logs and not for clients.
func (e *GuardError) Error() string {
	return fmt.Sprintf("dial %s: a %s address is not allowed for this endpoint", e.Address, e.Reason)
}

// forbidden are the ranges that are no place for a public registry, besides
// those that netip knows by name.
var forbidden = []struct {
	prefix netip.Prefix
	reason string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("100.64.0.0/10"), "carrier-grade NAT"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("fec0::/10"), "site-local"},
	{netip.MustParsePrefix("100::/64"), "discard-only"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "local NAT64"}, // RFC 8215
}

// metadata are the addresses at which clouds hand credentials to whoever asks.
// They are never dialled, whatever the endpoint may do.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // AWS, GCP, Azure, OpenStack, …
	netip.MustParseAddr("169.254.170.2"),   // AWS ECS
	netip.MustParseAddr("169.254.170.23"),  // AWS EKS
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd00:ec2::23"),    // AWS EKS
	netip.MustParseAddr("fd20:ce::254"),    // GCP
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("192.0.0.192"),     // Oracle
	netip.MustParseAddr("168.63.129.16"),   // Azure's wire server
}

// embedded are the IPv6 ranges that carry an IPv4 address, and where in them.
var embedded = []struct {
	prefix netip.Prefix
	at     int // byte
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},   // NAT64 (RFC 6052)
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12}, // local NAT64, its usual /96
	{netip.MustParsePrefix("2002::/16"), 2},       // 6to4 (RFC 3056)
	{netip.MustParsePrefix("::/96"), 12},          // IPv4-compatible (RFC 4291)
}

// guard returns a *GuardError where address, "ip:port" or "host:port", must
// not be dialled. Names pass: what they resolve to is checked when it is
// dialled.
func guard(address string, allowPrivate bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return nil
	}
	if reason := refuse(ip, allowPrivate); reason != "" {
		return &GuardError{Address: address, Reason: reason}
	}
	return nil
}

// refuse says why an address must not be dialled, "" where it may.
func refuse(ip netip.Addr, allowPrivate bool) string {
	ip = ip.Unmap().WithZone("")
	for _, m := range metadata {
		if ip == m {
			return "metadata service"
		}
	}
	if reason := classify(ip); reason != "" && !allowPrivate {
		return reason
	}
	if v4, ok := inner(ip); ok {
		return refuse(v4, allowPrivate)
	}
	return ""
}

// classify names the kind of an address that is not public, "" for others.
func classify(ip netip.Addr) string {
	switch {
	case ip.IsUnspecified():
		return "unspecified"
	case ip.IsLoopback():
		return "loopback"
	case ip.IsPrivate():
		return "private"
	case ip.IsLinkLocalUnicast():
		return "link-local"
	case ip.IsMulticast():
		return "multicast"
	}
	for _, f := range forbidden {
		if f.prefix.Contains(ip) {
			return f.reason
		}
	}
	return ""
}

// inner returns the IPv4 address that an IPv6 address carries.
func inner(ip netip.Addr) (netip.Addr, bool) {
	if !ip.Is6() || ip.IsUnspecified() || ip.IsLoopback() {
		return netip.Addr{}, false
	}
	b := ip.As16()
	for _, e := range embedded {
		if e.prefix.Contains(ip) {
			return netip.AddrFrom4([4]byte(b[e.at : e.at+4])), true
		}
	}
	return netip.Addr{}, false
}
