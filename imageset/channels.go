package imageset

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// ErrNoGraph says that an update graph is needed, and that there is none.
var ErrNoGraph = errors.New("which releases a channel has is said by its update graph, and none is given")

// ErrNoGraphData says that the data of an update graph is needed, and that there
// is none.
var ErrNoGraphData = errors.New("the image of the update graph is made from its data, and none is given")

// graphHint says how to give it.
const graphHint = "give it with --graph: a file, a directory, or https://api.openshift.com/api/upgrades_info/v1/graph"

// A span is a channel with both ends of what is wanted of it.
type span struct {
	Channel
	low, high *semver.Version
}

// channels returns the releases of the channels.
func (x *expansion) channels(ctx context.Context) []release {
	var all []release
	for _, arch := range x.cfg.wantedArches() {
		g := &graphs{x: x, arch: arch, known: map[string]*updateGraph{}}
		var spans []span
		for _, c := range x.cfg.Platform.Channels {
			one, s, err := g.channel(ctx, c)
			if err != nil {
				hint := ""
				if errors.Is(err, ErrNoGraph) {
					hint = graphHint
				}
				x.fail(c.Place, err, hint, "the channel %s", c.Name)
				continue
			}
			spans = append(spans, s)
			all = append(all, g.releases(c.Place, one)...)
		}
		all = append(all, g.across(ctx, spans)...)
	}
	return byVersion(all)
}

// releases are those of nodes.
func (g *graphs) releases(p Place, nodes []node) []release {
	var all []release
	for _, n := range nodes {
		v := n.version.String()
		all = append(all, release{place: p, image: n.image, tag: tagOf(v, g.arch), version: v, arch: g.arch})
	}
	return all
}

// channel returns the releases of one channel.
func (g *graphs) channel(ctx context.Context, c Channel) ([]node, span, error) {
	graph, err := g.of(ctx, c.Name, c.OKD)
	if err != nil {
		return nil, span{}, err
	}
	low, high, err := graph.resolve(c)
	if err != nil {
		return nil, span{}, err
	}
	s := span{c, low, high}
	if high.LessThan(low) {
		return nil, s, fmt.Errorf("%s is before %s", high, low)
	}
	if c.ShortestPath {
		nodes, err := g.shortest(c, graph, low, high)
		return nodes, s, err
	}
	nodes := graph.between(low, high)
	if len(nodes) == 0 {
		return nil, s, fmt.Errorf("it has no release from %s to %s", low, high)
	}
	return nodes, s, nil
}

// shortest is the path of a graph; it says where there is none.
func (g *graphs) shortest(c Channel, graph *updateGraph, low, high *semver.Version) ([]node, error) {
	nodes, joined, err := graph.path(low, high)
	if err == nil && !joined {
		g.x.note(c.Place, "", "in the channel %s no update leads from %s to %s: only these two are taken", graph.channel, low, high)
	}
	return nodes, err
}

// across returns the releases that an update from the oldest to the newest of
// all channels goes through, from each minor version to the next.
func (g *graphs) across(ctx context.Context, spans []span) []release {
	var first, last *span
	n := 0
	for i, s := range spans {
		if s.OKD {
			continue
		}
		n++
		if first == nil || s.low.LessThan(first.low) {
			first = &spans[i]
		}
		if last == nil || s.high.GreaterThan(last.high) {
			last = &spans[i]
		}
	}
	if n < 2 || first.Name == last.Name {
		return nil
	}
	nodes, err := g.climb(ctx, first, last)
	if err != nil {
		g.x.fail(last.Place, err, "", "updates from the channel %s to %s", first.Name, last.Name)
	}
	return g.releases(last.Place, nodes)
}

// climb goes up from a channel to another: as far as the first one leads, then
// through the channels of the minor versions between.
func (g *graphs) climb(ctx context.Context, first, last *span) ([]node, error) {
	from, prefix, err := minor(first.Name)
	to, _, bad := minor(last.Name)
	if err := errors.Join(err, bad); err != nil {
		return nil, err
	}
	at, channel := first.low, first.Name
	var all []node
	for {
		if from.Equal(to) {
			channel = last.Name
		}
		graph, err := g.of(ctx, channel, false)
		if err != nil {
			return nil, err
		}
		high := graph.end(true)
		if channel == last.Name {
			high = last.high
		}
		if graph.find(at) < 0 && len(all) > 0 || channel == last.Name && graph.find(at) < 0 {
			g.x.note(last.Place, "", "no update leads from %s into the channel %s", at, channel)
			return all, nil
		}
		nodes, err := g.shortest(last.Channel, graph, at, high)
		if err != nil {
			return nil, err
		}
		all = append(all, nodes...)
		if channel == last.Name || !from.LessThan(to) {
			return all, nil
		}
		at = high
		next := from.IncMinor()
		from = &next
		channel = fmt.Sprintf("%s-%d.%d", prefix, from.Major(), from.Minor())
	}
}

// minor takes a channel's name apart: "stable-4.15".
func minor(channel string) (v *semver.Version, prefix string, err error) {
	i := strings.LastIndexByte(channel, '-')
	major, rest, ok := strings.Cut(channel[i+1:], ".")
	if i < 0 || !ok {
		return nil, "", fmt.Errorf("the channel %s has no version after a dash", channel)
	}
	for _, part := range []string{major, rest} {
		if _, err := strconv.ParseUint(part, 10, 32); err != nil {
			return nil, "", fmt.Errorf("the channel %s has no version after a dash", channel)
		}
	}
	v, err = semver.StrictNewVersion(channel[i+1:] + ".0")
	return v, channel[:i], err
}
