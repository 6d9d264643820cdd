package cli

import (
	"testing"
	"time"
)

func TestDrainDelay(t *testing.T) {
	for name, c := range map[string]struct {
		set, drain time.Duration
		probes     int
		want       time.Duration
	}{
		"nobody probes":         {byProbes, 30 * time.Second, 0, 0},
		"somebody looked once":  {byProbes, 30 * time.Second, 1, 0},
		"probed":                {byProbes, 30 * time.Second, 2, 5 * time.Second},
		"probed, short drain":   {byProbes, 6 * time.Second, 9, 2 * time.Second},
		"probed, no drain":      {byProbes, 0, 9, 0},
		"set, and nobody comes": {7 * time.Second, 30 * time.Second, 0, 7 * time.Second},
		"set to none, probed":   {0, 30 * time.Second, 9, 0},
	} {
		s := &server{cfg: config{drain: c.drain, drainDelay: c.set}, canary: canary{check: func() error { return nil }, limit: canaryLimit}}
		for range c.probes {
			if err := s.ready(); err != nil {
				t.Errorf("%s: not ready: %v", name, err)
			}
		}
		if got := s.drainDelay(); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestDrainDelayIsAPartOfDrain(t *testing.T) {
	cfg, err := parse(t, "[server]\ndrain = '40s'\ndrain_delay = '9s'")
	if err != nil || cfg.drain != 40*time.Second || cfg.drainDelay != 9*time.Second {
		t.Errorf("got %v of %v, %v", cfg.drainDelay, cfg.drain, err)
	}
	if cfg, err = parse(t, ""); err != nil || cfg.drainDelay != byProbes {
		t.Errorf("default: got %v, %v", cfg.drainDelay, err)
	}
	_, err = parse(t, "[server]\ndrain = '10s'\ndrain_delay = '11s'")
	if want := "entrepot.toml:3: server.drain_delay: 11s is longer than server.drain, 10s"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
