package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/relocate"
)

// copyFlags say how images are copied.
type copyFlags struct {
	platforms   []string
	trimIndex   bool
	noReferrers bool
	jobs        int
	onExisting  string
	partial     bool
	retry       int
	journal     string // "" for one of our own
}

func (c *copyFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&c.platforms, "platform", nil, "copy of a multi-platform image these `PLATFORMS` alone, as linux/amd64; its index stays as it is")
	f.BoolVar(&c.trimIndex, "trim-index", false, "with --platform: write an index of these platforms alone, which gets another digest")
	f.BoolVar(&c.noReferrers, "no-referrers", false, "leave signatures, attestations and whatever else refers to the images behind")
	f.IntVar(&c.jobs, "jobs", 0, "work on at most this `NUMBER` of images and blobs at once (default: as many as the registries take)")
	f.StringVar(&c.onExisting, "on-existing", string(relocate.Overwrite), "where a tag exists and is something else: overwrite, keep, fail or backup")
	f.BoolVar(&c.partial, "partial", false, "set tags although some images failed")
	f.IntVar(&c.retry, "retry", 0, "try each request this `NUMBER` of times (default 8)")
	f.StringVar(&c.journal, "journal", "", "keep what is done in this `FILE`, and go on from it (default: a file in the user's cache)")
	_ = cmd.RegisterFlagCompletionFunc("on-existing", cobra.FixedCompletions(onExisting(), cobra.ShellCompDirectiveNoFileComp))
}

func onExisting() []string {
	return []string{string(relocate.Overwrite), string(relocate.Keep), string(relocate.Fail), string(relocate.Backup)}
}

// config returns what the flags say, without places and files.
func (c *copyFlags) config() (relocate.Config, error) {
	cfg := relocate.Config{Jobs: c.jobs, OnExisting: relocate.OnExisting(c.onExisting),
		Partial: c.partial, NoReferrers: c.noReferrers, TrimIndex: c.trimIndex}
	switch cfg.OnExisting {
	case relocate.Overwrite, relocate.Keep, relocate.Fail, relocate.Backup:
	default:
		return cfg, usageError(fmt.Errorf("--on-existing: %q is no way to treat a tag", c.onExisting), "use overwrite, keep, fail or backup")
	}
	for _, s := range c.platforms {
		p, err := relocate.ParsePlatform(s)
		if err != nil {
			return cfg, usageError(fmt.Errorf("--platform: %w", err), "write for example linux/amd64")
		}
		cfg.Platforms = append(cfg.Platforms, p)
	}
	switch {
	case c.trimIndex && len(c.platforms) == 0:
		return cfg, usageError(fmt.Errorf("--trim-index needs --platform"), "")
	case c.jobs < 0:
		return cfg, usageError(fmt.Errorf("--jobs: %d is negative", c.jobs), "")
	case c.retry < 0:
		return cfg, usageError(fmt.Errorf("--retry: %d is negative", c.retry), "")
	}
	return cfg, nil
}
