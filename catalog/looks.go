package catalog

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
)

// A schema at the top of an object: at the start of a line in YAML, as a member in
// JSON. YAML that was printed by opm has it last.
var (
	anySchema = regexp.MustCompile(`(?m)^schema:|"schema"\s*:`)
	ownSchema = regexp.MustCompile(`(?m)(?:^schema:|"schema"\s*:)\s*["']?olm\.(?:package|channel|bundle|deprecations)\b`)
)

// peek is how much of a file Looks looks at, in bytes.
const peek = 4 << 20

// Looks reports whether data is the start of a catalog's file, rather than of a
// Kubernetes object or of any other text.
func Looks(data []byte) bool { return ownSchema.Match(data[:min(len(data), peek)]) }

// LooksDir reports whether a directory is that of a catalog: all its files in YAML
// and JSON have objects with schemas, and some of them are those of a catalog. Those
// that an .indexignore excludes do not count.
func LooksDir(dir fs.FS) bool {
	var ignores []File
	found := false
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			data, err := fs.ReadFile(dir, path.Join(name, indexIgnore))
			if err == nil {
				ignores = append(ignores, File{Path: path.Join(name, indexIgnore), Data: data})
			}
			return nil
		case !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name)) || newIgnore(ignores).match(name):
			return nil
		}
		data, err := start(dir, name)
		if err == nil && !anySchema.Match(data) && len(bytes.TrimSpace(data)) > 0 {
			err = ErrNoCatalog
		}
		found = found || Looks(data)
		return err
	})
	return err == nil && found
}

// start returns the first bytes of a file.
func start(dir fs.FS, name string) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, peek))
	return data, errors.Join(err, f.Close())
}
