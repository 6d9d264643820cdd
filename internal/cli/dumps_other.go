//go:build !unix

package cli

// NoCoreDumps is for systems that write images of a crashed process's memory;
// this one does not unless it is told to.
func NoCoreDumps() {}
