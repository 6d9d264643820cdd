package cli

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
	"github.com/entrepot/entrepot/remote"
	"github.com/entrepot/entrepot/rules"
)

// A network is one side of a copy: the registries that are read through mirror
// rules, or those that are written to. Its methods are safe for concurrent use.
type network struct {
	client *remote.Client
	flags  *networkFlags
	creds  remote.Credentials
	view   *view
	writes bool

	requests atomic.Int64 // that were sent

	mu        sync.Mutex                       // guards what follows
	endpoints map[endpointKey]*remote.Endpoint // :: where → endpoint
	schemes   map[string]*schemeOf             // :: host that may lack TLS → what it speaks
}

// An endpointKey is what makes two places one endpoint.
type endpointKey struct {
	url, ns   string
	transport *rules.Transport
	skip      bool
}

type schemeOf struct {
	once   sync.Once
	scheme string
}

// A networkConfig says what the requests of a network are like.
type networkConfig struct {
	jobs   int // at once for each host and kind, 0 chooses
	retry  int // attempts of one request, 0 chooses
	writes bool
	log    *slog.Logger
}

// The defaults of a networkConfig: a copy is work that nobody sits and waits
// for (spec/reliability.md, 1).
const (
	defaultJobs     = 64
	defaultAttempts = 8
)

// network makes one side. Whoever made it closes its client.
func (n *networkFlags) network(v *view, cfg networkConfig, env Env) (*network, error) {
	creds, err := n.credentials(v.client, env.Getenv)
	if err != nil {
		return nil, err
	}
	w := &network{flags: n, creds: creds, view: v, writes: cfg.writes,
		endpoints: map[endpointKey]*remote.Endpoint{}, schemes: map[string]*schemeOf{}}
	if cfg.jobs == 0 {
		cfg.jobs = defaultJobs
	}
	if cfg.retry == 0 {
		cfg.retry = defaultAttempts
	}
	w.client = remote.NewClient(remote.ClientConfig{
		UserAgent: "entrepot/" + readVersion().Version,
		Retry:     remote.Retry{Attempts: cfg.retry, Wait: true},
		Jobs:      cfg.jobs,
		Log:       cfg.log,
		Observe: func(e remote.Event) {
			if e.Class != remote.ClassPaused && e.Class != remote.ClassAuth {
				w.requests.Add(1)
			}
		},
	})
	return w, nil
}

// plan names the places where an image is read, for a mirror.
func (w *network) plan(op mirror.Op, r ref.Ref) ([]mirror.Place, error) {
	want := rules.Pull
	switch op {
	case mirror.OpResolve:
		want = rules.Resolve
	case mirror.OpReferrers:
		want = rules.Referrers
	}
	plan := w.view.set.Plan(r, want, w.view.dialect)
	if plan.Err != nil {
		return nil, plan.Err
	}
	var places []mirror.Place
	for i := range plan.Tries {
		t := &plan.Tries[i]
		if t.Blocked || t.Unusable != "" {
			continue
		}
		e, err := w.endpoint(t)
		if err != nil {
			return nil, err
		}
		places = append(places, mirror.Place{
			Reader: e, Name: t.Ref.Name, Label: e.Label(), Tags: t.Can&rules.Resolve != 0, Original: t.Original,
		})
	}
	return places, nil
}

// to returns the registry that a repository is written to.
func (w *network) to(n ref.Name) (*remote.Endpoint, error) {
	plan := w.view.set.Plan(ref.Ref{Name: n, Tag: "latest"}, rules.Push, w.view.dialect)
	if plan.Err != nil {
		return nil, plan.Err
	}
	return w.endpoint(&plan.Tries[0])
}

// reach returns how a registry is written to, for the configuration of others.
func (w *network) reach(host string) relocate.Reach {
	plan := w.view.set.Plan(ref.Name{Host: host, Path: "x"}.WithTag("latest"), rules.Push, w.view.dialect)
	if plan.Err != nil {
		return relocate.Reach{}
	}
	t := w.flags.apply(plan.Tries[0])
	r := relocate.Reach{PlainHTTP: w.scheme(&t) == "http", SkipVerify: t.Insecure()}
	if t.Transport != nil && !r.PlainHTTP {
		for _, file := range t.Transport.CA {
			if abs, err := filepath.Abs(file); err == nil {
				file = abs
			}
			r.CA = append(r.CA, file)
		}
	}
	return r
}

// isOwnHere reports whether a place is an image's own registry on this machine:
// those often lack TLS, and nobody says so.
func isOwnHere(t *rules.Try) bool {
	return t.Original && t.Scheme == rules.HTTPS && (isLoopback(t.Host) || isLoopback(t.Host+":443"))
}

// scheme returns how a place is spoken to: registries on this machine by what
// they answer.
func (w *network) scheme(t *rules.Try) string {
	if isOwnHere(t) || t.Scheme == rules.HTTPSThenHTTP {
		return w.speaks(t.Host)
	}
	return firstScheme(t)
}

// endpoint returns the endpoint of a place, the same one for the same place.
func (w *network) endpoint(place *rules.Try) (*remote.Endpoint, error) {
	t := w.flags.apply(*place)
	cfg := endpointOf(&t, w.scheme(&t))
	key := endpointKey{cfg.URL, t.NS, place.Transport, t.Insecure()}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.endpoints[key]; e != nil {
		return e, nil
	}
	tlsConfig, err := tlsOf(t.Transport)
	if err != nil {
		return nil, err
	}
	cfg.AllowPrivate, cfg.LocalTokens, cfg.Credentials = true, true, w.creds
	cfg.TrustHead, cfg.AssumeAbsent = w.writes, w.writes
	if own := (remote.TransportConfig{TLS: tlsConfig, DialTimeout: dialTimeout(t.Transport)}); own != (remote.TransportConfig{}) {
		cfg.Transport = w.client.Transport(own)
	}
	e, err := w.client.Endpoint(cfg)
	if err != nil {
		return nil, err
	}
	w.endpoints[key] = e
	return e, nil
}

// tlsAnswer is how long a host may take to show that it speaks TLS.
const tlsAnswer = 5 * time.Second

// speaks finds out once whether a host speaks TLS. Its certificate is no
// matter here: whether it is good is seen when something is asked.
func (w *network) speaks(host string) string {
	w.mu.Lock()
	s := w.schemes[host]
	if s == nil {
		s = new(schemeOf)
		w.schemes[host] = s
	}
	w.mu.Unlock()
	s.once.Do(func() {
		s.scheme = "http"
		if !hasPort(host) {
			host += ":443"
		}
		d := tls.Dialer{NetDialer: &net.Dialer{Timeout: tlsAnswer}, Config: &tls.Config{InsecureSkipVerify: true}}
		ctx, cancel := context.WithTimeout(context.Background(), tlsAnswer)
		defer cancel()
		if conn, err := d.DialContext(ctx, "tcp", host); err == nil {
			conn.Close()
			s.scheme = "https"
		}
	})
	return s.scheme
}

func hasPort(host string) bool {
	return strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']')
}
