package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// A Dialect is how one client reads rules: a table of knobs. The zero value is
// not useful; take [Native], or one from [DialectOf] and turn a knob of the
// copy.
type Dialect struct {
	// Client is the client's name, "" in the native reading. Readers of
	// rules/conf look at it where a format has a quirk of its own.
	Client string

	// HubKeys are the keys under which Docker Hub's images are looked up, in
	// this order.
	HubKeys []string
	// HubName is what the client calls Docker Hub in a name: "docker.io" or
	// "index.docker.io".
	HubName string
	// HubWire is the host that is asked for Docker Hub.
	HubWire string
	// HubWireAlways also holds for docker.io written as an endpoint; otherwise
	// HubWire is only for the image's own registry.
	HubWireAlways bool

	// HubAliases are hosts that mean Docker Hub in a reference, besides
	// docker.io and index.docker.io.
	HubAliases []string
	// HubLibrary puts "library/" in front of a name of one component that a
	// rewrite makes for an image of Docker Hub.
	HubLibrary bool

	// FoldCase compares hosts without case.
	FoldCase bool
	// Textual matches and rewrites names as text, as containers/image does: a
	// host matches whatever its port is, the longest key as text wins, the
	// rest of the name is glued to the endpoint, and one result that is no
	// reference fails the whole plan.
	Textual bool
	// PortKeys are ports that are tried with a host that has none, after the
	// host itself.
	PortKeys []string
	// AnyFirst lets the catch-all beat a key of the host's own.
	AnyFirst bool
	// TieFails makes two rules for the same names an error; otherwise the
	// first is taken.
	TieFails bool

	// NoIPv6 refuses references to a host that is an IPv6 literal.
	NoIPv6 bool
	// NoCapitalHosts takes a first part that would be a host by its capitals
	// alone, "QUAYIO", for a part of the path, which may have none, and so
	// refuses the reference.
	NoCapitalHosts bool
	// DropTag drops the tag of a reference with a tag and a digest.
	DropTag bool
	// KeepSpelling leaves a reference that no rule changes as the user wrote
	// it.
	KeepSpelling bool
	// ShortNames resolves names without a registry by [ShortNames].
	ShortNames bool

	// ReadOnly uses rules for reading alone: a push goes to the original.
	ReadOnly bool
	// BlockByName looks again, by the name that an endpoint gives, whether a
	// rule blocks it, and does not look at the rule's own mark.
	BlockByName bool
	// BlockByRule lets a rule's mark block its upstream, wherever it is.
	BlockByRule bool
	// CheckNames finds endpoints unusable where the name there would not be a
	// repository's name.
	CheckNames bool
	// HostInPath takes the first part of a repository's name at a mirror for
	// the host where it looks like one, and asks that host instead of the
	// mirror, as go-containerregistry does in reading a name again.
	HostInPath bool
	// PushPrimary pushes to what the rule puts as the upstream, where rules are
	// for reading; otherwise a push goes to the image's own registry.
	PushPrimary bool
	// Localhost is how the image's own registry is reached where it is on
	// this machine and nothing is configured for it.
	Localhost LocalhostRule
	// SplitFallback makes two tries of an endpoint that falls back to plain
	// HTTP.
	SplitFallback bool

	// Can is all that the client asks any place for; the zero value means
	// everything.
	Can Can
	// GoesOn are the failures of a place after which the next is tried.
	GoesOn Failures
	// Shows says which details of a try are part of what the client's own
	// format can say; `explain --json` leaves out the others.
	Shows Detail
}

// A LocalhostRule says how a registry on this machine is reached.
type LocalhostRule uint8

