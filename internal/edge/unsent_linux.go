package edge

import (
	"net"

	"golang.org/x/sys/unix"
)

// unsent returns how many bytes the client has not acknowledged; 0 where that
// cannot be asked.
func unsent(c *net.TCPConn) int { return queued(c, unix.SIOCOUTQ) }

// unread returns how many bytes the client has sent that nobody has read yet; 0
// where that cannot be asked.
func unread(c *net.TCPConn) int { return queued(c, unix.SIOCINQ) }

// queued asks for the length of one of a socket's queues; see tcp(7).
func queued(c *net.TCPConn, which uint) (n int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	var ioctlErr error
	if err := raw.Control(func(fd uintptr) { n, ioctlErr = unix.IoctlGetInt(int(fd), which) }); err != nil || ioctlErr != nil {
		return 0
	}
	return n
}
