package cli

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// A streamer is one connection of HTTP/2 (RFC 9113) that is written by hand.
type streamer struct {
	net.Conn
	last uint32 // the stream that was opened last
	max  uint32 // streams at once, as the server says
}

// The types of frames, and what a setting is called, that are looked at.
const (
	frameHeaders, frameReset, frameSettings, frameGoAway = 1, 3, 4, 7
	settingMaxStreams                                    = 3
)

// dialStreams opens a connection and shakes hands.
func dialStreams(t *testing.T, r *running, config *tls.Config) *streamer {
	t.Helper()
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &streamer{Conn: conn}
	fmt.Fprint(s, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	s.send(frameSettings, 0, 0, nil)
	kind, _, settings, err := s.read()
	if kind != frameSettings || err != nil {
		t.Fatalf("the server begins with a frame of type %d, %v", kind, err)
	}
	for ; len(settings) >= 6; settings = settings[6:] {
		if binary.BigEndian.Uint16(settings) == settingMaxStreams {
			s.max = binary.BigEndian.Uint32(settings[2:])
		}
	}
	s.send(frameSettings, 1, 0, nil) // we have seen them
	return s
}

func (s *streamer) send(kind, flags byte, stream uint32, payload []byte) error {
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(payload)<<8)|uint32(kind)), flags)
	_, err := s.Write(append(binary.BigEndian.AppendUint32(frame, stream), payload...))
	return err
}

func (s *streamer) read() (kind byte, stream uint32, payload []byte, err error) {
	var head [9]byte
	if _, err := io.ReadFull(s, head[:]); err != nil {
		return 0, 0, nil, err
	}
	payload = make([]byte, binary.BigEndian.Uint32(head[:])>>8)
	_, err = io.ReadFull(s, payload)
	return head[3], binary.BigEndian.Uint32(head[5:]), payload, err
}

// open asks for a path on a new stream. The names and values are literals,
// neither indexed nor compressed (RFC 7541, 6.2.2).
func (s *streamer) open(path string) error {
	s.last = max(s.last+2, 3) // those of a client are odd
	var block []byte
	for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", path}} {
		block = append(block, 0, byte(len(h[0])))
		block = append(append(block, h[0]...), byte(len(h[1])))
		block = append(block, h[1]...)
	}
	const endStream, endHeaders = 1, 4
	return s.send(frameHeaders, endStream|endHeaders, s.last, block)
}

// reset takes back what was asked for last.
func (s *streamer) reset() error {
	const cancel = 8
	return s.send(frameReset, 0, s.last, []byte{0, 0, 0, cancel})
}

// TestStreamsAreBounded holds that a client has no more requests under way on
// one connection than it may, and that a client that opens streams and resets
// them at once, again and again, keeps nobody else from being served and leaves
// nothing behind (CVE-2023-39325, CVE-2026-33814).
func TestStreamsAreBounded(t *testing.T) {
	up := regtest.New(t, regtest.Config{})
	up.AddImage("library/x", regtest.Image{}, "1")
	held := up.On(regtest.Match{}, regtest.Held())
	dir := t.TempDir()
	config := &tls.Config{RootCAs: writeCertificate(t, dir)}
	r := start(t, fmt.Sprintf("[server]\ntls_cert = %q\ntls_key = %q\n", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))+
		upstreamTable(up, "docker.io", ""))
	r.client = &http.Client{Transport: &http.Transport{TLSClientConfig: config}}

	const ask = "/v2/docker.io/library/x/manifests/1"
	full := dialStreams(t, r, config)
	if full.max != maxStreams {
		t.Errorf("the server says that %d streams may be open, want %d", full.max, maxStreams)
	}
	for range maxStreams + 1 {
		if err := full.open(ask); err != nil {
			t.Fatal(err)
		}
	}
	full.refusesLast(t)

	flood := dialStreams(t, r, config)
	for i := range 5000 {
		if flood.open(ask) != nil || flood.reset() != nil {
			t.Logf("after %d streams the server has had enough", i)
			break
		}
	}
	if code, _, _ := r.get(r.url + "/v2/"); code != 200 {
		t.Errorf("another client got %d", code)
	}
	held.Release()
	if code, _, _ := r.get(r.url + ask); code != 200 {
		t.Errorf("another client got %d", code)
	}
	if n := up.Count("", regtest.Manifest); n != 1 {
		t.Errorf("the upstream was asked %d times for one tag", n)
	}
}

// refusesLast reads until the last stream that was opened is refused, or the
// connection with it: Go's server ends it where the client cannot have missed
// how many streams it may open.
func (s *streamer) refusesLast(t *testing.T) {
	t.Helper()
	for {
		kind, stream, payload, err := s.read()
		switch {
		case err != nil:
			t.Fatalf("the stream too many is not refused: %v", err)
		case kind == frameHeaders, kind == frameReset && stream != s.last:
			t.Fatalf("a frame of type %d for stream %d of %d: %q", kind, stream, s.last, payload)
		case kind == frameReset, kind == frameGoAway:
			return
		}
	}
}
