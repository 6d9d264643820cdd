package edge

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// A house is a server behind a gate.
type house struct {
	gate *Gate
	addr string
}

func open(t *testing.T, limits Limits, h http.HandlerFunc) house {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := NewGate(limits)
	srv := &http.Server{Handler: h, ConnState: g.States}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(g.Listener(l.(*net.TCPListener))) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return house{g, l.Addr().String()}
}

// dial connects and sends some text.
func (h house) dial(t *testing.T, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

// status reads an answer's.
func status(t *testing.T, c net.Conn) int {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func hello(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }

// Whoever sends half a header gives way to those that ask for something.
func TestGateShedsWhoWaits(t *testing.T) {
	h := open(t, Limits{Connections: 8}, hello)
	var half []net.Conn
	for range 20 {
		half = append(half, h.dial(t, "GET / HTTP/1.1\r\nHost:"))
	}
	if got := status(t, h.dial(t, request)); got != 200 {
		t.Errorf("got %d", got)
	}
	if _, err := half[0].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the oldest is still open: %v", err)
	}
	n := h.gate.Counts()
	if n.Open > 8 || n.Shed < 12 || n.Refused != 0 {
		t.Errorf("got %+v, want at most 8 open", n)
	}
	if !h.gate.Crowded() {
		t.Error("it is not crowded")
	}
}

// Who has sent something that was not read yet waits for us and not we for him: he
// stays, however long that takes.
func TestGateKeepsWhoIsUnread(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: the queue of a socket can be asked for on Linux alone")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := NewGate(Limits{})
	gated := g.Listener(l.(*net.TCPListener))
	defer gated.Close()
	h := house{g, l.Addr().String()}
	accept := func(text string) net.Conn {
		h.dial(t, text)
		c, err := gated.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	asks := accept(request)
	first := make([]byte, 1)
	if _, err := io.ReadFull(asks, first); err != nil { // the rest has come with it
		t.Fatal(err)
	}
	silent := accept("")
	g.start = g.start.Add(-time.Minute) // both have waited for so long now
	if !g.closeWaiting() || g.Counts().Open != 1 {
		t.Errorf("got %+v, want one to be closed", g.Counts())
	}
	if _, err := silent.Read(first); !errors.Is(err, net.ErrClosed) {
		t.Errorf("who has sent nothing is still open: %v", err)
	}
	if g.closeWaiting() {
		t.Error("who has sent something was closed")
	}
	if _, err := io.ReadAll(io.LimitReader(asks, int64(len(request)-1))); err != nil {
		t.Errorf("read what was sent: %v", err)
	}
}

// A request that is being answered is never closed; who comes waits for it.
func TestGateWaitsForWhoIsBusy(t *testing.T) {
	began, release := make(chan struct{}, 2), make(chan struct{})
	h := open(t, Limits{Connections: 2}, func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-release
		w.Header().Set("Connection", "close")
		hello(w, r)
	})
	first, second := h.dial(t, request), h.dial(t, request)
	<-began
	<-began
	third := h.dial(t, request)
	close(release)
	for i, c := range []net.Conn{first, second, third} {
		if got := status(t, c); got != 200 {
			t.Errorf("request %d: got %d", i, got)
		}
	}
	if n := h.gate.Counts(); n.Shed != 0 {
		t.Errorf("%d were closed", n.Shed)
	}
}

// Closing the listener ends the wait for room, and the connection that waits.
func TestGateClosesWhileItWaits(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := NewGate(Limits{Connections: 1})
	gated := g.Listener(l.(*net.TCPListener))
	h := house{g, l.Addr().String()}
	h.dial(t, "")
	busy, err := gated.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	g.States(busy, http.StateActive)
	ended := make(chan error)
	go func() {
		_, err := gated.Accept()
		ended <- err
	}()
	waiting := h.dial(t, "")
	for g.Counts().Open < 2 { // until Accept waits for room
		runtime.Gosched()
	}
	if err := gated.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := waiting.Read(make([]byte, 1)); err == nil {
		t.Error("the connection that waited is open")
	}
}

func TestGateLimitsAnAddress(t *testing.T) {
	h := open(t, Limits{PerAddress: 2}, hello)
	for i := range 2 {
		if got := status(t, h.dial(t, request)); got != 200 {
			t.Errorf("connection %d: got %d", i, got)
		}
	}
	third := h.dial(t, "")
	if _, err := third.Read(make([]byte, 1)); err == nil {
		t.Error("a third connection is served")
	}
	if n := h.gate.Counts(); n.Refused != 1 || n.Open != 2 {
		t.Errorf("got %+v, want 1 refused and 2 open", n)
	}
}

// A reader that takes nothing is let go, whether it is sent a file or bytes; how
// long that takes is not looked at.
func TestGateEndsAStall(t *testing.T) {
	name := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 1<<30); err != nil {
		t.Fatal(err)
	}
	for kind, send := range map[string]func(io.Writer, *os.File) (int64, error){
		"file":  func(w io.Writer, f *os.File) (int64, error) { return io.Copy(w, f) },
		"bytes": func(w io.Writer, f *os.File) (int64, error) { return io.Copy(struct{ io.Writer }{w}, f) },
	} {
		ended := make(chan error, 1)
		h := open(t, Limits{Stall: 50 * time.Millisecond}, func(w http.ResponseWriter, _ *http.Request) {
			f, err := os.Open(name)
			if err != nil {
				t.Error(err)
			}
			defer f.Close()
			w.Header().Set("Content-Length", fmt.Sprint(1<<30))
			_, err = send(w, f)
			ended <- err
		})
		h.dial(t, request)
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: ended with %v, want a deadline", kind, err)
		}
	}
}

// A client that reads all is sent all, however often the deadline passes.
func TestGateServesWhoReads(t *testing.T) {
	const size = 64 << 20
	name := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	h := open(t, Limits{Stall: time.Second}, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) })
	resp, err := http.Get("http://" + h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

// TestProgress holds what a deadline that passed means.
func TestProgress(t *testing.T) {
	late := fmt.Errorf("write: %w", os.ErrDeadlineExceeded)
	c := &conn{from: NewGate(Limits{}), queued: 7}
	if !c.goesOn(1, late) || c.queued != -1 {
		t.Error("some bytes are no progress")
	}
	if c.goesOn(1, nil) || c.goesOn(1, io.ErrClosedPipe) {
		t.Error("a write that ended goes on")
	}
	c.theirs.Store(true)
	if c.goesOn(1, late) {
		t.Error("somebody else's deadline is passed over")
	}
}

// A stream of HTTP/2 stalls by its own window, while its connection does not.
func TestStreamsEndAStall(t *testing.T) {
	ended := make(chan error, 1)
	srv := httptest.NewUnstartedServer(Streams(50*time.Millisecond, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			_, err := w.Write(make([]byte, 64<<20))
			ended <- err
		}
	})))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := <-ended; err == nil {
		t.Error("nothing ended it")
	}
	other, err := srv.Client().Get(srv.URL + "/other")
	if err != nil {
		t.Fatalf("another stream of the connection: %v", err)
	}
	other.Body.Close()
	if other.ProtoMajor != 2 {
		t.Errorf("spoke %s", other.Proto)
	}
}
