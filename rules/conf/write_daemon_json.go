package conf

import (
	"slices"
	"strings"
)

// daemonJSONLimits are those of Docker's graph-driver store.
func daemonJSONLimits() limits {
	mirrors := exact(unverifiedTLS, plainHTTP)
	with(mirrors, unverifiedThenPlain, unverifiedTLS, featureFallback, "plain HTTP is no longer tried")
	with(mirrors, verifiedThenPlain, verified, featureFallback, "plain HTTP is no longer tried")
	own := exact(unverifiedThenPlain)
	with(own, unverifiedTLS, unverifiedThenPlain, featureSkipVerify, "insecure-registries allow plain HTTP as well")
	with(own, plainHTTP, unverifiedThenPlain, featurePlainHTTP, "insecure-registries are asked by HTTPS first")
	with(own, verifiedThenPlain, unverifiedThenPlain, featureFallback, "insecure-registries need no certificate that is trusted")
	return limits{
		hubOnly: true, hubVerified: true, paths: pathsBefore, reach: mirrors, reachOwn: own, scope: scopeTLS, certs: certsElsewhere,
		forced: func(host string, own bool, r reach) reach {
			switch {
			case !isThisMachine(host) || r != verified:
				return r
			case own:
				return unverifiedThenPlain
			default:
				return unverifiedTLS
			}
		},
	}
}

// writeDaemonJSON writes a daemon.json.
func writeDaemonJSON(w *writing) []File {
	var daemon struct {
		Mirrors  []string `json:"registry-mirrors,omitempty"`
		Insecure []string `json:"insecure-registries,omitempty"`
	}
	for _, r := range w.routes {
		for i := range r.stops {
			p := &r.stops[i]
			if !p.own {
				daemon.Mirrors = append(daemon.Mirrors, strings.TrimSuffix(p.endpoint(), "/v2"))
			}
			if p.skips() && !isThisMachine(p.host) && !slices.Contains(daemon.Insecure, p.host) {
				daemon.Insecure = append(daemon.Insecure, p.host)
			}
		}
	}
	for _, n := range w.cfg.Nets {
		daemon.Insecure = append(daemon.Insecure, n.Net.String())
	}
	return []File{jsonFile("daemon.json", daemon)}
}
