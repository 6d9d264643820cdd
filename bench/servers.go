package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// A bench is the place where everything is measured: the content, an origin
// registry that has it, and the servers that stay up for the warm cases.
type bench struct {
	options options
	temp    string
	bin     map[string]string // :: program → path
	content *content
	pair    *keyPair            // of the servers over TLS
	origin  *process            // distribution v3, with an access log
	warm    map[string]*process // :: server → process, started on first use
	seen    map[string]bool     // :: server + blob → it was read and verified
	filled  map[string]bool     // :: set of images → the origin has it
	house   *warehouse          // nil until it is needed
	serial  int                 // numbers directories and logs
}

// newBench makes the content and fills the origin.
func newBench(ctx context.Context, o options) (*bench, error) {
	b := &bench{options: o, bin: map[string]string{}, warm: map[string]*process{}, seen: map[string]bool{}, filled: map[string]bool{}}
	var err error
	if b.temp, err = os.MkdirTemp(o.temp, "entrepot-bench-"); err != nil {
		return nil, err
	}
	if err := b.prepare(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// prepare does everything that newBench has to clean up after.
func (b *bench) prepare(ctx context.Context) (err error) {
	if err := os.Chmod(b.temp, 0o755); err != nil { // nginx's workers are another user
		return err
	}
	if err := b.findPrograms(ctx); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "bench: making the content")
	dir := filepath.Join(b.temp, "content")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	big := int64(2 << 30)
	if b.options.quick {
		big = 256 << 20
	}
	if b.pair, err = newKeyPair(b.temp); err != nil {
		return err
	}
	if b.content, err = makeContent(dir, big); err != nil {
		return err
	}
	if b.origin, err = b.startDistribution(ctx, filepath.Join(b.temp, "origin"), "", true); err != nil {
		return err
	}
	for _, r := range b.content.repos {
		if err := b.content.push(b.origin.addr, r); err != nil {
			return fmt.Errorf("fill the origin: %w", err)
		}
	}
	return nil
}

// close stops all servers and removes the content.
func (b *bench) close() error {
	var errs []error
	for _, p := range b.warm {
		errs = append(errs, p.stop())
	}
	if b.origin != nil {
		errs = append(errs, b.origin.stop())
	}
	return errors.Join(append(errs, os.RemoveAll(b.temp))...)
}

// findPrograms looks for the peers, and builds Entrepot where no binary was
// given. Only distribution is needed: it is the origin.
func (b *bench) findPrograms(ctx context.Context) error {
	for _, name := range []string{"nginx", "wrk", "registry", "crane", "skopeo", "regsync", "regctl"} {
		path, err := exec.LookPath(filepath.Join(b.options.peers, name))
		if err != nil {
			path, err = exec.LookPath(name)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: WARNING: %s is not installed: what needs it is left out\n", name)
			continue
		}
		if b.bin[name], err = filepath.Abs(path); err != nil {
			return err
		}
	}
	if b.bin["registry"] == "" {
		return errors.New("distribution's registry is needed as the origin:\n" +
			"  go install github.com/distribution/distribution/v3/cmd/registry@v3.1.2")
	}
	b.bin[before] = b.options.before
	if !b.options.servers.MatchString(entrepot) {
		return nil
	}
	if b.options.entrepot != "" {
		b.bin[entrepot] = b.options.entrepot
		return nil
	}
	b.bin[entrepot] = filepath.Join(b.temp, "entrepot")
	build := exec.CommandContext(ctx, "go", "build", "-o", b.bin[entrepot], "./cmd/entrepot")
	build.Dir, build.Stdout, build.Stderr = "..", os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build entrepot: %w", err)
	}
	return nil
}

// has says whether a server can be measured here.
func (b *bench) has(server string) bool {
	program := map[string]string{distribution: "registry", crane: "crane", nginxCache: nginx}[server]
	if program == "" {
		program = programs[server]
	}
	if program == "" {
		program = server
	}
	return server == direct || server == readOnce || server == hashOnce || b.bin[program] != ""
}

