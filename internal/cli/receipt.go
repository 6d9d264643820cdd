package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

type receiptOptions struct {
	networkFlags
	maps     []string
	output   string
	jobs     int
	retry    int
	json     bool
	quiet    bool
	logLevel string
}

func newReceiptCmd(env Env) *cobra.Command {
	var opts receiptOptions
	cmd := &cobra.Command{
		Use:   "receipt PREFIX|ARCHIVE --output FILE",
		Short: "Write down what a destination holds, so that an archive can leave it out",
		Long: `Receipt looks what the repositories below PREFIX really hold and writes it down, to
be carried to where 'entrepot save --have FILE' leaves all of that out. Every
manifest is read and every blob is asked for: what a manifest names and the
registry does not have is not in the receipt, and is told. Of an ARCHIVE the
receipt is what the archive holds.

The repositories are those of --map, the relocation mappings that 'entrepot load'
and 'entrepot relocate' wrote, else those that the registry's catalog has below
PREFIX. Images without a tag are found by a mapping alone. The same content gives
the same receipt, byte for byte.

Exit codes: 0 done, 1 it failed (there is no receipt: one that guesses is of no
use), 2 the command line is wrong, 6 the registry refuses the credentials.`,
		Example: `  entrepot receipt registry.corp/mirror --output receipt.json
  entrepot receipt registry.corp/mirror --map relocation-mapping.json --output receipt.json
  entrepot receipt images.tar --output receipt.json`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return receipt(cmd.Context(), env, opts, args[0]) },
	}
	opts.networkFlags.add(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&opts.maps, "map", nil, "the repositories are those of the relocation mapping in this `FILE`; may be given several times")
	f.StringVar(&opts.output, "output", "", "write the receipt to this `FILE`, or to standard output for -")
	f.IntVar(&opts.jobs, "jobs", 0, "ask this `NUMBER` of questions at once (default 16)")
	f.IntVar(&opts.retry, "retry", 0, "try each request this `NUMBER` of times (default 8)")
	f.BoolVar(&opts.json, "json", false, "print what was found as JSON")
	f.BoolVar(&opts.quiet, "quiet", false, "do not tell what was found")
	f.StringVar(&opts.logLevel, "log-level", "warn", "log from this `LEVEL` on: debug, info, warn or error")
	return cmd
}

// receipt writes the receipt of a destination, or of an archive.
func receipt(ctx context.Context, env Env, opts receiptOptions, of string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := opts.check(); err != nil {
		return err
	}
	var r relocate.Receipt
	var err error
	if isArchive(of) {
		if len(opts.maps) > 0 {
			return usageError(errors.New("--map: an archive knows what it holds"), "leave it out")
		}
		r, _, err = archiveReceipt(ctx, of)
	} else {
		r, err = opts.take(ctx, env, of)
	}
	if err != nil {
		return err
	}
	data, err := r.Encode()
	if err == nil && opts.output == "-" {
		_, err = env.Stdout.Write(data)
	} else if err == nil {
		err = writeAll([]outFile{{opts.output, data}}, true)
	}
	if err != nil {
		return fmt.Errorf("write the receipt: %w", err)
	}
	return opts.tell(env, r)
}

// check refuses flags that cannot work.
func (opts *receiptOptions) check() error {
	switch {
	case opts.output == "":
		return usageError(errors.New("--output is missing"), "say where the receipt goes: --output receipt.json")
	case opts.output == "-" && opts.json:
		return usageError(errors.New("--json and the receipt cannot both go to standard output"), "leave --json out: the receipt is JSON")
	case opts.jobs < 0 || opts.retry < 0:
		return usageError(errors.New("--jobs and --retry are not negative"), "")
	}
	return opts.networkFlags.check()
}

