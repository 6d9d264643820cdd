package imageset

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/entrepot/entrepot/ref"
)

// An updateGraph is the graph of a channel, as the Cincinnati protocol has it
// (https://github.com/openshift/cincinnati, "Cincinnati Graph API").
type updateGraph struct {
	channel string
	nodes   []node
	edges   map[int][]int // :: node → those that it updates to, the newest first
}

type node struct {
	version *semver.Version
	image   string
	order   int // in the list, which edges count by
}

// A graphFile is the JSON of a graph.
type graphFile struct {
	Nodes []struct {
		Version, Payload string
		Metadata         map[string]string
	}
	Edges [][]int
}

// channelsKey is where a release says which channels it is in.
const channelsKey = "io.openshift.upgrades.graph.release.channels"

// parseGraph reads a graph. Releases that say that they are in other channels
// are left out: a file may have several channels.
func parseGraph(channel string, data []byte) (*updateGraph, error) {
	var doc graphFile
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	g := &updateGraph{channel: channel, edges: map[int][]int{}}
	at := make(map[int]int) // :: place in the list → ours
	for i, n := range doc.Nodes {
		if in := n.Metadata[channelsKey]; in != "" && !slices.Contains(strings.Split(in, ","), channel) {
			continue
		}
		v, err := semver.StrictNewVersion(n.Version)
		if err != nil {
			return nil, fmt.Errorf("node %d: version %q: %w", i, n.Version, err)
		}
		if _, err := ref.Parse(n.Payload); err != nil {
			return nil, fmt.Errorf("node %d: %w", i, err)
		}
		at[i] = len(g.nodes)
		g.nodes = append(g.nodes, node{version: v, image: n.Payload, order: i})
	}
	if len(g.nodes) == 0 {
		return nil, fmt.Errorf("it has no release of the channel %s", channel)
	}
	if err := g.join(doc, at); err != nil {
		return nil, err
	}
	return g, nil
}

// join adds the edges between the nodes that are there.
func (g *updateGraph) join(doc graphFile, at map[int]int) error {
	for i, e := range doc.Edges {
		if len(e) != 2 || min(e[0], e[1]) < 0 || max(e[0], e[1]) >= len(doc.Nodes) {
			return fmt.Errorf("edge %d does not join two nodes", i)
		}
		from, ok := at[e[0]]
		to, also := at[e[1]]
		if ok && also {
			g.edges[from] = append(g.edges[from], to)
		}
	}
	for _, to := range g.edges {
		slices.SortStableFunc(to, func(a, b int) int { return g.nodes[b].version.Compare(g.nodes[a].version) })
	}
	return nil
}

// end returns the newest release, or the oldest.
func (g *updateGraph) end(newest bool) *semver.Version {
	compare := func(a, b node) int { return a.version.Compare(b.version) }
	if newest {
		return slices.MaxFunc(g.nodes, compare).version
	}
	return slices.MinFunc(g.nodes, compare).version
}

// find returns the place of a version, -1 where there is none.
func (g *updateGraph) find(v *semver.Version) int {
	return slices.IndexFunc(g.nodes, func(n node) bool { return n.version.Equal(v) })
}

// between returns the releases of a range, both ends included.
func (g *updateGraph) between(low, high *semver.Version) []node {
	var all []node
	for _, n := range g.nodes {
		if !n.version.LessThan(low) && !n.version.GreaterThan(high) {
			all = append(all, n)
		}
	}
	return all
}

// path returns the releases that the shortest update goes through, both ends
// included. Without a way there are only the ends, and direct is false.
func (g *updateGraph) path(from, to *semver.Version) (all []node, joined bool, err error) {
	start, end := g.find(from), g.find(to)
	for i, v := range []*semver.Version{from, to} {
		if []int{start, end}[i] < 0 {
			return nil, false, fmt.Errorf("the version %s is not in the channel %s", v, g.channel)
		}
	}
	before := map[int]int{start: -1}
	for queue := []int{start}; len(queue) > 0; queue = queue[1:] {
		for _, next := range g.edges[queue[0]] {
			if _, seen := before[next]; !seen {
				before[next] = queue[0]
				queue = append(queue, next)
			}
		}
	}
	if _, ok := before[end]; !ok {
		return []node{g.nodes[start], g.nodes[end]}, false, nil
	}
	for at := end; at >= 0; at = before[at] {
		all = append(all, g.nodes[at])
	}
	slices.Reverse(all)
	return all, true, nil
}

// graphs reads the graphs of one architecture, each one once.
type graphs struct {
	x     *expansion
	arch  string
	known map[string]*updateGraph // :: channel → its graph
}

func (g *graphs) of(ctx context.Context, channel string, okd bool) (*updateGraph, error) {
	if one := g.known[channel]; one != nil {
		return one, nil
	}
	if g.x.env.Graph == nil {
		return nil, ErrNoGraph
	}
	data, err := g.x.env.Graph(ctx, Query{Channel: channel, Arch: g.arch, OKD: okd})
	if err != nil {
		return nil, err
	}
	one, err := parseGraph(channel, data)
	if err != nil {
		return nil, fmt.Errorf("the update graph: %w", err)
	}
	g.known[channel] = one
	return one, nil
}

// resolve fills in the versions that a channel leaves open, as oc-mirror does:
// the newest release alone, unless the oldest or all are asked for.
func (g *updateGraph) resolve(c Channel) (low, high *semver.Version, err error) {
	high, low = g.end(true), g.end(false)
	if c.Min == "" && c.Max == "" && !c.Full {
		low = high
	}
	if c.Max != "" {
		if high, err = semver.StrictNewVersion(c.Max); err != nil {
			return nil, nil, err
		}
	}
	if c.Min != "" {
		low, err = semver.StrictNewVersion(c.Min)
	}
	return low, high, err
}

// tagOf is the tag that a release has at its own registry.
func tagOf(version, arch string) string {
	return strings.ReplaceAll(version, "+", "_") + "-" + archName(arch)
}

// wantedArches are the architectures whose releases are wanted.
func (c *Config) wantedArches() []string {
	switch p := c.Platform; {
	case len(p.Platforms) > 0:
		return []string{"multi"}
	case len(p.Architectures) > 0:
		return p.Architectures
	}
	return []string{"amd64"}
}

// byVersion sorts releases, and leaves out what is there twice.
func byVersion(all []release) []release {
	slices.SortStableFunc(all, func(a, b release) int {
		return cmp.Or(cmp.Compare(a.arch, b.arch), compareVersions(a.version, b.version), cmp.Compare(a.image, b.image))
	})
	return slices.CompactFunc(all, func(a, b release) bool { return a.image == b.image && a.arch == b.arch })
}

func compareVersions(a, b string) int {
	v, err := semver.NewVersion(a)
	w, bad := semver.NewVersion(b)
	if err != nil || bad != nil {
		return cmp.Compare(a, b)
	}
	return v.Compare(w)
}
