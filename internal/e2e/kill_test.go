package e2e

import (
	"testing"
)

// TestFault13Kills kills the server and a collection with SIGKILL at random
// moments of pulls, pushes, deletes, evictions and collections, again and again
// on one store. After each restart it is ready at the first asking, every push
// that was acknowledged and not deleted is there byte for byte, tags are what was
// acknowledged last or what was being pushed, nothing that can be seen is
// corrupt, and cold pulls work. Nobody repairs anything between.
//
// A process that a kill leaves half way must not block what comes after it:
// zot#4357.
func TestFault13Kills(t *testing.T) {
	c := newCrasher(t, serving{})
	c.crash = func() { c.kill() } // whoever serves then
	c.run(t, *kills)
}
