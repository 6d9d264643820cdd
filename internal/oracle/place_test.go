package oracle

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// A place is one place that is asked for an image.
type place struct {
	Ref, URL string
	Insecure bool // no certificate is checked
	Fallback bool // plain HTTP after HTTPS
	Blocked  bool
	Unusable bool // no request can be made
	NS       string
	Can      string
	CA       bool // authorities of its own
	Certs    int  // client certificates
	Header   string
}

// An answer is what a client does for an image.
type answer struct {
	Rule         string // what is matched; empty for nothing
	Places       []place
	Skipped      []string // what each place may be asked for that is left out for it
	SkippedHosts []string
}

// skip adds a place that is left out for what it may be asked for.
func (a *answer) skip(host, can string) {
	a.Skipped = append(a.Skipped, can)
	a.SkippedHosts = append(a.SkippedHosts, host)
}

// A sight is what a judge can see.
type sight uint16

const (
	seesRef sight = 1 << iota
	seesURL
	seesInsecure
	seesFallback
	seesBlocked
	seesNS
	seesCan
	seesCA
	seesCerts
	seesHeader
	seesRule
	seesSkips
	seesSkippedHosts
	seesUnusable
)

const (
	// fixtureSight is what the fixtures say; a fixture may say less.
	fixtureSight = ^seesCerts
	// differentialSight leaves out what is of no meaning where nothing can be
	// asked: the host of a skipped place that is no host.
	differentialSight = ^seesSkippedHosts
)

// only drops what cannot be seen.
func (a answer) only(s sight) answer {
	a.Places = slices.Clone(a.Places)
	for i := range a.Places {
		p := &a.Places[i]
		drop(s, seesRef, &p.Ref)
		drop(s, seesURL, &p.URL)
		drop(s, seesInsecure, &p.Insecure)
		drop(s, seesFallback, &p.Fallback)
		drop(s, seesBlocked, &p.Blocked)
		drop(s, seesNS, &p.NS)
		drop(s, seesCan, &p.Can)
		drop(s, seesCA, &p.CA)
		drop(s, seesCerts, &p.Certs)
		drop(s, seesHeader, &p.Header)
		switch {
		case p.Unusable, p.URL != "" && !likeHost(p.URL):
			*p = place{Unusable: true}
		case strings.HasPrefix(p.URL, "http://"):
			p.Insecure, p.CA, p.Certs = false, false, 0 // there are no certificates
		}
	}
	a.Places = slices.DeleteFunc(a.Places, func(p place) bool { return p.Unusable && s&seesUnusable == 0 })
	drop(s, seesRule, &a.Rule)
	drop(s, seesSkips, &a.Skipped)
	drop(s, seesSkippedHosts, &a.SkippedHosts)
	return a
}

func drop[T any](s, bit sight, v *T) {
	if s&bit == 0 {
		var zero T
		*v = zero
	}
}

// placeOf returns a try as a place.
func placeOf(t *rules.Try) place {
	p := place{
		Ref: t.Reference(), URL: t.URL(), Insecure: t.Insecure(), Fallback: t.Scheme == rules.HTTPSThenHTTP,
		Blocked: t.Blocked, Unusable: t.Unusable != "", NS: t.NS, Can: strings.Join(t.Can.Names(), " "),
	}
	if tr := t.Transport; tr != nil {
		p.CA, p.Certs = len(tr.CA) > 0, len(tr.Client)
		h := make(http.Header)
		for _, x := range tr.Header {
			h[x.Name] = x.Values
		}
		p.Header = headerText(h)
	}
	return p
}

// headerText returns a header in one line, its names as they are spelt.
func headerText(h http.Header) string {
	var lines []string
	for name, values := range h {
		lines = append(lines, fmt.Sprintf("%s=%q", name, values))
	}
	slices.Sort(lines)
	return strings.Join(lines, " ")
}

// likeHost reports whether an address is for something that looks like a host.
// Whether a request for anything else can be made is no question of rules.
func likeHost(address string) bool {
	u, err := url.Parse(address)
	return err == nil && ref.ValidHost(strings.TrimRight(strings.ReplaceAll(u.Host, "_", "-"), ".:"))
}
