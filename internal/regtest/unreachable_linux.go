package regtest

import (
	"fmt"
	"syscall"
	"testing"
)

// Unreachable returns host and port of an address on loopback that does not
// take connections and does not refuse them either: a dial waits until it
// gives up, as it does for a host behind a firewall (reliability 5, row 6:
// black hole). It is a listener whose queue is full.
func Unreachable(t testing.TB) string {
	t.Helper()
	open := func() int {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatalf("regtest: socket: %v", err)
		}
		t.Cleanup(func() { syscall.Close(fd) })
		return fd
	}
	l := open()
	if err := syscall.Bind(l, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatalf("regtest: bind: %v", err)
	}
	if err := syscall.Listen(l, 0); err != nil {
		t.Fatalf("regtest: listen: %v", err)
	}
	addr, err := syscall.Getsockname(l)
	if err != nil {
		t.Fatalf("regtest: getsockname: %v", err)
	}
	for range 4 { // Linux takes one more than the queue's length of 0; the rest is for certainty
		if err := syscall.Connect(open(), addr); err != nil && err != syscall.EINPROGRESS {
			t.Fatalf("regtest: connect: %v", err)
		}
	}
	return fmt.Sprintf("127.0.0.1:%d", addr.(*syscall.SockaddrInet4).Port)
}
