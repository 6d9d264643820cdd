//go:build !linux

package cli

// monotonic is 0: there is no systemd here.
func monotonic() int64 { return 0 }
