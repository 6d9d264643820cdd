// Package e2e holds the tests of the whole product: the entrepot binary as a
// process of its own, a distribution v3 registry in front of it or a
// misbehaving one, and the clients that people really run.
//
// Every test asserts what went over the wire on both hops: from the client to
// Entrepot, and from Entrepot to the upstream. Everything listens on loopback
// and is stopped by its process id. A client that is not on this machine is
// skipped by name; with -require-clients its absence is a failure, and the
// names of those that were skipped are written to .cache/e2e-skipped.txt.
//
// Flags, after -args:
//
//	-kills N           how many kill -9 the kill loop makes (30)
//	-cuts N            how many times the power is cut (2)
//	-require-mounts    a file system that cannot be mounted fails the test
//	-crowd N           how many clients pull one cold blob at once (100)
//	-crowd-mib N       the size of that blob (64)
//	-fault-mib N       the size of the blob whose download breaks (100)
//	-rolls N           how many restarts a rolling restart has (2)
//	-binary-race       build the entrepot binary with the race detector
//	-require-clients   a client that is not here fails the test
package e2e