const (
	// LocalhostVerified: like any other.
	LocalhostVerified LocalhostRule = iota
	// LocalhostFallback: HTTPS without verification, then plain HTTP; port 443
	// and none never HTTP, port 80 only HTTP (containerd).
	LocalhostFallback
	// LocalhostHTTP: plain HTTP (BuildKit, go-containerregistry).
	LocalhostHTTP
	// LocalhostPortHTTP: plain HTTP where it has a port other than 443 (k3s).
	LocalhostPortHTTP
	// LocalhostOrPrivate: verified HTTPS, then plain HTTP, also for addresses
	// of private networks, and for mirrors (go-containerregistry,
	// pkg/name Registry.Scheme and transport.Ping).
	LocalhostOrPrivate
	// LocalhostPlain: plain HTTP, and no verification should it be redirected
	// to HTTPS (containerd's old mirrors).
	LocalhostPlain
	// LocalhostInsecure: HTTPS without verification, then plain HTTP, whatever
	// the port (Docker).
	LocalhostInsecure
)

// Failures is a set of ways in which a place can fail.
type Failures uint8

const (
	// Unreachable: no connection.
	Unreachable Failures = 1 << iota
	// BadTLS: a connection, but no trust.
	BadTLS
	// Unauthorized: 401 or 403.
	Unauthorized
	// Absent: 404.
	Absent
	// Broken: another status, or something that is no manifest.
	Broken

	// AnyFailure is all of these.
	AnyFailure = Unreachable | BadTLS | Unauthorized | Absent | Broken
)

// Names returns the names of what is in the set, in the order "unreachable",
// "tls", "auth", "absent", "broken".
func (f Failures) Names() []string {
	var names []string
	for i, name := range [...]string{"unreachable", "tls", "auth", "absent", "broken"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Detail is a set of details of a try.
type Detail uint8

const (
	// ShowCan: what the place may be asked for.
	ShowCan Detail = 1 << iota
	// ShowFallback: that plain HTTP follows HTTPS. Left out where "insecure"
	// means that already.
	ShowFallback
	// ShowHTTP: that it is plain HTTP.
	ShowHTTP
	// ShowNS: the value of ns.
	ShowNS
)

// Strict reports whether d is the native reading.
func (d Dialect) Strict() bool { return d.Client == "" }

// Parse reads a reference as the client does, and gives it the tag "latest"
// where it has none. Docker Hub is docker.io in the result, whatever the client
// calls it.
func (d Dialect) Parse(name string) (ref.Ref, error) {
	r, err := ref.Parse(name)
	if err != nil {
		return ref.Ref{}, err
	}
	if slices.Contains(d.HubAliases, r.Host) {
		if r, err = ref.Parse(ref.DockerHub + strings.TrimPrefix(r.String(), r.Host)); err != nil {
			return ref.Ref{}, err
		}
	}
	if err := d.refuses(r); err != nil {
		return ref.Ref{}, fmt.Errorf("%q: %w", name, err)
	}
	return d.normal(r), nil
}

// Format returns a reference in the client's normalised form.
func (d Dialect) Format(r ref.Ref) string {
	if r.Host == ref.DockerHub {
		r.Host = d.HubName
	}
	return r.String()
}

var (
	errIPv6     = errors.New("this client refuses references to an IPv6 literal")
	errCapitals = errors.New("this client takes no host without a dot or a port: a repository's name must be lower-case")
)

func (d Dialect) refuses(r ref.Ref) error {
	switch {
	case d.NoIPv6 && strings.HasPrefix(r.Host, "["):
		return errIPv6
	case d.NoCapitalHosts && !strings.ContainsAny(r.Host, ".:") && r.Host != "localhost":
		return errCapitals
	}
	return nil
}

func (d Dialect) normal(r ref.Ref) ref.Ref {
	if d.DropTag && r.Digest != "" {
		r.Tag = ""
	}
	return r.WithDefaultTag()
}

// wire returns the host that is asked for a place. configured says that a file
// names the host, rather than the reference.
func (d Dialect) wire(host string, configured bool) string {
	if host == ref.DockerHub && (!configured || d.HubWireAlways) {
		return d.HubWire
	}
	return host
}
