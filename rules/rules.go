// Package rules is the model of mirror rules: which places an image may be had
// from, in which order, and why.
//
// A [Config] is plain data, as a reader of package rules/conf takes it from a
// client's configuration: rules, each with a [Match] and the [Endpoint]s that
// it leads to, and what holds for a host whichever rule names it. [New]
// compiles it into a [Set], and [Set.Plan] answers for one image:
//
//	set := rules.New(config)
//	plan := set.Plan(r, rules.Pull, rules.Native())
//	for _, t := range plan.Tries {
//		fmt.Println(t.URL())
//	}
//
// Clients differ in how they match, join paths, name Docker Hub and go on
// after a failure. All of that is a [Dialect], a table of knobs; the native one
// is strict: what a client settles by a coin toss, or drops without a word, is
// an error there.
//
// The package is pure: it reads no file, opens no connection and keeps no state
// outside its values. Sets may be used by several goroutines at once.
package rules

import (
	"fmt"
	"net/netip"
	"strings"
)

// A Config is what configuration files say, as plain data. The zero value says
// nothing: every image comes from its own registry.
type Config struct {
	// Rules are the rules in the order in which the client reads them.
	Rules []Rule
	// Hosts holds settings that a place has in every rule; those of [AnyHost]
	// are for places that have none.
	//
	//	:: host[:port] as the file writes it → settings
	Hosts map[string]HostSettings
	// Nets are settings for hosts that are addresses in a network; Hosts goes
	// first.
	Nets []NetSettings
	// ShortNames says what names without a registry mean.
	ShortNames ShortNames
	// Localhost is how images' own registries on this machine are reached,
	// where the files change that; the zero value leaves it to the dialect.
	Localhost LocalhostRule
	// Refused is why the client refuses this configuration as a whole; every
	// plan then fails with it. Nil means that it is accepted.
	Refused *Problem
	// Problems are all that is wrong or doubtful in the files, Refused too.
	Problems []Problem
}

// AnyHost is the key of [Config.Hosts] for hosts without a key of their own.
const AnyHost = "*"

// A Rule leads the images that it matches to places.
type Rule struct {
	Match Match
	// Endpoints are tried in this order, before Upstream.
	Endpoints []Endpoint
	// Upstream is what is tried last.
	Upstream Upstream
	// Fails is why the client refuses every image that the rule matches;
	// nil means that it does not.
	Fails *Problem
	// Origin is where the rule is written.
	Origin Origin
}

// A MatchKind says how a [Match] is compared with an image's name.
type MatchKind uint8

const (
	// Never matches nothing: the client accepts what the file says, and it has
	// no effect.
	Never MatchKind = iota
	// Any matches every name.
	Any
	// HostSuffix matches the hosts below a domain, not the domain itself.
	HostSuffix
	// Host matches every name at one host[:port].
	Host
	// Prefix matches a repository at a host, and those below it.
	Prefix
)

var matchKinds = [...]string{"never", "any", "host suffix", "host", "prefix"}

// String returns the kind in words.
func (k MatchKind) String() string { return matchKinds[k] }

// A Match says which images a rule is for. It is comparable.
type Match struct {
	Kind MatchKind
	// Host is host[:port] as the file writes it; for HostSuffix the domain
	// without "*.". Empty for Any.
	Host string
	// Path is the repository of a Prefix: whole components, without slashes at
	// its ends.
	Path string
	// Text is how the file spells it ("_default", "registry.corp_5000_").
	// Empty means the plain form.
	Text string
}

// String returns the match as its file spells it.
func (m Match) String() string {
	if m.Text != "" {
		return m.Text
	}
	switch m.Kind {
	case Any:
		return "*"
	case HostSuffix:
		return "*." + m.Host
	case Prefix:
		return m.Host + "/" + m.Path
	default:
		return m.Host
	}
}

// key returns a value that is equal for matches of the same names, however
// their files spell them.
func (m Match) key() Match {
	if m.Kind != Never {
		m.Text = ""
	}
	return m
}

// Same reports whether two matches are for the same names, however their files
// spell them.
func (m Match) Same(o Match) bool { return m.key() == o.key() }

// MatchName returns the match for a key of the form "host[:port]" or
// "host[:port]/path"; slashes at the end are dropped.
func MatchName(key string) Match {
	host, path, _ := strings.Cut(strings.TrimRight(key, "/"), "/")
	if path == "" {
		return Match{Kind: Host, Host: host}
	}
	return Match{Kind: Prefix, Host: host, Path: path}
}

// An UpstreamKind says what a rule puts last.
type UpstreamKind uint8

const (
	// Original is the image's own registry and repository.
	Original UpstreamKind = iota
	// At is another place, instead of the original.
	At
	// None is nothing at all.
	None
)

// Upstream is what a rule puts last.
type Upstream struct {
	Kind UpstreamKind
	// Endpoint is the place where Kind is At. Where Kind is Original its Host
	// is empty and the rest are the settings that the original has in this
	// rule.
	Endpoint Endpoint
}

// HostSettings are what holds for a host in every rule. They count where an
// endpoint says nothing itself.
type HostSettings struct {
	Scheme    Scheme
	Transport *Transport // nil means nothing special
	// Fails is why the client refuses every image that this host has a part
	// in; nil means that it does not.
	Fails  *Problem
	Origin Origin
}

// NetSettings are the settings of every host that is an address in Net.
type NetSettings struct {
	Net netip.Prefix
	HostSettings
}

// An Origin is a place in a configuration file. The zero value is no place.
type Origin struct {
	File   string // as the user knows it
	Line   int    // from 1; 0 means the file as a whole
	Column int    // in bytes, from 1; 0 means the line as a whole
	Format string // the name of the format: "hosts.toml"
}

// String returns file:line, or what of it is known.
func (o Origin) String() string {
	if o.Line == 0 {
		return o.File
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// A Level says how bad a [Problem] is.
type Level uint8

const (
	// Warning: the client takes it, and it does not do what it seems to say.
	Warning Level = iota
	// Error: the client refuses it, or it is wrong in the strict reading.
	Error
)

// String returns "warning" or "error".
func (l Level) String() string {
	if l == Error {
		return "error"
	}
	return "warning"
}

// A Problem is something wrong or doubtful in a configuration file. It is an
// error value.
type Problem struct {
	At    Origin
	Level Level
	Text  string // a phrase: what is wrong
	Hint  string // what to do about it; may be empty
	// General says that it is about what the file is for, and that nothing in
	// it is wrong.
	General bool
}

// Error returns file:line:column and the text.
func (p *Problem) Error() string {
	at := p.At.String()
	if p.At.Column > 0 {
		at = fmt.Sprintf("%s:%d", at, p.At.Column)
	}
	if at == "" {
		return p.Text
	}
	return at + ": " + p.Text
}
