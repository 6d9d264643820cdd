package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/internal/edge"
)

func TestConnectionLimits(t *testing.T) {
	cfg, err := parse(t, "[server]\nmax_connections = 7\nmax_connections_per_address = 3\nstall_timeout = '5s'")
	if want := (edge.Limits{Connections: 7, PerAddress: 3, Stall: 5 * time.Second}); err != nil || cfg.conns != want {
		t.Errorf("got %+v, %v, want %+v", cfg.conns, err, want)
	}
	cfg, err = parse(t, "")
	if want := (edge.Limits{Connections: connectionsFor(openFiles()), Stall: time.Minute}); err != nil || cfg.conns != want {
		t.Errorf("defaults: got %+v, %v, want %+v", cfg.conns, err, want)
	}
	for text, want := range map[string]string{
		"[server]\nmax_connections = -1":    "entrepot.toml:2: server.max_connections: -1 is less than nothing",
		"[server]\nmax_connections = 'all'": "entrepot.toml:2: server.max_connections has to be a whole number",
	} {
		if _, err := parse(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	for files, want := range map[uint64]int{0: 0, 1 << 63: 0, 256: 96, 20000: 9968, 2: 1, 16: 4} {
		if got := connectionsFor(files); got != want {
			t.Errorf("%d files: got %d connections, want %d", files, got, want)
		}
	}
}
