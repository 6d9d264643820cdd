package registry

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/oci"
)

// A pipe is a listener with one connection, in memory: what waits for it is durably
// blocked, as testing/synctest wants it.
type pipe struct {
	conn chan net.Conn
	done chan struct{}
	once sync.Once
}

// connect serves one connection until the test ends, and returns its other end.
func connect(t *testing.T, h http.Handler) net.Conn {
	ours, theirs := net.Pipe()
	l := &pipe{conn: make(chan net.Conn, 1), done: make(chan struct{})}
	l.conn <- theirs
	srv := &http.Server{Handler: h}
	var serving sync.WaitGroup
	serving.Go(func() { srv.Serve(l) }) // ends with ErrServerClosed
	t.Cleanup(func() {
		ours.Close()
		srv.Close()
		serving.Wait()
	})
	return ours
}

func (l *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipe) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipe) Addr() net.Addr { return &net.TCPAddr{} }

// TestStalledBody holds that an upload of which no more comes is ended, with an
// answer that says so and a cause in the event.
func TestStalledBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := make(chan Event, 1)
		conn := connect(t, handler(t, Config{
			Routes: Routes{Hosted: []string{"**"}}, Hosted: newMemory(), Access: access.Policy{Anonymous: access.Push},
			Stall: 20 * time.Millisecond, Observe: func(e Event) { events <- e },
		}))
		fmt.Fprintf(conn, "POST /v2/a/blobs/uploads/?digest=%s HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nsome", oci.FromBytes([]byte("some more"), ""))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(text), "nothing more of the request's body came for 20ms") {
			t.Errorf("got %d %s, %v", resp.StatusCode, text, err)
		}
		if e := <-events; !is[*stallError](e.Err) || e.Received != 4 {
			t.Errorf("the event has %d bytes and %v", e.Received, e.Err)
		}
	})
}

// TestBodyThatCameToItsEnd holds that the deadline of a body is not that of what
// comes after it: the answer, and the next request of the connection.
func TestBodyThatCameToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stall = 20 * time.Millisecond
		h := handler(t, Config{Routes: Routes{Hosted: []string{"**"}}, Hosted: newMemory(), Access: access.Policy{Anonymous: access.Push}, Stall: stall})
		conn := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r)
			time.Sleep(3 * stall) // for a deadline that was left behind to pass
			if r.Context().Err() != nil {
				t.Error("the deadline of the body ended the request")
			}
		}))
		answers := bufio.NewReader(conn)
		for _, text := range []string{"one", "two"} {
			fmt.Fprintf(conn, "POST /v2/a/blobs/uploads/?digest=%s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n%s", oci.FromBytes([]byte(text), ""), text)
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusCreated {
				t.Errorf("%s: got %d", text, resp.StatusCode)
			}
		}
	})
}
