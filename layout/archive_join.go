package layout

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/entrepot/entrepot/oci"
)

// maxVolumes bounds what an archive may say of how many volumes it has.
const maxVolumes = 1 << 16

// join finds out what the volumes are to each other, and reads the manifest of
// their set. Several files are one archive only where they say so.
func (a *Archive) join() error {
	ours := slices.ContainsFunc(a.volumes, func(v *volume) bool { return v.has(volumeFile) })
	if !ours {
		if len(a.volumes) > 1 {
			return oci.Errorf(oci.ErrInvalid, "", "%s is no volume of an archive: open archives of others one by one", a.volumes[0].path)
		}
		return nil
	}
	for _, v := range a.volumes {
		if err := v.identify(); err != nil {
			return err
		}
	}
	slices.SortStableFunc(a.volumes, func(x, y *volume) int { return cmp.Compare(x.id.Volume, y.id.Volume) })
	if err := a.complete(); err != nil {
		return err
	}
	return a.readSet()
}

// identify reads what a volume says of itself.
func (v *volume) identify() error {
	err := v.decode(volumeFile, &v.id)
	if errors.Is(err, fs.ErrNotExist) {
		return oci.Errorf(oci.ErrInvalid, "", "%s is no volume of the archive", v.path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", v.path, err)
	}
	if v.id.Version != setVersion {
		return oci.Errorf(oci.ErrUnsupported, "", "%s is of version %d, only %d is known", v.path, v.id.Version, setVersion)
	}
	if v.id.Volume < 1 || v.id.Volume > v.id.Volumes || v.id.Volumes > maxVolumes {
		return oci.Errorf(oci.ErrInvalid, "", "%s says that it is volume %d of %d", v.path, v.id.Volume, v.id.Volumes)
	}
	if !v.has(sumsFile) || v.id.Volume == v.id.Volumes && !v.has(setFile) {
		return oci.Errorf(oci.ErrInvalid, "", "%s is cut off: its last entry is missing", v.path)
	}
	return nil
}

// complete finds volumes that are foreign, twice there or missing. They are
// sorted by their numbers.
func (a *Archive) complete() error {
	first := a.volumes[0]
	for i, v := range a.volumes[1:] {
		if v.id.Set != first.id.Set || v.id.Volumes != first.id.Volumes {
			return oci.Errorf(oci.ErrInvalid, "", "%s and %s are of different archives", first.path, v.path)
		}
		if was := a.volumes[i]; was.id.Volume == v.id.Volume {
			return oci.Errorf(oci.ErrInvalid, "", "%s and %s are both volume %d", was.path, v.path, v.id.Volume)
		}
	}
	var missing []int
	next := 0
	for n := 1; n <= first.id.Volumes; n++ {
		if next < len(a.volumes) && a.volumes[next].id.Volume == n {
			next++
			continue
		}
		missing = append(missing, n)
	}
	if len(missing) > 0 {
		return oci.Errorf(oci.ErrInvalid, "", "of the %d volumes of the archive %s; %s is volume %d", first.id.Volumes, numbers(missing), first.path, first.id.Volume)
	}
	return nil
}

// numbers says which volumes are missing, at most ten of them by their numbers.
func numbers(all []int) string {
	if len(all) == 1 {
		return fmt.Sprintf("volume %d is missing", all[0])
	}
	s := fmt.Sprintf("volumes %d", all[0])
	for i, n := range all[1:] {
		if i == 9 {
			return s + fmt.Sprintf(" and %d more are missing", len(all)-10)
		}
		s += fmt.Sprintf(", %d", n)
	}
	return s + " are missing"
}

// readSet reads the manifest of the set and holds the volumes against it.
func (a *Archive) readSet() error {
	last := a.volumes[len(a.volumes)-1]
	if err := last.decode(setFile, &a.set); err != nil {
		return fmt.Errorf("%s: %w", last.path, err)
	}
	id, err := a.set.identify()
	if err != nil {
		return err
	}
	if id != a.set.ID || id != last.id.Set || len(a.set.Volumes) != len(a.volumes) {
		return oci.Errorf(oci.ErrMismatch, "", "%s: %s is damaged, or of another archive", last.path, setFile)
	}
	for i, v := range a.volumes {
		raw, err := v.read(sumsFile)
		if err != nil {
			return fmt.Errorf("%s: %w", v.path, err)
		}
		if want := a.set.Volumes[i].Digest; oci.FromBytes(raw, want) != want {
			return oci.Errorf(oci.ErrMismatch, "", "%s: %s is damaged, or of another archive", v.path, sumsFile)
		}
	}
	return nil
}

// adopt takes in what the set says of its content.
func (a *Archive) adopt() error {
	for _, c := range slices.Concat(a.set.Manifests, a.set.Blobs) {
		if len(c.Parts) > 0 {
			x, err := a.parts(c)
			if err != nil {
				return err
			}
			a.content[c.Digest] = x
		}
		if x, ok := a.content[c.Digest]; !ok || x.size() != c.Size {
			return oci.Errorf(oci.ErrInvalid, "", "the archive has not all of what it says: %s is missing", c.Digest)
		}
		if c.MediaType != "" {
			a.types[c.Digest] = c.MediaType
		}
	}
	a.base = make(map[oci.Digest]BaseBlob, len(a.set.Base))
	for _, b := range a.set.Base {
		a.base[b.Digest] = b
	}
	return nil
}

// parts puts a blob together that is cut across volumes.
func (a *Archive) parts(c SetContent) (extents, error) {
	var x extents
	for i, p := range c.Parts {
		name := partName(c.Digest, i)
		if p.Volume < 1 || p.Volume > len(a.volumes) {
			return nil, oci.Errorf(oci.ErrInvalid, "", "%s is said to be in volume %d of %d", name, p.Volume, len(a.volumes))
		}
		v := a.volumes[p.Volume-1]
		at, err := v.find(name)
		if err != nil || at.Size != p.Size {
			return nil, oci.Errorf(oci.ErrInvalid, "", "%s: %s is not there, or of another size", v.path, name)
		}
		x = append(x, extent{v.file, at.Offset, at.Size})
	}
	return x, nil
}

// partName returns what a piece of a blob is called; 0 is the first.
func partName(d oci.Digest, i int) string {
	return fmt.Sprintf("%s%s/%s/%04d", partsDir, d.Algorithm(), d.Encoded(), i+1)
}
