package imageset

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v4"

	"github.com/entrepot/entrepot/document"
)

// A chartIndex is the index.yaml of a chart repository
// (https://helm.sh/docs/topics/chart_repository/).
type chartIndex struct {
	base    *url.URL
	entries map[string][]chartVersion // :: chart → its versions
}

type chartVersion struct {
	Version string
	Type    string
	URLs    []string `yaml:"urls"`
	Digest  string
}

// fetchIndex reads the index of a repository.
func fetchIndex(ctx context.Context, fetch func(context.Context, string) ([]byte, error), address string) (*chartIndex, error) {
	base, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("its address cannot be read")
	}
	base.Path = strings.TrimSuffix(strings.TrimSuffix(base.Path, "index.yaml"), "/") + "/"
	data, err := fetch(ctx, base.ResolveReference(&url.URL{Path: "index.yaml", RawQuery: base.RawQuery}).String())
	if err != nil {
		return nil, err
	}
	var file struct {
		Entries map[string][]chartVersion
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("index.yaml: %w", err)
	}
	if file.Entries == nil {
		return nil, errors.New("index.yaml has no entries: it is no index of charts")
	}
	return &chartIndex{base, file.Entries}, nil
}

// all returns every version of every chart that has something to install.
func (i *chartIndex) all(r Repository) []Chart {
	var all []Chart
	for _, name := range slices.Sorted(maps.Keys(i.entries)) {
		for _, v := range i.entries[name] {
			if v.Type != "library" {
				all = append(all, Chart{Place: r.below("charts"), Name: name, Version: v.Version})
			}
		}
	}
	return all
}

// find returns a version of a chart: the one that is named, the newest that a
// range allows, the newest that is no pre-release.
func (i *chartIndex) find(c Chart) (chartVersion, error) {
	versions := i.entries[c.Name]
	if len(versions) == 0 {
		return chartVersion{}, fmt.Errorf("it is not in the repository, which has %s", strings.Join(slices.Sorted(maps.Keys(i.entries)), ", "))
	}
	for _, v := range versions {
		if v.Version == c.Version || c.Version != "" && v.Version == "v"+c.Version {
			return v, nil
		}
	}
	allowed, err := semver.NewConstraint(cmp.Or(c.Version, "*"))
	if err != nil {
		return chartVersion{}, fmt.Errorf("the version %q: %w", c.Version, err)
	}
	var best *semver.Version
	var found chartVersion
	var have []string
	for _, one := range versions {
		v, err := semver.NewVersion(one.Version)
		have = append(have, one.Version)
		if err == nil && allowed.Check(v) && (best == nil || v.GreaterThan(best)) {
			best, found = v, one
		}
	}
	if best == nil {
		return found, fmt.Errorf("the version %s is not in the repository, which has %s", cmp.Or(c.Version, "that is no pre-release"), strings.Join(have, ", "))
	}
	return found, nil
}

// fetch reads a chart.
func (i *chartIndex) fetch(ctx context.Context, fetch func(context.Context, string) ([]byte, error), c Chart) (document.Input, error) {
	v, err := i.find(c)
	if err != nil {
		return document.Input{}, err
	}
	if len(v.URLs) == 0 {
		return document.Input{}, fmt.Errorf("the index has no address of the version %s", v.Version)
	}
	at, err := url.Parse(v.URLs[0])
	if err != nil {
		return document.Input{}, fmt.Errorf("the index has no good address of the version %s", v.Version)
	}
	at = i.base.ResolveReference(at)
	if at.Scheme != "http" && at.Scheme != "https" {
		return document.Input{}, fmt.Errorf("the version %s is at %s, which is not read from here: fetch it and list it below helm.local", v.Version, at.Redacted())
	}
	data, err := fetch(ctx, at.String())
	if err != nil {
		return document.Input{}, err
	}
	sum := sha256.Sum256(data)
	if want := strings.TrimPrefix(v.Digest, "sha256:"); want != "" && !strings.EqualFold(want, hex.EncodeToString(sum[:])) {
		return document.Input{}, fmt.Errorf("the file at %s is not the one that the index names: its digest is %x, and should be %s", at.Redacted(), sum, want)
	}
	return document.Input{Name: c.Name + "-" + v.Version, Data: data}, nil
}
