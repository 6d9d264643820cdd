package e2e

import "testing"

// A row is one of the request matrix: what a client asks for, in which state,
// and what it is answered while this is sent upstream. Its name is the row's.
type row struct {
	name string
	test func(t *testing.T)
}

// TestMatrix is the request matrix, but for the rows that need a client's
// authentication, a private upstream, parallel ranges or a full disk. Each row
// has an Entrepot and an upstream of its own and asserts both hops: what the
// client is answered and what the upstream is asked.
func TestMatrix(t *testing.T) {
	for _, rows := range [][]row{routeRows, manifestRows, blobRows, troubleRows, pushRows} {
		for _, r := range rows {
			t.Run(r.name, func(t *testing.T) {
				t.Parallel() // some rows wait for timeouts of half a minute
				r.test(t)
			})
		}
	}
}
