package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// TestFault32RollingRestart restarts two servers in turn, while clients that a
// balancer leads to whichever is ready pull and push without a pause. No request
// fails: not the ones on connections that were open before the signal, not the
// ones that come before the balancer has looked, and not a body that is under way.
func TestFault32RollingRestart(t *testing.T) {
	up := regtest.New(t, regtest.Config{})
	img := up.AddImage("library/app", regtest.Image{Layers: []int64{100_000, 3 << 20}}, "v1")
	large := up.AddBlob("library/app", regtest.Random(9, 16<<20)).Digest
	b := &balancer{backends: make([]*entrepot, 2)}
	cfg := make([]serving, len(b.backends))
	for i := range b.backends {
		cfg[i] = serving{store: t.TempDir() + "/store", server: `drain_delay = "1s"`, upstreams: []upstream{{name: "docker.io", url: up.URL()}}}
		b.backends[i] = serve(t, cfg[i])
	}
	url := b.listen(t)

	var load crowd
	for i := range 6 {
		load.puller(t, url, img)
		load.pusher(t, url, fmt.Sprintf("team/app%d", i))
	}
	for i := range *rolls {
		at := i % len(b.backends)
		b.roll(t, at, cfg[at], large)
	}
	load.end()
	t.Logf("%d requests during %d restarts", load.requests.Load(), *rolls)
	for i := range b.led {
		if b.led[i].Load() == 0 {
			t.Errorf("server %d was never asked", i)
		}
	}
}

// A balancer leads each connection to a server that says it is ready, in turn.
type balancer struct {
	mu       sync.Mutex // guards the rest
	backends []*entrepot
	next     int
	led      [2]atomic.Int64 // connections to each
}

// pick returns the address of the next server that is ready.
func (b *balancer) pick() (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.backends {
		i := b.next % len(b.backends)
		b.next++
		resp, err := bare.Get(b.backends[i].admin + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			b.led[i].Add(1)
			return b.backends[i].address(), nil
		}
	}
	return "", errors.New("no server is ready")
}

// listen starts the balancer and returns where it is.
func (b *balancer) listen(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { b.lead(t, client.(*net.TCPConn)) })
		}
	})
	return "http://" + l.Addr().String()
}

// lead joins a client to a server until both are done.
func (b *balancer) lead(t *testing.T, client *net.TCPConn) {
	defer client.Close()
	addr, err := b.pick()
	if err != nil {
		t.Error(err)
		return
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Errorf("a server that was ready: %v", err)
		return
	}
	defer conn.Close()
	server := conn.(*net.TCPConn)
	var there sync.WaitGroup
	there.Go(func() {
		io.Copy(server, client)
		server.CloseWrite()
	})
	io.Copy(client, server)
	client.CloseWrite()
	client.CloseRead()
	there.Wait()
}

// roll ends a server and starts another one in its place. Meanwhile a client
// reads a body that it had begun to read before the signal.
func (b *balancer) roll(t *testing.T, at int, cfg serving, large oci.Digest) {
	t.Helper()
	e := b.backends[at]
	resp, err := bare.Get(e.url + "/v2/docker.io/library/app/blobs/" + string(large))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "readiness fails", func() bool {
		return get(t, http.MethodGet, e.admin+"/readyz").StatusCode == http.StatusServiceUnavailable
	})
	if a := get(t, http.MethodGet, e.url+"/v2/"); a.StatusCode != http.StatusOK || !a.Close {
		t.Errorf("while it drains: %d, connection closed %v", a.StatusCode, a.Close)
	}
	eventually(t, "nobody is let in any more", func() bool {
		conn, err := net.Dial("tcp", e.address())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	rest, err := io.ReadAll(resp.Body)
	if got := oci.FromBytes(append(first, rest...), ""); err != nil || got != large {
		t.Errorf("the body that was under way is %s (%v), want %s", got, err, large)
	}
	<-e.done
	if code := e.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with %d:\n%s", code, e.log.tail(20))
	}
	fresh := serve(t, cfg)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.backends[at] = fresh
}

// A crowd is clients that ask again and again until the end. Each has
// connections of its own, which it keeps.
type crowd struct {
	all      sync.WaitGroup
	over     atomic.Bool
	requests atomic.Int64
}

func (c *crowd) end() {
	c.over.Store(true)
	c.all.Wait()
}

// again calls do until the end, or until it fails.
func (c *crowd) again(t *testing.T, do func(*http.Client) error) {
	c.all.Go(func() {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport}
		for !c.over.Load() {
			c.requests.Add(1)
			if err := do(client); err != nil {
				t.Error(err)
				return
			}
		}
	})
}

// puller pulls an image by its tag.
func (c *crowd) puller(t *testing.T, url string, img regtest.Built) {
	prefix := url + "/v2/docker.io/library/app/"
	all := []string{"manifests/v1"}
	want := []oci.Digest{img.Digest}
	for _, l := range img.Layers {
		all, want = append(all, "blobs/"+string(l.Digest)), append(want, l.Digest)
	}
	i := 0
	c.again(t, func(client *http.Client) error {
		at := i % len(all)
		i++
		resp, err := client.Get(prefix + all[at])
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if got := oci.FromBytes(body, ""); err != nil || resp.StatusCode != http.StatusOK || got != want[at] {
			return fmt.Errorf("GET %s: %d, %s, %w", all[at], resp.StatusCode, got, err)
		}
		return nil
	})
}

// pusher pushes blobs, each with a request of its own.
func (c *crowd) pusher(t *testing.T, url, repo string) {
	i := 0
	c.again(t, func(client *http.Client) error {
		i++
		body := []byte(strings.Repeat(fmt.Sprint(repo, i), 500))
		resp, err := client.Post(fmt.Sprintf("%s/v2/%s/blobs/uploads/?digest=%s", url, repo, oci.FromBytes(body, "")), "application/octet-stream", bytes.NewReader(body))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if said, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusCreated {
			return fmt.Errorf("POST: %d %s, %w", resp.StatusCode, said, err)
		}
		return nil
	})
}
