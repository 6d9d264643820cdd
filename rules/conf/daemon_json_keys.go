package conf

import "strings"

// daemonKeys are the other keys of daemon.json. Source: moby/moby
// v2.0.0-beta.24, daemon/config (Config, CommonConfig) and the manual page of
// dockerd.
var daemonKeys = []string{
	"$schema", "allow-direct-routing", "allow-nondistributable-artifacts", "api-cors-header", "authorization-plugins", "bip", "bip6",
	"bridge", "bridge-accept-fwmark", "builder", "cdi-spec-dirs", "cgroup-parent", "cluster-advertise", "cluster-store", "cluster-store-opts", "config-file", "containerd",
	"containerd-namespace", "containerd-plugin-namespace", "cpu-rt-period", "cpu-rt-runtime", "cri-containerd", "data-root", "debug",
	"default-address-pools", "default-cgroupns-mode", "default-gateway", "default-gateway-v6", "default-ipc-mode",
	"default-network-opts", "default-runtime", "default-shm-size", "default-ulimits", "deprecated-key-path", "dns", "dns-opts", "dns-search",
	"exec-opts", "exec-root", "experimental", "features", "firewall-backend", "fixed-cidr", "fixed-cidr-v6", "graph", "group", "host-gateway-ip", "host-gateway-ips",
	"hosts", "http-proxy", "https-proxy", "icc", "init", "init-path", "ip", "ip-forward", "ip-forward-no-drop", "ip-masq", "ip6tables", "iptables", "ipv6",
	"labels", "live-restore", "log-driver", "log-format", "log-level", "log-opts", "max-concurrent-downloads", "max-concurrent-uploads",
	"max-download-attempts", "metrics-addr", "mtu", "network-control-plane-mtu", "network-diagnostic-port", "no-new-privileges",
	"no-proxy", "node-generic-resources", "oom-score-adjust", "pidfile", "proxies", "raw-logs", "rootless", "runtimes",
	"seccomp-profile", "selinux-enabled", "shutdown-timeout", "storage-driver", "storage-opts", "swarm-default-advertise-addr",
	"time-namespaces", "tls", "tlscacert", "tlscert", "tlskey", "tlsverify", "userland-proxy", "userland-proxy-path", "userns-remap", "validate",
}

// daemonFlags are flags of dockerd that are called otherwise in the file, where
// they are taken and have no effect.
//
//	:: flag → key
var daemonFlags = map[string]string{"registry-mirror": "registry-mirrors", "insecure-registry": "insecure-registries"}

// keys notes the keys that have no effect or stop the daemon. It does not start
// with a key that it does not know; only those that are plainly a slip are
// taken for one here, because versions differ.
func (d *daemonFile) keys(root *node) {
	for _, key := range daemonKeys {
		d.value(root, key)
	}
	root.asked = []string{"registry-mirrors", "insecure-registries"}
	for i := range root.keys {
		m := &root.keys[i]
		if m.used {
			continue
		}
		plain := strings.TrimSuffix(strings.TrimSuffix(plainKey(m.name), "s"), "ie")
		switch {
		case daemonFlags[m.name] != "":
			m.used = true
			d.silent(d.file, m.at, "write "+daemonFlags[m.name], "key %q is the name of a flag, and has no effect in the file", m.name)
		case plain == "registrymirror", plain == "insecureregistr", plain == "insecureregistry":
			m.used = true
			d.refuse(d.problem(d.file, m.at, root.suggest(m.name), "key %q is not known, and Docker does not start with it", m.name))
		default:
			m.used = true
			d.warn(d.file, m.at, "Docker does not start with a key that it does not know", "unknown key %q", m.name)
		}
	}
}

// store notes where the file chooses another image store than the one that is
// emulated.
func (d *daemonFile) store(root *node) {
	features := d.table(d.file, root, "features")
	v := d.value(features, "containerd-snapshotter")
	if v == nil || v.kind != isBool || d.d.Strict() || v.truth == d.containerd() {
		return
	}
	use, hint := "the graph-driver store", "look at it as docker"
	if v.truth {
		use, hint = "the containerd image store", "look at it as docker-containerd"
	}
	d.warn(d.file, v.at, hint, "the file chooses %s", use)
}
