package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/oci"
)

func TestRetryAfterPausesTheHost(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		header string
		code   string
		pause  time.Duration
	}{
		{"seconds", 429, "60", oci.CodeTooManyRequests, time.Minute},
		{"nothing said", 429, "", oci.CodeTooManyRequests, defaultPause},
		{"capped", 429, "86400", oci.CodeTooManyRequests, maxPause},
		{"503", 503, "30", "", 30 * time.Second},
		{"date", 429, "Sat, 01 Jan 2000 00:00:45 GMT", oci.CodeTooManyRequests, 45 * time.Second}, // a bubble's clock starts there
	} {
		t.Run(tt.name, func(t *testing.T) {
			var fine atomic.Bool
			bubble(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
				if fine.Load() {
					serveManifest(w, oci.TypeImageManifest, manifestJSON)
					return
				}
				if tt.header != "" {
					w.Header().Set("Retry-After", tt.header)
				}
				w.WriteHeader(tt.status)
			}, func(t *testing.T, e *Endpoint, log *wireLog) {
				for range 5 {
					_, err := e.Manifest(t.Context(), repo.WithTag("v1"))
					told, ok := errors.AsType[*oci.Error](err)
					if !ok || told.Kind != oci.ErrUnavailable || told.Code != tt.code || told.RetryAfter != tt.pause {
						t.Fatalf("error %#v, want unavailable, code %q, to retry after %s", err, tt.code, tt.pause)
					}
				}
				if got := log.get(); len(got) != 1 {
					t.Errorf("the host was asked %d times in its pause: %q", len(got), got)
				}
				fine.Store(true)
				time.Sleep(tt.pause - time.Second)
				if _, err := e.Manifest(t.Context(), repo.WithTag("v1")); err == nil {
					t.Error("a request went through before the end of the pause")
				}
				time.Sleep(time.Second)
				if _, err := e.Manifest(t.Context(), repo.WithTag("v1")); err != nil {
					t.Errorf("after the pause: %v", err)
				}
			})
		})
	}
}

func TestPauses(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var p pauses
	note := func(host string, status int, after string) {
		p.note(host, Credential{}, &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}}}, now)
	}
	note("a:443", 429, "60")
	note("a:443", 429, "10") // does not end the longer one
	note("b:443", 503, "30")
	note("c:443", 503, "")
	note("d:443", 500, "30")
	for host, want := range map[string]time.Duration{"a:443": time.Minute, "a:80": 0, "b:443": 30 * time.Second, "c:443": 0, "d:443": 0} {
		if _, left := p.get(host, Credential{}, now); left != want {
			t.Errorf("%s is paused for %s, want %s", host, left, want)
		}
	}
	if _, left := p.get("a:443", Credential{}, now.Add(-time.Hour)); left > maxPause {
		t.Errorf("a clock that was set back makes a pause of %s", left)
	}
	now = now.Add(time.Hour)
	note("e:443", 429, "1")
	if len(p.m) != 1 {
		t.Errorf("%d pauses are kept, of which one lasts", len(p.m))
	}
}

// TestWatchdogIgnoresLateSending holds that a request whose body is still being
// written when its answer comes is not ended by the clock for the headers.
func TestWatchdogIgnoresLateSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		dog := newWatchdog(cancel)
		dog.sending(time.Minute, errNoHeaders)
		dog.answer()
		dog.sending(time.Minute, errNoHeaders)
		time.Sleep(time.Hour)
		if ctx.Err() != nil {
			t.Errorf("it was ended: %v", context.Cause(ctx))
		}
		dog.reading(time.Minute)
		time.Sleep(time.Hour)
		if context.Cause(ctx) != errStalled {
			t.Errorf("a stalled read ends with %v", context.Cause(ctx))
		}
		dog.end()
	})
}

func TestWaitForThePause(t *testing.T) {
	var n atomic.Int64
	bubble(t, ClientConfig{Retry: Retry{Attempts: 8, Wait: true}}, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			w.Header().Set("Retry-After", "40")
			w.WriteHeader(429)
			return
		}
		serveManifest(w, oci.TypeImageManifest, manifestJSON)
	}, func(t *testing.T, e *Endpoint, log *wireLog) {
		start := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			synctest.Wait() // the first is refused before the others come
			wg.Go(func() { resolve1(t, e) })
		}
		wg.Wait()
		if d := time.Since(start); d < 40*time.Second {
			t.Errorf("they waited %s, want 40 s at least", d)
		}
		if got := len(log.get()); got != 11 {
			t.Errorf("%d requests, want 11", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n.Store(0)
		_, err := e.Resolve(ctx, repo.WithTag("v1"))
		if err == nil {
			t.Error("a request waited longer than its context")
		}
	})
}

