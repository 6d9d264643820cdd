package cli

import "github.com/entrepot/entrepot/internal/edge"

// connectionLimits reads what bounds the connections of clients.
func (c *checker) connectionLimits(f fileServer) edge.Limits {
	for key, n := range map[string]int{"server.max_connections": f.MaxConns, "server.max_connections_per_address": f.MaxConnsAddr} {
		if n < 0 {
			c.add(key, "leave it out, or write 0, for the default", "%d is less than nothing", n)
		}
	}
	limits := edge.Limits{
		Connections: f.MaxConns,
		PerAddress:  f.MaxConnsAddr,
		Stall:       c.duration("server.stall_timeout", f.StallTimeout, defaultStall),
	}
	if limits.Connections == 0 {
		limits.Connections = connectionsFor(openFiles())
	}
	return limits
}

// connectionsFor returns how many connections are let in by a process that may
// have so many files open; 0, for no limit, where that is not known. The other
// half is for the files that they are sent, and for upstreams.
func connectionsFor(files uint64) int {
	if files == 0 || files > 1<<24 {
		return 0
	}
	return int(max(files/2-min(32, files/4), 1))
}
