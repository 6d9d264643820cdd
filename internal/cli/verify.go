package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

type verifyOptions struct {
	networkFlags
	maps      []string
	deep      bool
	noRefs    bool
	platforms []string
	jobs      int
	retry     int
	json      bool
	logLevel  string
}

func newVerifyCmd(env Env) *cobra.Command {
	var opts verifyOptions
	cmd := &cobra.Command{
		Use:   "verify PREFIX --map FILE | ARCHIVE...",
		Short: "Look whether relocated images, or those of an archive, are whole",
		Long: `Verify asks a registry for the images that a relocation mapping says are there:
their manifests, those of all platforms, and every blob; a reference with a
digest has to be that digest. What refers to them, signatures and attestations
for example, has to be whole as well. With --deep each blob is read and hashed.

Of an ARCHIVE it looks whether all volumes are there and belong together, and
whether everything that the images lead to is in them with its size; with --deep
every byte is held against its digest. What was left out because the far side has
it is not missed.

Exit codes: 0 all are whole, 1 it failed, 2 the command line is wrong, 4 an image
is missing, damaged, something else or not below PREFIX, or an archive is not
whole, 6 the registry refuses the credentials.`,
		Example: `  entrepot verify registry.corp/mirror --map relocation-mapping.json
  entrepot verify registry.corp/mirror --map relocation-mapping.json --deep --json
  entrepot verify images.tar --deep`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return verify(cmd.Context(), env, opts, args) },
	}
	opts.networkFlags.add(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&opts.maps, "map", nil, "the relocation mapping is in this `FILE`; may be given several times")
	f.BoolVar(&opts.deep, "deep", false, "read every blob and hash it")
	f.BoolVar(&opts.noRefs, "no-referrers", false, "leave out what refers to the images: signatures, attestations and the like")
	f.StringSliceVar(&opts.platforms, "platform", nil, "these `PLATFORMS` alone have to be there, as linux/amd64")
	f.IntVar(&opts.jobs, "jobs", 0, "look at this `NUMBER` of images at once (default 16)")
	f.IntVar(&opts.retry, "retry", 0, "try each request this `NUMBER` of times (default 8)")
	f.BoolVar(&opts.json, "json", false, "print one JSON object a line")
	f.StringVar(&opts.logLevel, "log-level", "warn", "log from this `LEVEL` on: debug, info, warn or error")
	return cmd
}

// verify looks at archives, or at what the mappings name.
func verify(ctx context.Context, env Env, opts verifyOptions, args []string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(opts.maps) == 0 && (isThere(args[0]) || isArchive(args[0])) {
		return verifyArchives(ctx, env, opts, args)
	}
	if len(args) > 1 {
		return usageError(errors.New("one PREFIX at a time, or archives without --map"), "")
	}
	return verifyMapped(ctx, env, opts, args[0])
}

// isThere reports whether there is a file or a directory.
func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// verifyMapped looks at what the mappings name.
func verifyMapped(ctx context.Context, env Env, opts verifyOptions, prefix string) error {
	below, err := relocate.ParsePrefix(prefix)
	if err != nil {
		return usageError(err, "")
	}
	if len(opts.maps) == 0 {
		return usageError(errors.New("--map is missing"), "say which images have to be there: --map relocation-mapping.json; there is no archive "+prefix)
	}
	maps, err := readMappings(opts.maps)
	if err != nil {
		return err
	}
	refs, strangers := mapped(maps, below)
	cfg, done, err := opts.open(env)
	if err != nil {
		return err
	}
	defer done()
	found, err := relocate.Verify(ctx, cfg, refs)
	if err != nil {
		return err
	}
	for _, s := range strangers {
		found = append(found, relocate.Verified{Target: s, Error: "it is not below " + below.String()})
	}
	return tellVerified(env, found, opts.json)
}

// open makes what asks the registry; done ends it.
func (opts *verifyOptions) open(env Env) (cfg relocate.VerifyConfig, done func(), err error) {
	if err := opts.check(); err != nil {
		return cfg, nil, err
	}
	copied := copyFlags{platforms: opts.platforms, jobs: opts.jobs, retry: opts.retry, onExisting: string(relocate.Overwrite)}
	run, err := copied.config()
	if err != nil {
		return cfg, nil, err
	}
	log, err := (&transferFlags{logLevel: opts.logLevel}).logger(env.Stderr)
	if err != nil {
		return cfg, nil, err
	}
	net, err := opts.network(plainView(), networkConfig{jobs: opts.jobs, retry: opts.retry, log: log}, env)
	if err != nil {
		return cfg, nil, err
	}
	cfg = relocate.VerifyConfig{Target: registries{net}, Deep: opts.deep, Platforms: run.Platforms, NoReferrers: opts.noRefs, Jobs: opts.jobs}
	return cfg, func() { net.client.Close() }, nil
}

// mapped returns the targets of mappings, each once and in order, and those that
// are not below the prefix. What the key of a mapping has as digest its target
// has to have as well.
func mapped(maps []document.Mapping, below ref.Name) (refs []ref.Ref, strangers []string) {
	seen := make(map[ref.Ref]bool)
	for _, m := range maps {
		for from, to := range m {
			r, err := ref.Parse(to) // as the mapping was read, it is one
			if err != nil || !isBelow(r.Name, below) {
				strangers = append(strangers, to)
				continue
			}
			if original, err := ref.Parse(from); err == nil && r.Digest == "" {
				r.Digest = original.Digest
			}
			if r = r.WithDefaultTag(); !seen[r] {
				seen[r] = true
				refs = append(refs, r)
			}
		}
	}
	slices.SortFunc(refs, func(a, b ref.Ref) int { return strings.Compare(a.String(), b.String()) })
	slices.Sort(strangers)
	return refs, slices.Compact(strangers)
}

// tellVerified prints what was found. The error has the exit code.
func tellVerified(env Env, found []relocate.Verified, asJSON bool) error {
	p := printer{out: env.Stdout, json: asJSON}
	bad, rights := 0, 0
	for _, v := range found {
		if v.Error != "" {
			bad++
			if v.Class == relocate.Class(oci.ErrUnauthorized) || v.Class == relocate.Class(oci.ErrDenied) {
				rights++
			}
			printError(env.Stderr, fmt.Errorf("%s: %s", v.Target, v.Error), v.Hint)
		}
		var err error
		switch {
		case asJSON:
			err = p.writeJSON(v)
		case v.Error == "":
			with := ""
			if v.Referrers > 0 {
				with = ", with " + count(v.Referrers, "referrer")
			}
			_, err = fmt.Fprintf(env.Stdout, "whole\t%s\t%s in %s%s\n", v.Target, size(v.Bytes), count(v.Blobs, "blob"), with)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case bad == 0:
		return nil
	case bad == rights:
		return &fault{exitAuth, fmt.Errorf("%d of %s may not be read", bad, count(len(found), "image")), ""}
	}
	return &fault{exitLossy, fmt.Errorf("%d of %s %s not whole", bad, count(len(found), "image"), are(len(found))), "relocate them again: what is in place is not copied again"}
}
