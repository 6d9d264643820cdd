package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/store"
)

func newStoreStatsCmd(env Env, opts *storeOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "Say how much is kept",
		Long: `Stats counts what the store holds: the cache, which can be fetched again, and what
was pushed. A blob that several images share counts once.

Exit codes: 0 done, 1 it failed, 2 the command line or the configuration is wrong.`,
		Example: `  entrepot store stats
  entrepot store stats --storage /var/lib/entrepot --json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStore(cmd.Context(), env, opts, func(ctx context.Context, s *store.Store, k keeping) error {
				return storeStats(ctx, env, opts, s, k)
			})
		},
	}
}

// The JSON of stats.
type (
	statsJSON struct {
		Storage    string   `json:"storage"`
		Cache      poolJSON `json:"cache"`
		Pushed     poolJSON `json:"pushed"`
		Quarantine struct {
			Blobs int64 `json:"blobs"`
			Bytes int64 `json:"bytes"`
		} `json:"quarantine"`
		Disk struct {
			Free  int64 `json:"free_bytes"`
			Total int64 `json:"total_bytes"`
		} `json:"disk"`
	}
	poolJSON struct {
		Blobs     int64  `json:"blobs"`
		Bytes     int64  `json:"bytes"`
		Manifests int64  `json:"manifests"`
		Oldest    string `json:"oldest,omitempty"`
		Newest    string `json:"newest,omitempty"`
	}
)

func newPoolJSON(p store.PoolMeasure) poolJSON {
	return poolJSON{p.Blobs, p.Bytes, p.Manifests, jsonTime(p.Oldest), jsonTime(p.Newest)}
}

func storeStats(ctx context.Context, env Env, opts *storeOptions, s *store.Store, k keeping) error {
	m, err := s.Measure(ctx)
	if err != nil {
		return storeError(err, k.dir)
	}
	if opts.json {
		out := statsJSON{Storage: k.dir, Cache: newPoolJSON(m.Cache), Pushed: newPoolJSON(m.Vault)}
		out.Quarantine.Blobs, out.Quarantine.Bytes = m.Quarantine.Blobs, m.Quarantine.Bytes
		out.Disk.Free, out.Disk.Total = m.Free, m.Total
		return printJSON(env.Stdout, out)
	}
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "POOL\tMANIFESTS\tBLOBS\tSIZE\tOLDEST\tNEWEST")
	fmt.Fprintf(t, "cache\t%d\t%d\t%s\t%s\t%s\n", m.Cache.Manifests, m.Cache.Blobs, size(m.Cache.Bytes), day(m.Cache.Oldest), day(m.Cache.Newest))
	fmt.Fprintf(t, "pushed\t%d\t%d\t%s\t%s\t%s\n", m.Vault.Manifests, m.Vault.Blobs, size(m.Vault.Bytes), day(m.Vault.Oldest), day(m.Vault.Newest))
	if m.Quarantine.Blobs > 0 {
		fmt.Fprintf(t, "quarantine\t-\t%d\t%s\t-\t-\n", m.Quarantine.Blobs, size(m.Quarantine.Bytes))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if m.Total > 0 {
		_, err = fmt.Fprintf(env.Stdout, "%s of %s on the disk are free\n", size(m.Free), size(m.Total))
	}
	return err
}

// day prints a time for people, "-" for none.
func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}
