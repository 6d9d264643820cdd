package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/store"
)

// storeOptions are the flags of all commands of store.
type storeOptions struct {
	config   string
	storage  string
	json     bool
	dryRun   bool
	quiet    bool
	logLevel string
}

func newStoreCmd(env Env) *cobra.Command {
	var opts storeOptions
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look at what a server keeps, and remove from it",
		Long: `Store looks into the directory in which a server keeps its images, and removes
from it. The server may go on running beside it. The directory is that of
--storage, else that of the configuration which 'entrepot serve' would read.`,
		Example: `  entrepot store stats
  entrepot store stats --storage /var/lib/entrepot --json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := cmd.PersistentFlags()
	f.StringVar(&opts.config, "config", "", "read this configuration `FILE`")
	f.StringVar(&opts.storage, "storage", "", "the images are in this directory (a path or a file:// `URL`)")
	f.BoolVar(&opts.json, "json", false, "print one JSON object a line")
	f.BoolVar(&opts.dryRun, "dry-run", false, "say what would be done, and change nothing")
	f.BoolVar(&opts.quiet, "quiet", false, "print nothing but errors")
	f.StringVar(&opts.logLevel, "log-level", "warn", "log from this `LEVEL` on: debug, info, warn or error")
	cmd.AddCommand(newStoreStatsCmd(env, &opts), newStoreListCmd(env, &opts), newStoreEvictCmd(env, &opts), newStorePinCmd(env, &opts), newStoreUnpinCmd(env, &opts), newStoreVerifyCmd(env, &opts),
		newStoreGCCmd(env, &opts))
	return cmd
}

// withStore opens the store beside its server, for as long as work takes.
func withStore(ctx context.Context, env Env, opts *storeOptions, work func(context.Context, *store.Store, keeping) error) (err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(opts.logLevel)); err != nil {
		return usageError(fmt.Errorf("--log-level: %q is no level", opts.logLevel), "use debug, info, warn or error")
	}
	keep, err := loadKeeping(env, opts)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: level}))
	s, err := store.Attach(keep.dir, store.Config{Log: log})
	if errors.Is(err, oci.ErrNotFound) {
		return failure(fmt.Errorf("there is no store in %s", keep.dir), "name the directory of the server with --storage, or its configuration with --config")
	}
	if err != nil {
		return storeError(err, keep.dir)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return work(ctx, s, keep)
}

// A keeping is what a configuration says about what is kept.
type keeping struct {
	dir    string
	limits store.Limits
}

// loadKeeping reads the part of the configuration that is about storage. What
// else is wrong in it is the server's business.
func loadKeeping(env Env, opts *storeOptions) (keeping, error) {
	flags := serveFlags{config: opts.config, storage: opts.storage}
	name, data, err := readConfigFile(env, flags.config)
	if err != nil {
		return keeping{}, err
	}
	if err := flags.check(); err != nil {
		return keeping{}, err
	}
	var f file
	l := lines{}
	if name != "" {
		if f, l, err = parseFile(name, data); err != nil {
			return keeping{}, err
		}
	}
	c := &checker{file: name, lines: l, env: env}
	k := keeping{dir: c.storage(f.Storage, opts.storage), limits: c.limits(f)}
	if all := c.sorted(); len(all) > 0 {
		return keeping{}, all
	}
	if k.dir == "" {
		k.dir, err = defaultStorage(env)
		return k, err
	}
	k.dir, err = filepath.Abs(k.dir)
	return k, err
}

// printJSON prints one object on a line of its own.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// jsonTime is a time in JSON, "" for none.
func jsonTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
