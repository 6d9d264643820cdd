package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

type serveOptions struct {
	serveFlags
	logLevel string
	quiet    bool
}

func newServeCmd(env Env) *cobra.Command {
	var opts serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve images from the registries that are mirrored, and from your own",
		Long: `Serve is a mirror for many registries behind one address: it fetches what clients
ask for from the upstream that the request names, keeps it, and serves it from
then on. Names that belong to no upstream are a registry of your own.

Without any configuration it listens on ` + defaultListen + `, keeps images in the
user's data directory, mirrors the well-known public registries, and takes
pushes for every other name. Otherwise it reads entrepot.toml: from --config,
$ENTREPOT_CONFIG, the working directory, the user's configuration directory, or
/etc/entrepot, whichever comes first. Flags win over the file.

On SIGINT and SIGTERM /readyz fails; where somebody watches it, requests are still
taken for server.drain_delay (5s). Then it stops accepting, lets requests and
downloads finish for what is left of server.drain (30s), and exits with 0. A second
signal ends it at once. On SIGHUP it reads the configuration again and follows its mirror rules,
and who may do what, from then on, without a failed request; where something is
wrong it says so and goes on as before. Everything else that has changed needs a
restart.

Exit codes: 0 it was stopped, 1 it could not go on, 2 the command line or the
configuration is wrong.`,
		Example: `  entrepot serve
  entrepot serve --listen 127.0.0.1:0 --storage /tmp/images
  entrepot serve --config /etc/entrepot/entrepot.toml --log-level debug`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), env, opts) },
	}
	f := cmd.Flags()
	f.StringVar(&opts.config, "config", "", "read this configuration `FILE`")
	f.StringVar(&opts.listen, "listen", "", "serve the registry on this `ADDR` (default "+defaultListen+")")
	f.StringVar(&opts.admin, "admin", "", "serve metrics and health on this `ADDR` (default "+defaultAdmin+")")
	f.StringVar(&opts.storage, "storage", "", "keep images in this directory (a path or a file:// `URL`)")
	f.StringVar(&opts.logLevel, "log-level", "info", "log from this `LEVEL` on: debug, info, warn or error; info has a line per request")
	f.BoolVar(&opts.quiet, "quiet", false, "do not say how clients are pointed here")
	return cmd
}

func serve(ctx context.Context, env Env, opts serveOptions) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(opts.logLevel)); err != nil {
		return usageError(fmt.Errorf("--log-level: %q is no level", opts.logLevel), "use debug, info, warn or error")
	}
	cfg, err := loadConfig(env, opts.serveFlags)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	out := &logWriter{w: env.Stderr}
	defer out.flush()
	log := cfg.logger(out, level)
	keepMemory(log)
	l, err := listen(cfg)
	if err != nil {
		return err
	}
	s, err := newServer(cfg, log, cfg.accessLog(out, level))
	if err != nil {
		return errors.Join(err, l.close())
	}
	s.notify = newNotifier(env.Getenv, log)
	hangups := make(chan os.Signal, 1) // one is enough: whatever comes while we read is read with it
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	s.announce(env.Stderr, l, opts.quiet)
	return s.run(ctx, stop, l, reloader{hangups, func() (config, error) { return loadConfig(env, opts.serveFlags) }})
}

// listeners are the two sockets. They are opened before the store, so that a
// port that is taken is said before anything else is touched.
type listeners struct {
	registry, admin net.Listener
}

func listen(cfg config) (listeners, error) {
	var l listeners
	var err error
	if l.registry, err = listenOn(cfg.listen, "--listen"); err != nil {
		return listeners{}, err
	}
	if l.admin, err = listenOn(cfg.admin, "--admin"); err != nil {
		return listeners{}, errors.Join(err, l.registry.Close())
	}
	return l, nil
}

func listenOn(addr, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l, nil
	}
	hint := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = fmt.Sprintf("something else listens there; choose another address with %s, or port 0 for any that is free", flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "this machine does not have that address"
	case errors.Is(err, fs.ErrPermission):
		hint = "ports below 1024 need privileges; choose another with " + flag
	}
	return nil, failure(err, hint)
}

func (l listeners) close() error { return errors.Join(l.registry.Close(), l.admin.Close()) }

// logger returns the server's log.
func (c config) logger(w io.Writer, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if c.jsonLog {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// storeError explains why a store does not open.
func storeError(err error, dir string) error {
	hint := ""
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		hint = fmt.Sprintf("this user may not write to %s; choose another directory with --storage", dir)
	case errors.Is(err, syscall.ENOSPC):
		hint = "the disk is full"
	}
	return failure(err, hint)
}
