package catalog

import (
	"path"
	"strings"
)

// An ignore is the .indexignore files of a catalog. Their language is that of
// .gitignore (https://git-scm.com/docs/gitignore): the last pattern that matches
// decides, those of deeper directories come later, and nothing below an excluded
// directory is included again.
type ignore []ignorePattern

type ignorePattern struct {
	dir     string // the directory of the file that has the pattern; "." is the top
	parts   []string
	include bool // the pattern has a '!' before it
	anyward bool // without a slash: it matches in every directory below
	dirOnly bool // with a slash at its end
}

// newIgnore reads the .indexignore files among the files of a catalog, which are
// sorted by their paths.
func newIgnore(files []File) ignore {
	var all ignore
	for _, f := range files {
		if path.Base(f.Path) != indexIgnore {
			continue
		}
		for line := range strings.Lines(string(f.Data)) {
			if p, ok := parseIgnore(strings.TrimRight(line, "\r\n")); ok {
				p.dir = path.Dir(f.Path)
				all = append(all, p)
			}
		}
	}
	return all
}

// parseIgnore reads one line.
func parseIgnore(line string) (ignorePattern, bool) {
	var p ignorePattern
	if strings.HasPrefix(line, "#") {
		return p, false
	}
	if !strings.HasSuffix(line, `\ `) {
		line = strings.TrimRight(line, " ")
	}
	line, p.include = strings.CutPrefix(line, "!")
	line, p.dirOnly = strings.CutSuffix(line, "/")
	p.anyward = !strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	p.parts = strings.Split(line, "/")
	return p, line != ""
}

// match reports whether a file is excluded.
func (g ignore) match(name string) bool {
	if len(g) == 0 {
		return false
	}
	parts := strings.Split(name, "/")
	for n := 1; n <= len(parts); n++ {
		if g.excludes(parts[:n], n < len(parts)) {
			return true
		}
	}
	return false
}

// excludes reports whether a path is excluded by itself, whatever is above it.
func (g ignore) excludes(parts []string, isDir bool) bool {
	for i := len(g) - 1; i >= 0; i-- {
		if g[i].matches(parts, isDir) {
			return !g[i].include
		}
	}
	return false
}

func (p ignorePattern) matches(parts []string, isDir bool) bool {
	if p.dirOnly && !isDir {
		return false
	}
	if p.dir != "." {
		above := strings.Split(p.dir, "/")
		if len(parts) <= len(above) || strings.Join(parts[:len(above)], "/") != p.dir {
			return false
		}
		parts = parts[len(above):]
	}
	if p.anyward {
		return glob(p.parts[0], parts[len(parts)-1])
	}
	return globs(p.parts, parts)
}

// globs matches a path with a pattern, in which "**" is any number of directories.
func globs(pattern, parts []string) bool {
	for i, want := range pattern {
		if want == "**" {
			rest := pattern[i+1:]
			if len(rest) == 0 {
				return i < len(parts)
			}
			for n := i; n < len(parts); n++ {
				if globs(rest, parts[n:]) {
					return true
				}
			}
			return false
		}
		if i >= len(parts) || !glob(want, parts[i]) {
			return false
		}
	}
	return len(pattern) == len(parts)
}

// glob matches a name; a pattern that is malformed matches nothing, as in git.
func glob(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}
