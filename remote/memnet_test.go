package remote

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
)

// A memNet is a network in memory, for tests of time: what waits for it is
// durably blocked, as testing/synctest wants it.
type memNet struct {
	mu    sync.Mutex
	hosts map[string]chan net.Conn // :: host:port → connections to accept
}

// dial is a ClientConfig.Dial.
func (m *memNet) dial(ctx context.Context, _, address string) (net.Conn, error) {
	m.mu.Lock()
	accept := m.hosts[address]
	m.mu.Unlock()
	if accept == nil {
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	}
	ours, theirs := net.Pipe()
	select {
	case accept <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve answers for a host until the test ends.
func (m *memNet) serve(t *testing.T, address string, h http.HandlerFunc) *wireLog {
	t.Helper()
	l := &memListener{accept: make(chan net.Conn), done: make(chan struct{})}
	m.mu.Lock()
	if m.hosts == nil {
		m.hosts = make(map[string]chan net.Conn)
	}
	m.hosts[address] = l.accept
	m.mu.Unlock()
	log := new(wireLog)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.add(r)
		h(w, r)
	})}
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(l) })
	t.Cleanup(func() { srv.Close(); wg.Wait() })
	return log
}

type memListener struct {
	accept chan net.Conn
	done   chan struct{}
	once   sync.Once
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *memListener) Addr() net.Addr { return &net.TCPAddr{} }
