package remote

import "time"

// A Kind says what a request is about, for metrics.
type Kind string

// The kinds of requests.
const (
	KindManifest  Kind = "manifest"
	KindBlob      Kind = "blob"
	KindTags      Kind = "tags"
	KindCatalog   Kind = "catalog"
	KindReferrers Kind = "referrers"
	KindUpload    Kind = "upload"
	KindToken     Kind = "token"
)

// A Class says in one word why a request had no answer, for metrics.
type Class string

// The classes of failures. An answer of any status is none.
const (
	ClassNone     Class = ""
	ClassDial     Class = "dial" // no connection, in time or at all
	ClassDNS      Class = "dns"
	ClassTLS      Class = "tls"
	ClassGuard    Class = "guard"    // the address is not allowed, see GuardError
	ClassTimeout  Class = "timeout"  // connected, but no headers in time
	ClassStall    Class = "stall"    // the body stopped, either way
	ClassBroken   Class = "broken"   // the connection broke
	ClassGarbage  Class = "garbage"  // what came is not HTTP
	ClassPaused   Class = "paused"   // not sent: the host asked for a pause
	ClassAuth     Class = "auth"     // not sent: the token that it needs is not to be had
	ClassCanceled Class = "canceled" // the caller gave up
	ClassSource   Class = "source"   // the content to send could not be read
)

// An Event is one request on the wire, once it is over: each attempt and each
// hop of a redirect is one, and so is a request that was not sent because its
// host is paused.
type Event struct {
	Endpoint  string // the endpoint's label
	Host      string // who was asked: the endpoint, a token server, a CDN; host:port
	Kind      Kind
	Method    string
	Code      int           // the status; 0 where there was no answer
	Bytes     int64         // of the body that was received
	Sent      int64         // bytes of the body that was sent
	Duration  time.Duration // from the start to the end of the body
	Class     Class         // why there was no answer, or why its body broke
	Account   string        // the user's name that the request was authorised with; "" for none, or one without a name
	Remaining int64         // what the endpoint's RateLimit-Remaining said, -1 where it said nothing
	Limit     int64         // what its RateLimit-Limit said, -1 where it said nothing
}
