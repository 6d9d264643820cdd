package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// An origin is a distribution v3 registry, in a process of its own, behind a
// wire.
type origin struct {
	*process
	*wire
	direct string // the registry itself, for pushing
	files  string // its storage
}

// restart starts the registry again, at the address where it was.
func (o *origin) restart(t *testing.T) {
	t.Helper()
	o.process = startDistribution(t, o.files, strings.TrimPrefix(o.direct, "http://"))
}

// startOrigin starts an empty distribution v3 registry, without a proxy mode
// and without the referrers API, as its version 3.1 is.
func startOrigin(t testing.TB) *origin {
	t.Helper()
	bin := kit.tool(t, "registry")
	dir := t.TempDir()
	conf := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf(`version: 0.1
log: {level: info, formatter: json, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
http: {addr: "127.0.0.1:0", secret: e2e}
`, filepath.Join(dir, "data"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "serve", conf)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	p := startProcess(t, "distribution v3", cmd)
	p.mute = true // the wire says more
	m := p.log.wait(t, regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`))
	o := &origin{process: p, direct: "http://" + m[1], files: filepath.Join(dir, "data")}
	o.wire = newWire(t, o.direct)
	return o
}

// unreachable is an address of this machine where nobody listens.
func unreachable(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}
