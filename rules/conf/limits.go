package conf

import "github.com/entrepot/entrepot/rules"

// limits say what a format can express. The zero value is a format with rules
// for registries, each with any number of mirrors and the original behind them,
// and none of the features that follow.
type limits struct {
	namespaces bool // rules for a namespace or a repository
	wildcards  bool // rules for the hosts below a domain
	everything bool // a rule for all hosts
	hubOnly    bool // mirrors for Docker Hub alone
	single     bool // exactly one place, and never the original beside another
	ownInside  bool // the original in front of a mirror
	rewrites   bool
	blocked    bool // a registry that is never asked
	bareBlock  bool // without a mirror, too
	noIPv6     bool // neither images nor mirrors at an IPv6 literal
	noOneLabel bool // no mirror at a host without dot and port
	noDotted   bool // no dot in the first part of a mirror's namespace
	anyAlone   bool // a rule for all hosts beats every other
	reversed   bool // mirrors are tried from the end, which is no promise
	local      bool // a registry on this machine is plain HTTP unless it is said
	literalHub bool // a mirror at Docker Hub has the settings of the name that is written
	plainAlone bool // a host that is asked by plain HTTP has no settings of TLS
	wireKeys   bool // settings of Docker Hub are under the host that is asked
	nowhere    bool // a rule that leads nowhere
	exempt     bool // a rule without mirrors, which keeps a broader one away

	bareRoot bool // the root of a host may be that of the API, where paths are free
	paths    paths
	kinds    rules.Kinds // Digests: mirrors for digests alone; Tags: for tags alone
	// kindsOwn says that kinds holds for the original as well.
	kindsOwn bool
	ending   ending
	ns       nsKind
	// reach says how each reach is written; where it is missing it is refused.
	reach map[reach]reachAs
	// reachOwn is the same for the original; nil where there is no difference.
	reachOwn map[reach]reachAs
	// reachAny is the same for each original of a rule for all hosts; nil where
	// it is always reached as it is without a rule, and has no certificates.
	reachAny map[reach]reachAs
	// hubVerified says that Docker Hub itself is always verified.
	hubVerified bool
	// forced returns how the client reaches a host whatever is written; nil
	// where there is no such thing.
	forced func(host string, own bool, r reach) reach
	scope  scopeOf
	certs  certs
	header bool
	dial   bool // a timeout for connecting
}

// paths say which paths a mirror may have.
type paths uint8

const (
	pathsNone      paths = iota // none at all
	pathsBefore                 // in front of /v2
	pathsNamespace              // behind /v2, a valid name
	pathsAnyCase                // behind /v2
	pathsFree                   // anything
)

// An ending says what may come last in a rule instead of the original.
type ending uint8

const (
	endsOriginal ending = iota // nothing: refused
	endsWarned                 // nothing: the original comes back, with a warning
	endsByFlag                 // a flag of the client leaves the original out of all rules
	endsBare                   // a rule can leave the original out
	endsAnywhere               // another place stands for the original
)

// An nsKind says what a client sends in ns.
type nsKind uint8

const (
	nsNever   nsKind = iota
	nsSource         // the host of the image
	nsWire           // the host that is asked for the image
	nsLiteral        // what is written
)

// A scopeOf says what the settings of a host hold for.
type scopeOf uint8

const (
	scopePlace scopeOf = iota // the one place
	scopeTLS                  // the host in every rule, but whether it is plain HTTP
	scopeHost                 // the host in every rule
)

// certs say which certificates can be named.
type certs uint8

const (
	certsNone      certs = iota // refused
	certsElsewhere              // in a directory of the client, with a warning
	certsInline                 // the text of one file of authorities
	certsOne                    // one file of authorities, one pair
	certsFiles                  // any
)

// A reachAs is how a format writes a reach.
type reachAs struct {
	as      reach
	feature string // of the loss; empty where there is none
	text    string
}

// The features that a loss can be of.
const (
	featureAny         = "catch-all"
	featureBlocked     = "blocked"
	featureCA          = "ca"
	featureClient      = "client-certificate"
	featureCan         = "capabilities"
	featureDialTimeout = "dial-timeout"
	featureDifference  = "difference"
	featureDigestOnly  = "digest-only"
	featureDotted      = "dotted-namespace"
	featureDuplicate   = "duplicate-rule"
	featureExempt      = "exemption"
	featureFailing     = "failing-rule"
	featureHeader      = "header"
	featureHostTLS     = "host-tls"
	featureInlineAuth  = "inline-auth"
	featureInvalid     = "invalid-result"
	featureHubName     = "hub-name"
	featureIPv6        = "ipv6"
	featureMirrorPath  = "mirror-namespace"
	featureLocal       = "local-host"
	featureNamespace   = "namespace-match"
	featureNetwork     = "network"
	featureNoFallback  = "no-fallback"
	featureNonHub      = "non-hub"
	featureNS          = "ns"
	featureOneLabel    = "one-label-host"
	featureOrder       = "order"
	featureOwnPath     = "original-elsewhere"
	featurePerRuleTLS  = "per-rule-tls"
	featurePlainHTTP   = "plain-http"
	featureFallback    = "http-fallback"
	featureRewrite     = "rewrite"
	featureRoot        = "api-root"
	featureSeveral     = "several-places"
	featureShortNames  = "short-names"
	featureSkipVerify  = "skip-verify"
	featureTagOnly     = "tag-only"
	featureTwice       = "place-twice"
	featureUnusable    = "unusable"
	featureUppercase   = "uppercase-path"
	featureWildcard    = "wildcard-subdomain"
)

// exact returns the table of a format that writes these as they are.
func exact(rs ...reach) map[reach]reachAs {
	m := map[reach]reachAs{verified: {as: verified}}
	for _, r := range rs {
		m[r] = reachAs{as: r}
	}
	return m
}

// with returns the table with what a reach becomes beside it.
func with(m map[reach]reachAs, from, as reach, feature, text string) map[reach]reachAs {
	m[from] = reachAs{as, feature, text}
	return m
}

// writers is the table of the formats that are written.
func writers() map[string]writer {
	return map[string]writer{
		"registries.conf": {registriesConfLimits(), writeRegistriesConf},
		"hosts.toml":      {hostsTomlLimits(), writeHostsToml},
		"cnb":             {cnbLimits(), writeCNB},
		"pack":            {packLimits(), writePack},
		"daemon.json":     {daemonJSONLimits(), writeDaemonJSON},
		"buildkitd.toml":  {buildkitdLimits(), writeBuildkitdToml},
		"k3s":             {k3sLimits(), writeK3s},
		"openshift":       {openshiftLimits(), writeOpenShift},
		"talos":           {talosLimits(), writeTalos},
		"kaniko":          {kanikoLimits(), writeKaniko},
		"regclient":       {regclientLimits(), writeRegclient},
	}
}