// server returns the warm server of that name, and starts it on first use.
func (b *bench) server(ctx context.Context, name string) (*process, error) {
	if p := b.warm[name]; p != nil {
		return p, nil
	}
	p, err := b.startWarm(ctx, name)
	if err != nil {
		return nil, err
	}
	b.warm[name] = p
	return p, nil
}

func (b *bench) startWarm(ctx context.Context, name string) (*process, error) {
	switch name {
	case entrepot, before:
		return b.startEntrepot(ctx, name, b.newName("entrepot"), b.origin.addr)
	case nginx:
		return b.startNginx(ctx)
	case distribution:
		// A second process over the origin's files, without an access log.
		return b.startDistribution(ctx, filepath.Join(b.temp, "origin"), "", false)
	case crane:
		return b.startCrane(ctx)
	case overTLS(entrepot), overTLS(before):
		return b.startEntrepotWith(ctx, plain(name), b.newName("entrepot"), b.origin.addr, serving{pair: b.pair})
	case overTLS(nginx):
		return b.startNginxTLS(ctx)
	}
	return nil, fmt.Errorf("no server %q", name)
}

// newName returns a path below the temporary directory that nothing has yet.
func (b *bench) newName(what string) string {
	b.serial++
	return filepath.Join(b.temp, fmt.Sprintf("%s-%d", what, b.serial))
}

// startEntrepot starts `entrepot serve`, of one state or the other, with its
// store in dir, as a mirror of one upstream.
func (b *bench) startEntrepot(ctx context.Context, name, dir, upstream string) (*process, error) {
	return b.startEntrepotWith(ctx, name, dir, upstream, serving{})
}

// A serving is what else stands in Entrepot's configuration.
type serving struct {
	server, storage string   // further keys of these tables, a line each
	more            string   // further tables
	pair            *keyPair // nil: plain HTTP
}

func (b *bench) startEntrepotWith(ctx context.Context, name, dir, upstream string, s serving) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddr()
	if err != nil {
		return nil, err
	}
	if s.pair != nil {
		s.server += fmt.Sprintf("tls_cert = %q\ntls_key = %q\n", s.pair.cert, s.pair.key)
	}
	text := fmt.Sprintf(`[server]
listen = %q
admin  = %q
%s
[storage]
url = "file://%s"
%s
[[upstream]]
name = "origin.test"
url  = "http://%s"
allow_private = true
default = true
tag_ttl = "1h"
%s`, addr, admin, s.server, dir, s.storage, upstream, s.more)
	conf := dir + ".toml"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return process{addr: addr, admin: admin, pair: s.pair, log: dir + ".log"}.start(ctx, nil, b.bin[name], "serve", "--config", conf)
}

// startDistribution starts distribution's registry over the files in dir, as a
// pull-through cache where remote is not "".
func (b *bench) startDistribution(ctx context.Context, dir, remote string, accessLog bool) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: %v}}
storage: {filesystem: {rootdirectory: %q}}
http: {addr: %q}
`, !accessLog, dir, addr)
	if remote != "" {
		text += fmt.Sprintf("proxy: {remoteurl: %q}\n", "http://"+remote)
	}
	conf := b.newName("registry")
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return start(ctx, addr, conf+".log", []string{"OTEL_TRACES_EXPORTER=none"}, b.bin["registry"], "serve", conf)
}

// startCrane starts crane's registry, which keeps all in memory, with the small
// image in it.
func (b *bench) startCrane(ctx context.Context) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p, err := start(ctx, addr, b.newName("crane")+".log", nil, b.bin["crane"], "registry", "serve", "--address", addr)
	if err != nil {
		return nil, err
	}
	if err := b.content.push(addr, b.content.repo(smallRepo)); err != nil {
		return nil, errors.Join(fmt.Errorf("fill crane: %w", err), p.stop())
	}
	return p, nil
}