// take takes the receipt of a destination.
func (opts *receiptOptions) take(ctx context.Context, env Env, prefix string) (r relocate.Receipt, err error) {
	below, err := relocate.ParsePrefix(prefix)
	if err != nil {
		return r, usageError(err, "write a registry and a path in it, or the file of an archive")
	}
	maps, err := readMappings(opts.maps)
	if err != nil {
		return r, usageError(fmt.Errorf("--map: %w", err), "")
	}
	log, err := (&transferFlags{logLevel: opts.logLevel}).logger(env.Stderr)
	if err != nil {
		return r, err
	}
	net, err := opts.network(plainView(), networkConfig{jobs: opts.jobs, retry: opts.retry, log: log}, env)
	if err != nil {
		return r, err
	}
	defer net.client.Close() // never fails
	var repos []ref.Name
	refs, strangers := mapped(maps, below)
	for _, s := range strangers {
		fmt.Fprintf(env.Stderr, "entrepot: warning: %s is not below %s and is not looked at\n", s, below)
	}
	if len(maps) == 0 {
		if repos, err = (registries{net}).repositories(ctx, below); err != nil {
			return r, noCatalog(below, err)
		}
	}
	r, lost, err := relocate.TakeReceipt(ctx, relocate.ReceiptConfig{Reader: registries{net}, Prefix: below.String(), Jobs: opts.jobs}, repos, refs)
	for _, at := range lost {
		fmt.Fprintf(env.Stderr, "entrepot: warning: %s is not there, although the mapping says so\n", at)
	}
	return r, authFault(err)
}

// noCatalog says that the repositories below a prefix cannot be listed.
func noCatalog(prefix ref.Name, err error) error {
	return hintFault(fmt.Errorf("list the repositories of %s: %w", prefix.Host, err), "name them: --map with the relocation mapping that 'entrepot relocate --map' wrote")
}

// authFault gives an error about credentials its exit code.
func authFault(err error) error {
	if err == nil {
		return nil
	}
	return hintFault(err, "")
}

func hintFault(err error, hint string) error {
	code := exitFailed
	if errors.Is(err, oci.ErrUnauthorized) || errors.Is(err, oci.ErrDenied) {
		code = exitAuth
	}
	return &fault{code, err, hint}
}

// archiveReceipt takes the receipt of an archive, and returns what it was made
// against as well: blobs that it leaves out and that are no loss.
func archiveReceipt(ctx context.Context, path string) (r relocate.Receipt, base map[oci.Digest]relocate.Held, err error) {
	a, err := openArchives([]string{path})
	if err != nil {
		return r, nil, err
	}
	defer a.Close() // it was only read
	var refs []ref.Ref
	for name := range a.names {
		refs = append(refs, name)
	}
	if r, _, err = relocate.TakeReceipt(ctx, relocate.ReceiptConfig{Reader: a}, nil, refs); err != nil {
		return r, nil, failure(fmt.Errorf("%s: %w", path, err), "")
	}
	base = map[oci.Digest]relocate.Held{}
	for _, one := range a.all {
		for _, b := range one.set.Base {
			h := base[b.Digest]
			base[b.Digest] = relocate.Held{Size: b.Size, Repositories: append(h.Repositories, b.Repositories...)}
		}
	}
	for i := range r.Repositories {
		one := &r.Repositories[i]
		one.Missing = slices.DeleteFunc(one.Missing, func(b relocate.Stored) bool { _, ok := base[b.Digest]; return ok })
	}
	return r, base, nil
}

// A receiptSum is what receipt --json prints.
type receiptSum struct {
	Repositories int               `json:"repositories"`
	Manifests    int               `json:"manifests"`
	Blobs        int               `json:"blobs"` // different ones
	Bytes        int64             `json:"bytes"` // of them
	Missing      []relocate.Stored `json:"missing"`
}

// tell tells what is in a receipt, and what is not.
func (opts *receiptOptions) tell(env Env, r relocate.Receipt) error {
	held := r.Held()
	sum := receiptSum{Repositories: len(r.Repositories), Blobs: len(held), Missing: []relocate.Stored{}}
	for _, h := range held {
		sum.Bytes += h.Size
	}
	for _, one := range r.Repositories {
		sum.Manifests += len(one.Manifests)
		for _, b := range one.Missing {
			fmt.Fprintf(env.Stderr, "entrepot: warning: %s lacks blob %s of %s, which a manifest names; it is not in the receipt\n", one.Name, b.Digest, size(b.Size))
			sum.Missing = append(sum.Missing, b)
		}
	}
	switch {
	case opts.json:
		return (&printer{out: env.Stdout, json: true}).writeJSON(sum)
	case opts.quiet || opts.output == "-":
		return nil
	}
	_, err := fmt.Fprintf(env.Stdout, "%s with %s; %s in %s\n", counts(sum.Repositories, "repository", "repositories"), count(sum.Manifests, "manifest"), size(sum.Bytes), count(sum.Blobs, "blob"))
	return err
}

// counts is count for things whose plural is not made with an s alone.
func counts(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
