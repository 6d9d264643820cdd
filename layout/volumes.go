package layout

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/entrepot/entrepot/oci"
)

// Volumes tells which files are volumes of one archive, so that [OpenArchive] can
// open each of the groups that it returns. The groups are in the order of the
// paths. A volume brings along those of its set that lie beside it in the same
// directory and are not named; a file that is no volume is a group by itself. A
// path PATH.tar that is not there means PATH-0001.tar, which is how volumes are
// named. What is missing is told by OpenArchive.
func Volumes(paths ...string) ([][]string, error) {
	var sets []*fileSet
	for _, path := range paths {
		one, err := identifyFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			if first, bad := identifyFile(volumeName(path, 1)); bad == nil {
				one, err = first, nil
			}
		}
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(sets, func(s *fileSet) bool { return one.id.Set != "" && s.id.Set == one.id.Set })
		if i < 0 {
			i = len(sets)
			sets = append(sets, &fileSet{id: one.id})
		}
		if err := sets[i].add(one); err != nil {
			return nil, err
		}
	}
	groups := make([][]string, 0, len(sets))
	for _, s := range sets {
		if err := s.gather(); err != nil {
			return nil, err
		}
		groups = append(groups, s.paths())
	}
	return groups, nil
}

// A volumeAt is a file, and what it says of itself; nothing where it is no volume
// of ours.
type volumeAt struct {
	path string
	info fs.FileInfo
	id   volumeID
}

// identifyFile reads the first entry of a tar.
func identifyFile(path string) (volumeAt, error) {
	info, err := os.Stat(path)
	if err != nil {
		return volumeAt{}, err
	}
	one := volumeAt{path: path, info: info}
	if !info.Mode().IsRegular() {
		return one, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return one, err
	}
	defer f.Close()
	r := tar.NewReader(f)
	h, err := r.Next()
	if err != nil || h.Name != volumeFile {
		return one, nil // that it is no archive is told when it is opened
	}
	raw, err := io.ReadAll(io.LimitReader(r, maxVolumeID))
	if err != nil || json.Unmarshal(raw, &one.id) != nil {
		one.id = volumeID{}
	}
	return one, nil
}

// maxVolumeID bounds what a volume says of itself, in bytes.
const maxVolumeID = 1 << 20

// A fileSet is the volumes of one set.
type fileSet struct {
	id    volumeID
	files []volumeAt
}

// add takes in a file that was named. The same file again is not another one.
func (s *fileSet) add(one volumeAt) error {
	for _, was := range s.files {
		if os.SameFile(was.info, one.info) {
			return nil
		}
		if was.id.Volume == one.id.Volume {
			return oci.Errorf(oci.ErrInvalid, "", "%s and %s are both volume %d", was.path, one.path, one.id.Volume)
		}
	}
	s.files = append(s.files, one)
	return nil
}

func (s *fileSet) has(volume int) bool {
	return slices.ContainsFunc(s.files, func(v volumeAt) bool { return v.id.Volume == volume })
}

// gather looks beside the volumes that were named for the others.
func (s *fileSet) gather() error {
	var seen []string
	for _, named := range slices.Clone(s.files) {
		dir, ext := filepath.Dir(named.path), filepath.Ext(named.path)
		if len(s.files) >= s.id.Volumes || slices.Contains(seen, dir+ext) {
			continue
		}
		seen = append(seen, dir+ext)
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("look for volumes: %w", err)
		}
		for _, e := range entries {
			if filepath.Ext(e.Name()) != ext || len(s.files) >= s.id.Volumes {
				continue
			}
			one, err := identifyFile(filepath.Join(dir, e.Name()))
			if err == nil && one.id.Set == s.id.Set && !s.has(one.id.Volume) {
				s.files = append(s.files, one)
			}
		}
	}
	return nil
}

func (s *fileSet) paths() []string {
	var paths []string
	for _, v := range s.files {
		paths = append(paths, v.path)
	}
	return paths
}
