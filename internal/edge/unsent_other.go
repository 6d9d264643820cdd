//go:build !linux

package edge

import "net"

// unsent would tell how many bytes the client has not acknowledged. Here it
// cannot be asked, and the first deadline without progress ends a write.
func unsent(*net.TCPConn) int { return 0 }

// unread would tell how many bytes were not read yet. Here it cannot be asked, and
// a connection that waits for us may be closed.
func unread(*net.TCPConn) int { return 0 }
