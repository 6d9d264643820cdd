package remote

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"cmp"

	"github.com/entrepot/entrepot/oci"
)

const (
	maxPause     = 5 * time.Minute // however long a host asks for
	defaultPause = 5 * time.Second // after a 429 that does not say how long
)

// Retry says what happens after a failure that another attempt may not meet:
// no connection, a broken one, and the statuses 408, 425, 429 and 5xx
// (spec/reliability.md, 1). The wait before an attempt is drawn evenly between
// 0 and Base doubled for each failure before it, at most Cap.
type Retry struct {
	Attempts int           // of one request, all of them; 0 means 2
	Base     time.Duration // 0 means 250 ms
	Cap      time.Duration // 0 means 30 s

	// Wait is for work that nobody sits and waits for: requests to a host that
	// asked for a pause wait for its end, and what took too long is tried
	// again. Without it both fail at once, so that a server can answer, or go
	// elsewhere.
	Wait bool
}

func (r Retry) attempts() int { return max(cmp.Or(r.Attempts, 2), 1) }

// delay returns how long to wait after the failures so far, 1 or more.
func (r Retry) delay(failures int) time.Duration {
	base, limit := cmp.Or(r.Base, 250*time.Millisecond), cmp.Or(r.Cap, 30*time.Second)
	ceiling := limit
	if n := failures - 1; n < 20 {
		ceiling = min(base<<n, limit)
	}
	return rand.N(ceiling + 1)
}

// sleep waits, and reports whether the time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pauses holds who asked not to be asked for a while, and by whom. A 429 is
// about one account, which has used up what it is given: the others of the same
// host go on (spec/serve.md, B5). A 503 is about the host.
type pauses struct {
	mu sync.Mutex         // guards m
	m  map[pauseKey]pause // :: host and account → pause
}

// A pauseKey is a host, as one account sees it, or for everybody.
type pauseKey struct {
	host     string // host:port
	everyone bool
	who      Credential // the zero value for requests without one
}

// maxPauses bounds how many pauses are remembered: callers who log in
// themselves bring any number of accounts.
const maxPauses = 4096

type pause struct {
	until time.Time
	code  string // the error code while it lasts
}

// note reads an answer and remembers the pause that it asks for, if it does.
func (p *pauses) note(host string, who Credential, res *http.Response, now time.Time) {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return
	}
	d, said := parseRetryAfter(res.Header.Get("Retry-After"), now)
	code, k := "", pauseKey{host: host, everyone: true}
	if res.StatusCode == http.StatusTooManyRequests {
		code, k = oci.CodeTooManyRequests, pauseKey{host: host, who: who}
		if !said {
			d = defaultPause
		}
	}
	if d == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tidy(now)
	// A shorter pause does not end a longer one.
	if until := now.Add(d); until.After(p.m[k].until) {
		p.m[k] = pause{until: until, code: code}
	}
}

// tidy makes room for another pause. The caller holds mu.
func (p *pauses) tidy(now time.Time) {
	if p.m == nil {
		p.m = make(map[pauseKey]pause)
	}
	maps.DeleteFunc(p.m, func(_ pauseKey, old pause) bool { return !now.Before(old.until) })
	for k := range p.m {
		if len(p.m) < maxPauses {
			break
		}
		delete(p.m, k) // it costs a request to learn it again
	}
}

// get returns the code and the rest of the pause that an account has at a host,
// 0 where it has none.
func (p *pauses) get(host string, who Credential, now time.Time) (code string, left time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range [...]pauseKey{{host: host, everyone: true}, {host: host, who: who}} {
		one, ok := p.m[k]
		if !ok {
			continue
		}
		// A clock that was set back must not make a pause longer than it can be.
		if d := clampPause(one.until.Sub(now)); d > left {
			code, left = one.code, d
		}
	}
	return code, left
}

// forget ends the pauses that accounts have, but not those of whole hosts.
func (p *pauses) forget(hosts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.m, func(k pauseKey, _ pause) bool { return !k.everyone && slices.Contains(hosts, k.host) })
}

// pass returns nil once an account's requests may be sent to host: at once, or
// after its pause where the client waits.
func (c *Client) pass(ctx context.Context, host string, who Credential) error {
	for {
		code, left := c.pauses.get(host, who, c.now())
		if left == 0 {
			return nil
		}
		if !c.cfg.Retry.Wait {
			return &oci.Error{Kind: oci.ErrUnavailable, Code: code, Message: "the upstream asked for a pause", RetryAfter: left, Err: errPaused}
		}
		if !sleep(ctx, left) {
			return context.Cause(ctx)
		}
	}
}

// parseRetryAfter reads a Retry-After header, seconds or a date (RFC 9110,
// 10.2.3), at most maxPause. It reports whether the header said something.
func parseRetryAfter(s string, now time.Time) (time.Duration, bool) {
	if s == "" {
		return 0, false
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		if n > uint64(maxPause/time.Second) {
			return maxPause, true
		}
		return time.Duration(n) * time.Second, true
	}
	t, err := http.ParseTime(s)
	if err != nil {
		return 0, false
	}
	return clampPause(t.Sub(now)), true
}
