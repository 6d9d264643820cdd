package cli

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/entrepot/entrepot/proxy"
	"github.com/entrepot/entrepot/ref"
)

const (
	defaultPrefetch = time.Hour
	soonestPrefetch = time.Second
)

// A prefetch is one [[prefetch]] table: images that are kept in the cache.
type prefetch struct {
	images   []proxy.Warm
	interval time.Duration
}

// prefetch reads the [[prefetch]] tables.
func (c *checker) prefetch(tables []filePrefetch, ups []upstream) []prefetch {
	var all []prefetch
	for i, t := range tables {
		at := fmt.Sprintf("prefetch[%d].", i)
		p := prefetch{interval: c.duration(at+"interval", t.Interval, defaultPrefetch)}
		if t.Interval.set && p.interval < soonestPrefetch {
			c.add(at+"interval", "upstreams count what they are asked", "%q is less than a second", t.Interval.text)
		}
		if len(t.References) == 0 {
			c.add(at+"references", `for example references = ["docker.io/library/alpine:3.*"]`, "it is needed")
		}
		versions, err := versionsIn(t.Semver)
		if err != nil {
			c.add(at+"semver", `write it as ">=1.2 <2" or "~3.20"`, "%q is no range of versions", t.Semver)
		}
		for j, s := range t.References {
			key := fmt.Sprintf("%sreferences[%d]", at, j)
			w, err := parseWarm(s, versions)
			switch {
			case err != nil:
				c.add(key, `write it as HOST/REPOSITORY:TAG, where "*" in the tag stands for anything`, "%v", err)
			case !ownsName(ups, w.Ref.Host):
				c.add(key, "give it an [[upstream]] table", "%s is no upstream", w.Ref.Host)
			default:
				p.images = append(p.images, w)
			}
		}
		all = append(all, p)
	}
	return all
}

// ownsName reports whether an upstream, or a wildcard, is called so.
func ownsName(ups []upstream, host string) bool {
	_, below := wildcardOf(slices.DeleteFunc(slices.Clone(ups), func(u upstream) bool { return !isWildcard(u.name) }), host)
	return below || slices.ContainsFunc(ups, func(u upstream) bool { return u.name == host })
}

// versionsIn returns what says whether a tag is a version in a range; nil where
// there is no range. A tag that is no version is in none.
func versionsIn(semverRange string) (func(tag string) bool, error) {
	if semverRange == "" {
		return nil, nil
	}
	in, err := semver.NewConstraint(semverRange)
	if err != nil {
		return nil, err
	}
	return func(tag string) bool {
		v, err := semver.NewVersion(tag)
		return err == nil && in.Check(v)
	}, nil
}

// parseWarm reads a reference whose tag may be a pattern. Without a tag and a
// digest it stands for the tags that are versions in the range, and where there
// is no range for latest.
func parseWarm(s string, versions func(string) bool) (proxy.Warm, error) {
	name, tag := s, ""
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, '/') && !strings.Contains(s, "@") {
		name, tag = s[:i], s[i+1:]
	}
	pattern := strings.ContainsAny(tag, "*?[\\")
	if !pattern {
		name = s
	}
	r, err := ref.Parse(name)
	switch {
	case err != nil:
		return proxy.Warm{}, err
	case r.Digest != "" && r.Tag != "":
		return proxy.Warm{}, fmt.Errorf("%q has a tag and a digest", s)
	case versions != nil && r.Digest != "":
		return proxy.Warm{}, errors.New("a digest has no version that could be in the range of semver")
	case versions != nil && r.Tag != "":
		if !versions(r.Tag) {
			return proxy.Warm{}, fmt.Errorf("the tag %q is not in the range of semver", r.Tag)
		}
		return proxy.Warm{Ref: r}, nil
	case !pattern && versions != nil:
		return proxy.Warm{Ref: r, Match: versions}, nil
	case !pattern:
		return proxy.Warm{Ref: r.WithDefaultTag()}, nil
	}
	if _, err := path.Match(tag, ""); err != nil {
		return proxy.Warm{}, fmt.Errorf("%q is no pattern of tags", tag)
	}
	return proxy.Warm{Ref: r, Match: func(t string) bool {
		ok, _ := path.Match(tag, t) // the pattern was tried above
		return ok && (versions == nil || versions(t))
	}}, nil
}
