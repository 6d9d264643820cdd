package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"golang.org/x/net/dns/dnsmessage"
)

func TestGuard(t *testing.T) {
	const never, private, public = "never", "private", "public"
	for address, want := range map[string]string{
		"127.0.0.1": private, "127.8.8.8": private, "[::1]": private, "[::ffff:127.0.0.1]": private, "[::127.0.0.1]": private,
		"10.0.0.1": private, "172.16.0.1": private, "172.31.255.255": private, "192.168.1.1": private, "[::ffff:192.168.1.1]": private,
		"100.64.0.1": private, "100.127.255.254": private, "169.254.1.1": private, "[fe80::1]": private, "[fe80::1%eth0]": private,
		"[fc00::1]": private, "[fd12:3456::1]": private, "[fec0::1]": private, "0.0.0.0": private, "0.1.2.3": private, "[::]": private,
		"224.0.0.1": private, "239.255.255.250": private, "[ff02::1]": private, "255.255.255.255": private, "240.0.0.1": private,
		"192.0.0.8": private, "198.18.0.1": private, "[64:ff9b::7f00:1]": private, "[64:ff9b::a00:1]": private, "[2002:7f00:1::]": private,
		"[2002:c0a8:101::1]": private, "[64:ff9b:1::1]": private, "[100::1]": private,
		"169.254.169.254": never, "[::ffff:169.254.169.254]": never, "[64:ff9b::a9fe:a9fe]": never, "[2002:a9fe:a9fe::]": never,
		"[fd00:ec2::254]": never, "100.100.100.200": never, "168.63.129.16": never, "192.0.0.192": never, "169.254.170.2": never, "[fd20:ce::254]": never,
		"1.1.1.1": public, "172.32.0.1": public, "100.128.0.1": public, "[2606:4700::1111]": public, "11.0.0.1": public, "[64:ff9b::101:101]": public,
		"192.0.1.1": public, "198.20.0.1": public, "registry.example.com": public, "localhost": public, // names are resolved before they are dialled
	} {
		for _, port := range []string{":443", ""} {
			if strict := guard(address+port, false); (strict == nil) != (want == public) {
				t.Errorf("guard(%s, false) = %v, it is %s", address+port, strict, want)
			}
			if loose := guard(address+port, true); (loose == nil) != (want != never) {
				t.Errorf("guard(%s, true) = %v, it is %s", address+port, loose, want)
			}
		}
	}
}

func FuzzGuard(f *testing.F) {
	for _, s := range []string{"127.0.0.1:1", "[::1]:443", "[::ffff:10.0.0.1]:1", "x", "[64:ff9b::a00:1]:80", ":", "[fe80::1%x]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if guard(s, false) != nil {
			return
		}
		host, _, err := net.SplitHostPort(s)
		if err != nil {
			return
		}
		if ip, err := netip.ParseAddr(host); err == nil && (ip.IsLoopback() || ip.IsPrivate() || ip.Unmap().IsLoopback() || ip.Unmap().IsPrivate()) {
			t.Fatalf("guard lets %q pass", s)
		}
	})
}

// fakeDNS is a resolver whose names resolve to what answer says; to nothing for
// none.
func fakeDNS(t *testing.T, answer func(name string) [][4]byte) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			for {
				var size [2]byte
				if _, err := io.ReadFull(theirs, size[:]); err != nil {
					return
				}
				raw := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(theirs, raw); err != nil {
					return
				}
				out, err := dnsReply(raw, answer)
				if err != nil {
					t.Errorf("fake DNS: %v", err)
					return
				}
				theirs.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
			}
		}()
		return ours, nil
	}}
}

func dnsReply(raw []byte, answer func(string) [][4]byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(raw); err != nil {
		return nil, err
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	q := m.Questions[0]
	all := answer(q.Name.String())
	if len(all) == 0 {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range all {
		if q.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
				Body:   &dnsmessage.AResource{A: a},
			})
		}
	}
	return m.Pack()
}

