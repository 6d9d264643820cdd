package catalog

import "strings"

// opm serves a catalog from a cache that was made when its image was built
// (`opm serve DIR --cache-dir=CACHE`), and fails where the cache is not that of the
// catalog. A filtered catalog has none, and does not ask for it (OCPBUGS-37667).
const flagCache = "cache-dir"

// cacheFlags are opm's flags about its cache, and whether a value follows each.
//
//	:: flag → it has a value
var cacheFlags = map[string]bool{flagCache: true, "cache-enforce-integrity": false, "cache-only": false}

// withoutCache returns a command without the flags about a cache, and the directories
// of these.
func withoutCache(command []string) (rest, dirs []string) {
	for i := 0; i < len(command); i++ {
		name, value, given := strings.Cut(strings.TrimPrefix(command[i], "--"), "=")
		takes, known := cacheFlags[name]
		if !known || !strings.HasPrefix(command[i], "--") {
			rest = append(rest, command[i])
			continue
		}
		if takes && !given && i+1 < len(command) {
			i++
			value = command[i]
		}
		if dir := cleanPath(value); name == flagCache && dir != "" {
			dirs = append(dirs, dir)
		}
	}
	return rest, dirs
}

// cacheDirs returns the directories that an image's command takes for opm's cache.
func cacheDirs(c imageConfig) []string {
	_, first := withoutCache(c.Config.Entrypoint)
	_, second := withoutCache(c.Config.Cmd)
	return append(first, second...)
}