func TestRetry(t *testing.T) {
	for _, tt := range []struct {
		status, requests int
		kind             error
	}{
		{408, 4, oci.ErrUnavailable}, {425, 4, oci.ErrUnavailable}, {500, 4, oci.ErrUnavailable}, {502, 4, oci.ErrUnavailable},
		{503, 4, oci.ErrUnavailable}, {504, 4, oci.ErrUnavailable}, {429, 1, oci.ErrUnavailable},
		{400, 1, oci.ErrInvalid}, {403, 1, oci.ErrDenied}, {404, 1, oci.ErrNotFound}, {405, 1, oci.ErrUnsupported}, {413, 1, oci.ErrTooLarge},
		{302, 1, oci.ErrMismatch}, {204, 1, oci.ErrMismatch}, {501, 1, oci.ErrUnsupported}, {418, 1, oci.ErrInvalid}, {410, 1, oci.ErrNotFound},
		{401, 1, oci.ErrUnauthorized},
	} {
		bubble(t, ClientConfig{Retry: Retry{Attempts: 4}}, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(tt.status)
		}, func(t *testing.T, e *Endpoint, log *wireLog) {
			start := time.Now()
			_, err := e.Manifest(t.Context(), repo.WithTag("v1"))
			wantKind(t, err, tt.kind)
			if got := len(log.get()); got != tt.requests {
				t.Errorf("status %d: %d requests, want %d", tt.status, got, tt.requests)
			}
			if d := time.Since(start); d > 1750*time.Millisecond { // 250 + 500 + 1000
				t.Errorf("status %d: %s of pauses", tt.status, d)
			}
		})
	}
}

// TestWhatTookTooLongIsNotRepeated holds that a server hears of a timeout once,
// at the time it is set to, while patient work tries again.
func TestWhatTookTooLongIsNotRepeated(t *testing.T) {
	for _, wait := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := new(memNet)
			release := make(chan struct{})
			t.Cleanup(func() { close(release) })
			log := m.serve(t, "silent.test:80", func(http.ResponseWriter, *http.Request) { <-release })
			dials := 0
			c := NewClient(ClientConfig{Retry: Retry{Attempts: 3, Wait: wait}, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				if address == "hole.test:80" {
					dials++
					return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
				}
				return m.dial(ctx, network, address)
			}})
			defer c.Close()
			for _, host := range []string{"silent.test", "hole.test"} {
				e, _ := c.Endpoint(EndpointConfig{URL: "http://" + host})
				_, err := e.Manifest(t.Context(), repo.WithTag("v1"))
				told, ok := errors.AsType[*oci.Error](err)
				if !ok || told.Kind != oci.ErrUnavailable || told.Timeout != (host == "silent.test") {
					t.Errorf("%s: %#v", host, err)
				}
			}
			want := 1
			if wait {
				want = 3
			}
			if len(log.get()) != want || dials != want {
				t.Errorf("wait %t: %d requests and %d dials, want %d of each", wait, len(log.get()), dials, want)
			}
		})
	}
}

func TestDelayIsBounded(t *testing.T) {
	var r Retry
	for n := 1; n < 100; n++ {
		if d := r.delay(n); d < 0 || d > 30*time.Second || (n == 1 && d > 250*time.Millisecond) {
			t.Fatalf("delay after %d failures: %s", n, d)
		}
	}
}

// TestTimeouts: nothing waits for ever, neither for headers nor in a body.
// container-libs#777.
func TestTimeouts(t *testing.T) {
	stuck := func(t *testing.T) chan struct{} {
		c := make(chan struct{})
		t.Cleanup(func() { close(c) })
		return c
	}
	synctest.Test(t, func(t *testing.T) {
		release := stuck(t)
		m := new(memNet)
		m.serve(t, "registry.test:80", func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/manifests/silent"):
				<-release
			case strings.HasSuffix(r.URL.Path, "/manifests/slow"):
				w.Header().Set("Content-Type", oci.TypeImageManifest)
				for i := range manifestJSON { // a byte every 29 s is no stall, however long it takes
					io.WriteString(w, manifestJSON[i:i+1])
					w.(http.Flusher).Flush()
					time.Sleep(29 * time.Second)
				}
			default:
				w.Header().Set("Content-Length", "100")
				io.WriteString(w, "0123456789")
				w.(http.Flusher).Flush()
				<-release
			}
		})
		var class atomic.Value
		c := NewClient(ClientConfig{Dial: m.dial, Retry: Retry{Attempts: 1}, Observe: func(ev Event) { class.Store(ev.Class) }})
		defer c.Close()
		e, _ := c.Endpoint(EndpointConfig{URL: "http://registry.test"})

		start := time.Now()
		_, err := e.Manifest(t.Context(), repo.WithTag("silent"))
		told, _ := errors.AsType[*oci.Error](err)
		if told == nil || told.Kind != oci.ErrUnavailable || !told.Timeout || time.Since(start) != 20*time.Second {
			t.Errorf("no headers: %v after %s", err, time.Since(start))
		}
		if class.Load() != ClassTimeout {
			t.Errorf("class %q", class.Load())
		}

		if _, err := e.Manifest(t.Context(), repo.WithTag("slow")); err != nil {
			t.Errorf("a slow body: %v", err)
		}

		b, err := e.Blob(t.Context(), repo, digestOf("x"), 0)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // a slow reader is no stall
		start = time.Now()
		raw, err := io.ReadAll(b.Body)
		b.Body.Close()
		if len(raw) != 10 || !errors.Is(err, oci.ErrUnavailable) || !errors.Is(err, errStalled) || time.Since(start) != 30*time.Second {
			t.Errorf("a stalled body: %d bytes, %v after %s", len(raw), err, time.Since(start))
		}
		if class.Load() != ClassStall {
			t.Errorf("class %q", class.Load())
		}
	})
}

func TestCallersCancellationIsNoFailureOfTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memNet)
		m.serve(t, "registry.test:80", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		c := NewClient(ClientConfig{Dial: m.dial})
		defer c.Close()
		e, _ := c.Endpoint(EndpointConfig{URL: "http://registry.test"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := e.Manifest(ctx, repo.WithTag("v1"))
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("error %v, want the caller's own", err)
		}
	})
}
