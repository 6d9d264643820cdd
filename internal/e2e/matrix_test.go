package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// A row is one of the request matrix: what a client asks for, in which state,
// and what it is answered while this is sent upstream. Its name begins with the
// row's number in the matrix ("L14" is the fourteenth), or with the requirement
// that it holds besides.
type row struct {
	name string
	test func(t *testing.T)
}

// matrixRows is how many rows the matrix has.
const matrixRows = 35

// TestMatrix is the request matrix. Each row has an Entrepot and an upstream of
// its own and asserts both hops: what the client is answered and what the
// upstream is asked.
func TestMatrix(t *testing.T) {
	held := map[string]bool{}
	for _, rows := range [][]row{routeRows, manifestRows, blobRows, roomRows, troubleRows, guardRows, rightRows, pushRows} {
		for _, r := range rows {
			number, _, _ := strings.Cut(r.name, " ")
			held[number] = true
			t.Run(r.name, func(t *testing.T) {
				t.Parallel() // some rows wait for timeouts of half a minute
				r.test(t)
			})
		}
	}
	for n := range matrixRows {
		if number := fmt.Sprintf("L%02d", n+1); !held[number] {
			t.Errorf("nothing holds row %s", number)
		}
	}
}
