package registry

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/oci"
)

// TestStalledBody holds that an upload of which no more comes is ended, with an
// answer that says so and a cause in the event.
func TestStalledBody(t *testing.T) {
	events := make(chan Event, 1)
	srv := httptest.NewServer(handler(t, Config{
		Routes: Routes{Hosted: []string{"**"}}, Hosted: newMemory(), Access: access.Policy{Anonymous: access.Push},
		Stall: 20 * time.Millisecond, Observe: func(e Event) { events <- e },
	}))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String()) // Go's client waits for its body before it fails
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
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
}

// TestBodyThatCameToItsEnd holds that the deadline of a body is not that of what
// comes after it: the answer, and the next request of the connection.
func TestBodyThatCameToItsEnd(t *testing.T) {
	const stall = 20 * time.Millisecond
	m := newMemory()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := handler(t, Config{Routes: Routes{Hosted: []string{"**"}}, Hosted: m, Access: access.Policy{Anonymous: access.Push}, Stall: stall})
		h.ServeHTTP(w, r)
		select {
		case <-r.Context().Done():
			t.Error("the deadline of the body ended the request")
		case <-time.After(3 * stall): // for a deadline that was left behind to pass
		}
	}))
	defer srv.Close()
	defer srv.Client().CloseIdleConnections()
	for _, text := range []string{"one", "two"} {
		resp, err := srv.Client().Post(srv.URL+"/v2/a/blobs/uploads/?digest="+string(oci.FromBytes([]byte(text), "")), "", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Errorf("%s: got %d", text, resp.StatusCode)
		}
	}
}
