package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/remote"
	"github.com/entrepot/entrepot/rules"
)

// probeTimeout is how long one place may take to answer.
const probeTimeout = 15 * time.Second

// A probed place is what a place answered.
type probed struct {
	OK     bool       `json:"ok"`
	Class  probeClass `json:"class"`
	Status int        `json:"status,omitempty"` // the last of the manifest's; 0 where there was none
	Digest string     `json:"digest,omitempty"`
	MS     int64      `json:"ms"`
	Error  string     `json:"error,omitempty"`

	distrust bool // there was a certificate, and it is not trusted
}

// String is the line of the table.
func (p *probed) String() string {
	switch {
	case p.OK:
		return fmt.Sprintf("%s: %s", p.Class, p.Digest)
	case p.Status != 0:
		return fmt.Sprintf("%s: status %d", p.Class, p.Status)
	default:
		return fmt.Sprintf("%s: %s", p.Class, p.Error)
	}
}

// A probeClass says how a place answered, in one word.
type probeClass string

const (
	classUnreachable probeClass = "unreachable" // no connection, or no answer in time
	classTLS         probeClass = "tls"         // a connection, but no trust
	classAuth        probeClass = "auth"        // 401 or 403
	classAbsent      probeClass = "absent"      // 404
	classBroken      probeClass = "broken"      // anything else that is no manifest
	classReadable    probeClass = "readable"
)

// failure returns what the class is for a client.
func (c probeClass) failure() rules.Failures {
	switch c {
	case classUnreachable:
		return rules.Unreachable
	case classTLS:
		return rules.BadTLS
	case classAuth:
		return rules.Unauthorized
	case classAbsent:
		return rules.Absent
	default:
		return rules.Broken
	}
}

// A prober asks places for images, each with its own credentials.
type prober struct {
	net   *networkFlags
	creds remote.Credentials
	root  string // below which the files of rules are; "" for "/"
	// loopback also tries plain HTTP with images' own registries on this
	// machine. A client that is emulated does it by its own rule, or not at all.
	loopback bool
}

// prober returns a prober for what a client does on the machine below root.
func (n *networkFlags) prober(client, root string, env Env) (*prober, error) {
	creds, err := n.credentials(client, env.Getenv)
	return &prober{net: n, creds: creds, root: root, loopback: client == native}, err
}

// probe asks every place of e at once, and finds out which would win.
func (e *explained) probe(ctx context.Context, pr *prober) {
	tries := e.tries()
	e.probes = make([]*probed, len(tries))
	var wg sync.WaitGroup
	for i, t := range tries {
		if t.Blocked || t.Unusable != "" {
			continue
		}
		wg.Go(func() { e.probes[i] = pr.try(ctx, t) })
	}
	wg.Wait()
	e.outcome = e.winner()
	if e.err == nil && e.outcome.from < 0 {
		e.err = errors.New(e.outcome.text)
	}
}

// An outcome is where an image would come from.
type outcome struct {
	from int // the try, -1 for none
	text string
}

// winner follows the probes as the client would.
func (e *explained) winner() outcome {
	failed := ""
	for i, p := range e.probes {
		switch {
		case p == nil:
			continue
		case p.OK:
			return outcome{i, fmt.Sprintf("it would come from %d%s", i+1, failed)}
		case e.view.dialect.GoesOn&p.Class.failure() == 0:
			return outcome{-1, fmt.Sprintf("it would end at %d: %s, after which the client does not go on", i+1, p.Class)}
		}
		failed += fmt.Sprintf("; %d is %s", i+1, p.Class)
	}
	return outcome{-1, "no place can be read" + failed}
}

// try asks one place: by HTTPS and, where the client does so, by HTTP.
func (pr *prober) try(ctx context.Context, place *rules.Try) *probed {
	t := *place
	t.Transport = below(pr.root, t.Transport)
	t = pr.net.apply(t)
	if pr.loopback && isOwnHere(&t) {
		t.Scheme = rules.HTTPSThenHTTP
	}
	p := pr.once(ctx, &t, firstScheme(&t))
	if t.Scheme != rules.HTTPSThenHTTP || p.Class != classTLS && p.Class != classUnreachable {
		return p
	}
	plain := pr.once(ctx, &t, "http")
	if !plain.OK && p.distrust {
		return p // it does speak TLS, and that is what is wrong
	}
	return plain
}

func (pr *prober) once(ctx context.Context, t *rules.Try, scheme string) *probed {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	start := time.Now()
	var last lastEvent
	d, err := pr.ask(ctx, t, scheme, last.note)
	p := &probed{OK: err == nil, Class: last.classOf(err), Status: last.status, MS: time.Since(start).Milliseconds()}
	if err != nil {
		p.Error = err.Error()
		_, p.distrust = errors.AsType[*tls.CertificateVerificationError](err)
	} else {
		p.Digest = string(d.Digest)
	}
	return p
}

// ask resolves the manifest at a place: by HEAD, or by GET where that does not
// say enough. It speaks to the place as the rule says, with its certificates,
// headers and time to dial.
func (pr *prober) ask(ctx context.Context, t *rules.Try, scheme string, observe func(remote.Event)) (oci.Descriptor, error) {
	cfg, err := clientOf(t.Transport)
	if err != nil {
		return oci.Descriptor{}, &settingsError{err}
	}
	cfg.Observe = observe
	client := remote.NewClient(cfg)
	defer client.Close()
	at := endpointOf(t, scheme)
	at.AllowPrivate, at.Credentials = true, pr.creds
	endpoint, err := client.Endpoint(at)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return endpoint.Resolve(ctx, t.Ref)
}

// clientOf configures a client that asks once, with the settings of a place.
func clientOf(t *rules.Transport) (remote.ClientConfig, error) {
	cfg := remote.ClientConfig{Retry: remote.Retry{Attempts: 1}}
	var err error
	cfg.DialTimeout = dialTimeout(t)
	cfg.TLS, err = tlsOf(t)
	return cfg, err
}

// A settingsError says that a place cannot be spoken to as its rule says.
type settingsError struct{ err error }

func (e *settingsError) Error() string { return e.err.Error() }
func (e *settingsError) Unwrap() error { return e.err }

// lastEvent keeps what the last request of a probe came to.
type lastEvent struct {
	mu     sync.Mutex // guards all below
	status int
	class  remote.Class
}

func (l *lastEvent) note(e remote.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.class = e.Class
	if e.Kind == remote.KindManifest {
		l.status = e.Code
	}
}

// classOf sorts the answer of a place.
func (l *lastEvent) classOf(err error) probeClass {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		return classReadable
	case errors.Is(err, oci.ErrUnauthorized), errors.Is(err, oci.ErrDenied):
		return classAuth
	case errors.Is(err, oci.ErrNotFound):
		return classAbsent
	case errors.Is(err, context.DeadlineExceeded):
		return classUnreachable
	}
	if _, ok := errors.AsType[*settingsError](err); ok {
		return classTLS
	}
	switch l.class {
	case remote.ClassTLS:
		return classTLS
	case remote.ClassDial, remote.ClassDNS, remote.ClassTimeout, remote.ClassGuard:
		return classUnreachable
	default:
		return classBroken
	}
}
