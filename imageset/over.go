package imageset

import "github.com/entrepot/entrepot/oci"

// Over returns a reader of all images of the set: those that the set has by
// itself, and all others from rest. It is an oci.Lister and an
// oci.SubjectLister as far as they are. It is of use until the set is closed.
func (s *Set) Over(rest oci.Reader) oci.Reader {
	if len(s.Local) == 0 {
		return rest
	}
	return &oci.Split{At: s.Local, Rest: rest}
}
