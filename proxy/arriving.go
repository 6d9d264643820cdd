package proxy

import (
	"sync"

	"github.com/entrepot/entrepot/oci"
)

// arriving are manifests that were fetched by tag and are being stored. Whoever
// got one asks next for what it names, and that may be the manifest itself, by its
// digest:
//
//	A: fetches by tag, answers, stores …
//	   A's client: asks by digest; it is not stored yet, and no flight of that
//	   digest is on its way
//
// The zero value works. It is safe for concurrent use.
type arriving struct {
	mu sync.Mutex // guards m
	m  map[manifestKey]*arrival
}

// An arrival is a manifest that some flights are storing.
type arrival struct {
	manifest oci.Manifest
	flights  int
}

// add notes a manifest until done.
func (a *arriving) add(k manifestKey, m oci.Manifest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.m == nil {
		a.m = make(map[manifestKey]*arrival)
	}
	one := a.m[k]
	if one == nil {
		one = &arrival{manifest: m}
		a.m[k] = one
	}
	one.flights++
}

// done says that a flight has stored the manifest, or could not.
func (a *arriving) done(k manifestKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if one := a.m[k]; one != nil {
		if one.flights--; one.flights == 0 {
			delete(a.m, k)
		}
	}
}

func (a *arriving) get(k manifestKey) (oci.Manifest, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if one := a.m[k]; one != nil {
		return one.manifest, true
	}
	return oci.Manifest{}, false
}
