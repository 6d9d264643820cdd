package relocate

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// hostPath puts the source's registry into the path: prefix/host[_port]/path.
func (n *Naming) hostPath(r ref.Ref) (ref.Name, error) {
	return n.below(hostComponent(r.Host) + "/" + r.Path), nil
}

// hostComponent returns a host as a component of a path, in lower case: the
// port follows after '_', and an IPv6 address is spelled out,
// "ip6-0000-…-0001_5000", since its colons may not stand there.
func hostComponent(host string) string {
	host = strings.ToLower(host)
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		name, port = host[:i], "_"+host[i+1:]
	}
	if addr, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil && addr.Is6() {
		name = "ip6-" + strings.ReplaceAll(addr.StringExpanded(), ":", "-")
	}
	return name + port
}

// samePath keeps the path and replaces the registry by the prefix. Images of
// two registries may meet.
func (n *Naming) samePath(r ref.Ref) (ref.Name, error) { return n.below(r.Path), nil }

// setComponents makes the naming for registries that limit the depth: of the
// path, the prefix's part included, the first max-1 components stay, the rest
// is joined by dashes, as oc-mirror's --max-nested-paths does it; whatever was
// joined also gets a hash of the source's name, because a/b-c and a-b/c would
// meet otherwise. 0 sets no limit.
func (n *Naming) setComponents(arg string) error {
	limit, err := strconv.Atoi(arg)
	if err != nil || limit < 0 {
		return fmt.Errorf("components:%s: %q is no number of components", arg, arg)
	}
	taken := 0
	if n.prefix.Path != "" {
		taken = strings.Count(n.prefix.Path, "/") + 1
	}
	if limit > 0 && limit <= taken {
		return fmt.Errorf("components:%d leaves no room: the prefix %s has %d already", limit, n.prefix, taken)
	}
	n.name = func(r ref.Ref) (ref.Name, error) {
		components := strings.Split(r.Path, "/")
		keep := limit - taken - 1
		if limit == 0 || len(components) <= keep+1 {
			return n.below(r.Path), nil
		}
		joined := strings.Join(components[keep:], "-") + "-" + sha256Hex(r.Name.String())
		return n.below(strings.Join(append(components[:keep:keep], joined), "/")), nil
	}
	return nil
}
