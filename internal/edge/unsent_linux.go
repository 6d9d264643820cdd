package edge

import (
	"net"

	"golang.org/x/sys/unix"
)

// unsent returns how many bytes the client has not acknowledged; 0 where that
// cannot be asked.
func unsent(c *net.TCPConn) (n int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	var ioctlErr error
	if err := raw.Control(func(fd uintptr) { n, ioctlErr = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil || ioctlErr != nil {
		return 0
	}
	return n
}
