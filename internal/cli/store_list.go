package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/store"
)

func newStoreListCmd(env Env, opts *storeOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Name the manifests that are kept",
		Long: `List names every manifest that is kept, with its tags, its size with all that it
leads to, and when it was last used. A blob that two images share counts for both.
What was pushed is never evicted, whether it was used or not.

Exit codes: 0 done, 1 it failed, 2 the command line or the configuration is wrong.`,
		Example: `  entrepot store list
  entrepot store list --json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStore(cmd.Context(), env, opts, func(ctx context.Context, s *store.Store, k keeping) error {
				return storeList(ctx, env, opts, s, k)
			})
		},
	}
}

// listedJSON is the JSON of list, a line for each manifest.
type listedJSON struct {
	Pool       string   `json:"pool"`
	Repository string   `json:"repository"`
	Digest     string   `json:"digest"`
	MediaType  string   `json:"media_type"`
	Tags       []string `json:"tags"`
	Bytes      int64    `json:"bytes"`
	Missing    int      `json:"missing"`
	LastUsed   string   `json:"last_used,omitempty"`
	Pinned     bool     `json:"pinned"`
}

func storeList(ctx context.Context, env Env, opts *storeOptions, s *store.Store, k keeping) error {
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	if !opts.json {
		fmt.Fprintln(t, "POOL\tREPOSITORY\tTAGS\tDIGEST\tSIZE\tLAST USED\tPINNED")
	}
	for l, err := range s.Contents(ctx) {
		if err == nil && opts.json {
			out := listedJSON{l.Pool, l.Repository, string(l.Digest), l.MediaType, append([]string{}, l.Tags...), l.Bytes, l.Missing, jsonTime(l.Used), l.Pinned}
			err = printJSON(env.Stdout, out)
		} else if err == nil {
			pinned := ""
			if l.Pinned {
				pinned = "yes"
			}
			_, err = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Pool, l.Repository, strings.Join(l.Tags, " "), l.Digest, size(l.Bytes), day(l.Used), pinned)
		}
		if err != nil {
			return storeError(err, k.dir)
		}
	}
	return t.Flush()
}
