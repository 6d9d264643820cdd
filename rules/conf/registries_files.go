package conf

import (
	"path"
	"slices"
	"strconv"

	"github.com/entrepot/entrepot/rules"
)

// Where registries.conf lies. Source: go.podman.io/storage v1.65.0,
// pkg/configfile (getSearchPaths, readDropInsFromPaths).

// registriesVariable replaces the main file and the drop-ins; with "_OVERRIDE"
// at its end it names a file that is read last.
const registriesVariable = "CONTAINERS_REGISTRIES_CONF"

// registriesFiles returns the files in the order in which they are read: of a
// directory its registries.conf and the drop-ins below it, or, where there is
// no such file, the drop-ins that it holds itself.
func registriesFiles(r *reading) ([]*file, error) {
	if !r.src.isDir() {
		f, err := r.single()
		return compact(f), err
	}
	if r.src.System {
		return registriesSystem(r)
	}
	main, err := r.load(path.Join(r.src.Path, "registries.conf"))
	if err != nil {
		return nil, err
	}
	dirs := []string{path.Join(r.src.Path, "registries.conf.d")}
	if main == nil {
		dirs = append(dirs, r.src.Path)
	}
	drop, err := r.dropIns(dirs, ".conf")
	return append(compact(main), drop...), err
}

// registriesSystem returns the files that podman reads on a machine: the first
// main file, and the drop-ins of all directories, of which those in front hide
// others of the same name.
func registriesSystem(r *reading) ([]*file, error) {
	if name := r.getenv(registriesVariable); name != "" {
		f, err := r.named(name, registriesVariable)
		return compact(f), err
	}
	mains, dirs := registriesPlaces(r)
	var files []*file
	for _, p := range mains {
		f, err := r.load(p)
		if err != nil {
			return nil, err
		}
		if f != nil {
			files = append(files, f)
			break
		}
	}
	drop, err := r.dropIns(dirs, ".conf")
	if err != nil {
		return nil, err
	}
	files = append(files, drop...)
	if name := r.getenv(registriesVariable + "_OVERRIDE"); name != "" {
		f, err := r.named(name, registriesVariable+"_OVERRIDE")
		return append(files, compact(f)...), err
	}
	return files, nil
}

// registriesPlaces returns the main files and the directories of drop-ins, the
// most important first.
func registriesPlaces(r *reading) (mains, dirs []string) {
	add := func(home string) {
		mains = append(mains, path.Join(r.src.Path, home, "registries.conf"))
	}
	if home := r.configHome(); home != "" {
		add(path.Join(home, "containers"))
		dirs = append(dirs, mains[0]+".d")
	}
	for _, home := range []string{"etc/containers", "usr/share/containers"} {
		add(home)
		base := path.Join(r.src.Path, home)
		if r.src.UID == 0 {
			dirs = append(dirs, path.Join(base, "registries.rootful.conf.d"))
		} else {
			rootless := path.Join(base, "registries.rootless.conf.d")
			dirs = append(dirs, path.Join(rootless, strconv.Itoa(r.src.UID)), rootless)
		}
		dirs = append(dirs, path.Join(base, "registries.conf.d"))
	}
	return mains, dirs
}

// named reads a file that a variable names. It has to be there.
func (r *reading) named(name, variable string) (*file, error) {
	f, err := r.load(path.Join(r.src.Path, fsPath(name)))
	if err == nil && f == nil {
		p := rules.Problem{At: rules.Origin{File: name, Format: r.src.Format}, Text: variable + " names a file that is not there"}
		r.refuse(p)
	}
	return f, err
}

// compact returns the files that are not nil.
func compact(files ...*file) []*file {
	return slices.DeleteFunc(files, func(f *file) bool { return f == nil })
}
