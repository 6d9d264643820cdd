package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
)

// A reloader reads the configuration again.
type reloader struct {
	asked <-chan os.Signal       // one for each time
	load  func() (config, error) // as at the start
}

// followSignals reloads whenever that is asked for, until ctx ends.
func (s *server) followSignals(ctx context.Context, r reloader) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.asked:
			s.notify.reloading()
			s.refreshCertificate()
			s.refreshCredentials()
			s.reload(r.load)
			s.notify.ready()
		}
	}
}

// reload reads the configuration again and follows it from now on, as far as it
// can. Where anything in it is wrong, all stays as it is.
func (s *server) reload(load func() (config, error)) {
	cfg, err := load()
	if err == nil {
		err = s.follow(cfg)
	}
	s.metrics.Reload(err == nil)
	if err == nil {
		return
	}
	all, ok := errors.AsType[problems](err)
	if !ok {
		s.log.Error("not reloaded", "err", err)
	}
	for _, p := range all {
		s.log.Error("not reloaded", "err", p, "hint", p.hint)
	}
}

// follow takes the mirror rules of another configuration, and who may do what.
// The rules have to agree with the upstreams that are served, which stay.
func (s *server) follow(cfg config) error {
	for _, x := range cfg.steering.contradictions(s.cfg.upstreams) {
		return fmt.Errorf("%s of the upstream %s: %s", x.key, s.cfg.upstreams[x.upstream].name, x.text)
	}
	door, err := s.openDoor(cfg, s.lodge.door())
	if err != nil {
		return err
	}
	clients, err := authorities(cfg.clientCA)
	if err != nil {
		return err
	}
	if err := s.pull.steer(cfg.steering); err != nil {
		return err
	}
	if s.cert != nil {
		s.clients.ask(s.cert, clients)
	}
	s.lodge.change(cfg.policy, door)
	cfg.steering.warn(s.log)
	s.log.Info("mirror rules reloaded", "files", len(cfg.written.Rules), "rules", len(cfg.steering.config.Rules))
	s.log.Info("access reloaded", "rules", len(cfg.policy.Rules))
	warnRestart(s.log, s.cfg.written, cfg.written)
	return nil
}

// reloadable are the keys that a reload follows.
var reloadable = []string{"rules", "access", "auth.anonymous", "auth.htpasswd", "auth.cidr", "auth.token_key", "auth.oidc", "server.client_ca"}

// warnRestart names the keys that have changed and are read at the start only.
func warnRestart(log *slog.Logger, old, now file) {
	for _, key := range changedKeys("", reflect.ValueOf(old), reflect.ValueOf(now)) {
		if !slices.Contains(reloadable, key) {
			log.Warn("a change needs a restart", "key", key)
		}
	}
}

// changedKeys returns the keys of a table in which two files differ: those of
// single tables one by one, lists as a whole.
func changedKeys(prefix string, old, now reflect.Value) []string {
	var keys []string
	for i := range old.NumField() {
		key := prefix + old.Type().Field(i).Tag.Get("toml")
		a, b := old.Field(i), now.Field(i)
		switch {
		case reflect.DeepEqual(a.Interface(), b.Interface()):
		case a.Kind() == reflect.Struct && a.Type() != reflect.TypeFor[scalar]():
			keys = append(keys, changedKeys(key+".", a, b)...)
		default:
			keys = append(keys, key)
		}
	}
	return keys
}