// TestGuardSeesTheDialledAddress sends a public endpoint to loopback in each
// way there is, by a name with several addresses among them: the address is checked after the last
// lookup, so that there is nothing to rebind. No connection may be made.
//
// CVE-2020-13788, CVE-2026-32591, CVE-2025-59346, CVE-2026-58442.
func TestGuardSeesTheDialledAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var dialled atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dialled.Add(1)
			c.Close()
		}
	}()
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	resolver := fakeDNS(t, func(string) [][4]byte { return [][4]byte{{127, 0, 0, 1}, {10, 0, 0, 1}} })
	for _, host := range []string{"127.0.0.1", "[::ffff:127.0.0.1]", "inside.test", "[::1]", "0.0.0.0", "169.254.169.254"} {
		c := client(t, ClientConfig{Resolver: resolver, Retry: Retry{Attempts: 3}})
		e, err := c.Endpoint(EndpointConfig{URL: "http://" + host + ":" + port})
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.Manifest(t.Context(), repo.WithTag("v1"))
		wantKind(t, err, oci.ErrUnavailable)
		refused, ok := errors.AsType[*GuardError](err)
		if !ok || refused.Reason == "" {
			t.Errorf("%s: error %v, want a GuardError", host, err)
		}
		if told, _ := errors.AsType[*oci.Error](err); strings.Contains(told.Message, "127.") {
			t.Errorf("%s: clients are told the address: %q", host, told.Message)
		}
	}
	if n := dialled.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

// TestGuardHoldsAfterARedirect holds that a redirect of an endpoint cannot
// reach what the endpoint itself may not, over connections that another
// endpoint opened either.
//
// CVE-2026-58418.
func TestGuardHoldsAfterARedirect(t *testing.T) {
	inside, log := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "secret") })
	var d net.Dialer
	front, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside.URL+"/x", http.StatusFound) })
	c := client(t, ClientConfig{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "public.test:80" {
			address = front.Listener.Addr().String()
		}
		return d.DialContext(ctx, network, address)
	}})
	trusted, _ := c.Endpoint(EndpointConfig{URL: inside.URL, AllowPrivate: true})
	if _, _, err := readBlob(trusted, digestOf("x"), 0); err != nil {
		t.Fatal(err) // its connection now waits in the pool
	}
	before := len(log.get())
	public, _ := c.Endpoint(EndpointConfig{URL: "http://public.test"})
	_, _, err := readBlob(public, digestOf("x"), 0)
	wantKind(t, err, oci.ErrMismatch) // 502: the registry is up and misbehaves
	if _, ok := errors.AsType[*GuardError](err); !ok {
		t.Errorf("error %v, want a GuardError", err)
	}
	if n := len(log.get()); n != before {
		t.Errorf("the redirect was followed: %q", log.get()[before:])
	}
}

func TestProxyMayBePrivate(t *testing.T) {
	var asked atomic.Value
	proxy, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.String())
		serveManifest(w, oci.TypeImageManifest, manifestJSON)
	})
	to, _ := url.Parse(proxy.URL)
	c := client(t, ClientConfig{Proxy: func(*http.Request) (*url.URL, error) { return to, nil }})
	e, _ := c.Endpoint(EndpointConfig{URL: "http://registry.example.com"})
	if _, err := e.Manifest(t.Context(), repo.WithTag("v1")); err != nil {
		t.Fatal(err)
	}
	if got := asked.Load(); got != "http://registry.example.com/v2/team/app/manifests/v1" {
		t.Errorf("the proxy was asked for %v", got)
	}
	for _, host := range []string{"10.0.0.1", "169.254.169.254"} {
		e, _ := c.Endpoint(EndpointConfig{URL: "http://" + host})
		_, err := e.Manifest(t.Context(), repo.WithTag("v1"))
		if _, ok := errors.AsType[*GuardError](err); !ok {
			t.Errorf("%s through the proxy: %v, want a GuardError", host, err)
		}
	}
}
