package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// accept is what a container engine sends for manifests.
const accept = typeManifest + ", " + typeIndex +
	", application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"

// A conn is one HTTP/1.1 connection, kept alive. Bodies can be thrown away
// inside the kernel, so that on a small machine the client leaves the
// processors to the server that is measured. It is not safe for concurrent use.
type conn struct {
	host string
	tcp  *net.TCPConn
	raw  syscall.RawConn
	buf  *bufio.Reader

	stream net.Conn // what requests are written to: tcp, or TLS over it
	void   []byte   // never touched: with MSG_TRUNC only its length counts; see tcp(7)
}

func dial(ctx context.Context, addr string) (*conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	tcp := c.(*net.TCPConn)
	raw, err := tcp.SyscallConn()
	if err != nil {
		tcp.Close()
		return nil, err
	}
	// The buffer is small, so that little of a body is read into it.
	return &conn{host: addr, tcp: tcp, raw: raw, stream: tcp, buf: bufio.NewReaderSize(tcp, 4096), void: make([]byte, 1<<20)}, nil
}

func (c *conn) close() error { return c.tcp.Close() }

// get sends a request and reads the head of its response, which is 200 and
// says how long its body is. The caller consumes the body before the next one.
func (c *conn) get(path string) (*http.Response, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\n", path, c.host)
	if strings.Contains(path, "/manifests/") {
		fmt.Fprintf(&b, "Accept: %s\r\n", accept)
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(c.stream, b.String()); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(c.buf, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return nil, fmt.Errorf("GET %s: %s: %s", path, resp.Status, text)
	}
	if resp.ContentLength < 0 {
		return nil, fmt.Errorf("GET %s: no Content-Length", path)
	}
	return resp, nil
}

// discard throws n bytes of body away and adds them to count as they come. The
// kernel drops them without copying.
func (c *conn) discard(n int64, count *atomic.Int64) error {
	had, err := c.buf.Discard(int(min(n, int64(c.buf.Buffered()))))
	if err != nil {
		return err
	}
	count.Add(int64(had))
	n -= int64(had)
	if c.stream != net.Conn(c.tcp) {
		return c.drop(n, count)
	}
	var failed error
	err = c.raw.Read(func(fd uintptr) bool {
		for n > 0 {
			got, _, err := unix.Recvfrom(int(fd), c.void[:min(n, int64(len(c.void)))], unix.MSG_TRUNC)
			switch {
			case err == unix.EINTR:
				continue
			case err == unix.EAGAIN:
				return false
			case err != nil:
				failed = err
				return true
			case got == 0:
				failed = io.ErrUnexpectedEOF
				return true
			}
			n -= int64(got)
			count.Add(int64(got))
		}
		return true
	})
	if err != nil {
		return err
	}
	return failed
}

// drop is discard for what the kernel cannot drop, since it has to be decrypted.
func (c *conn) drop(n int64, count *atomic.Int64) error {
	for n > 0 {
		got, err := c.stream.Read(c.void[:min(n, int64(len(c.void)))])
		n -= int64(got)
		count.Add(int64(got))
		if err != nil && n > 0 {
			return err
		}
	}
	return nil
}

// getBlob reads a blob; with verify through its hash.
func (c *conn) getBlob(repo string, d descriptor, count *atomic.Int64, verify bool) error {
	resp, err := c.get("/v2/" + repo + "/blobs/" + d.Digest)
	if err != nil {
		return err
	}
	if resp.ContentLength != d.Size {
		return fmt.Errorf("blob %s: %d bytes, want %d", d.Digest, resp.ContentLength, d.Size)
	}
	if !verify {
		return c.discard(d.Size, count)
	}
	h := sha256.New()
	if _, err := io.Copy(h, resp.Body); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != d.Digest {
		return fmt.Errorf("blob %s: its digest is %s", d.Digest, got)
	}
	count.Add(d.Size)
	return nil
}

// getManifest reads a manifest by tag or digest and returns its bytes.
func (c *conn) getManifest(repo, name string) ([]byte, error) {
	resp, err := c.get("/v2/" + repo + "/manifests/" + name)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if got := digestOf(raw); strings.Contains(name, ":") && got != name {
		return nil, fmt.Errorf("manifest %s: its digest is %s", name, got)
	}
	return raw, nil
}

// send does one request whose response has no body of interest.
func send(method, url, contentType string, body io.Reader, size int64) (*http.Response, error) {
	if body == nil {
		body = http.NoBody
	}
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, text)
	}
	return resp, nil
}
