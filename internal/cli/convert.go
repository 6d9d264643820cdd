package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/conf"
)

type convertOptions struct {
	from       []string // FORMAT=PATH
	to         string   // FORMAT or FORMAT=PATH
	allowLossy bool
	widen      bool
	force      bool
	hosts      []string
	references []string
	json       bool
}

func newConvertCmd(env Env) *cobra.Command {
	var opts convertOptions
	cmd := &cobra.Command{
		Use:   "convert --from FORMAT=PATH... --to FORMAT[=PATH]",
		Short: "Translate mirror configuration into another client's format",
		Long: `Convert reads mirror configuration as its client does, writes it in another
format, reads that back as the other client does, and compares where both would
look for images of every rule. What the format cannot say is named with its
place. Where that is more than a warning nothing is written, unless
--allow-lossy accepts it; what cannot be said is then left out.

Several --from are read one after the other, a later rule taking the place of an
earlier one for the same images. Without PATH the result goes to standard output,
and warnings to standard error, with --json one object a line. Existing files are
left alone unless --force is given. Other settings that such a file holds are
not kept.

` + convertFormats() + `

Exit codes: 0 done, 1 the source is wrong or the result cannot be written, 2 the
command line is wrong, 4 something would be lost.`,
		Example: `  entrepot convert --from registries.conf=/etc/containers --to hosts.toml=/etc/containerd/certs.d
  entrepot convert --from k3s=registries.yaml --to buildkitd.toml
  entrepot convert --from hosts.toml=certs.d --to registries.conf=50-mirrors.conf --host ghcr.io --host quay.io`,
		Args: usageArgs(cobra.ArbitraryArgs),
		RunE: func(_ *cobra.Command, args []string) error {
			opts.from = append(opts.from, args...) // "--from A=a B=b"
			return convert(env, opts)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&opts.from, "from", nil, "read this `FORMAT=PATH`; may be given several times")
	f.StringVar(&opts.to, "to", "", "write this `FORMAT[=PATH]`")
	f.BoolVar(&opts.allowLossy, "allow-lossy", false, "write what can be said, and list what is lost")
	f.BoolVar(&opts.widen, "widen", false, "let a rule for a namespace hold for its whole registry, where the mirrors keep the namespace")
	f.BoolVar(&opts.force, "force", false, "overwrite existing files")
	f.StringArrayVar(&opts.hosts, "host", nil, "write a rule for many registries for this `HOST`, where the format has no such rule; may be given several times")
	f.StringArrayVar(&opts.references, "reference", nil, "compare the places of this `REF`, too; may be given several times")
	f.BoolVar(&opts.json, "json", false, "print problems as one JSON object a line")
	return cmd
}

// convertFormats says what can be read and what can be written.
func convertFormats() string {
	return "FORMAT is one of " + strings.Join(conf.Formats(), ", ") + ";\nall but containerd-cri can be written."
}

func convert(env Env, opts convertOptions) error {
	format, path, err := opts.target()
	if err != nil {
		return err
	}
	write := conf.WriteOptions{Widen: opts.widen, Hosts: opts.hosts, ReadFile: os.ReadFile}
	for _, name := range opts.references {
		r, err := ref.Parse(name)
		if err != nil {
			return usageError(fmt.Errorf("--reference: %w", err), "")
		}
		write.References = append(write.References, r)
	}
	p := printer{out: env.Stderr, json: opts.json}
	cfg, d, err := opts.read(env, &p)
	if err != nil {
		return err
	}
	write.Source = d
	files, losses, err := conf.Write(cfg, format, write)
	if err != nil {
		return err
	}
	if err := p.losses(losses, opts.allowLossy); err != nil {
		return err
	}
	if n := conf.Refused(losses); n > 0 && !opts.allowLossy {
		return &fault{exitLossy, fmt.Errorf("nothing is written, because %s would lose %s", format, count(n, "thing")),
			"--allow-lossy leaves out what cannot be said"}
	}
	if len(files) == 0 {
		return failure(fmt.Errorf("nothing is left to write in %s", format), "")
	}
	if path == "" {
		return printFiles(env.Stdout, format, files)
	}
	return writeResult(format, path, files, opts.force)
}

// target returns the format to write and the path, "" for standard output.
func (o *convertOptions) target() (format, path string, err error) {
	format, path, given := strings.Cut(o.to, "=")
	switch {
	case len(o.from) == 0:
		return "", "", usageError(errors.New("there is nothing to read"), "give --from FORMAT=PATH")
	case o.to == "":
		return "", "", usageError(errors.New("there is no format to write"), "give --to FORMAT, or --to FORMAT=PATH")
	case given && path == "":
		return "", "", usageError(fmt.Errorf("--to: %q has no path", o.to), "leave out '=' for standard output")
	case format == "containerd-cri":
		return "", "", usageError(errors.New("--to: containerd-cri is only read: containerd no longer wants mirrors there"), "write hosts.toml")
	case !slices.Contains(conf.Writers(), format):
		return "", "", usageError(fmt.Errorf("--to: format %q is not known", format), suggest(format, conf.Writers()))
	}
	if path == "-" {
		path = ""
	}
	for _, host := range o.hosts {
		if !ref.ValidHost(host) {
			return "", "", usageError(fmt.Errorf("--host: %q is no host", host), "write host or host:port")
		}
	}
	return format, path, nil
}

// read returns all sources as one configuration, and the dialect that it is
// meant in: that of its client, or the native one where there are several.
func (o *convertOptions) read(env Env, p *printer) (rules.Config, rules.Dialect, error) {
	var all []rules.Config
	dialect := rules.Native()
	wrong := 0
	for i, arg := range o.from {
		src, err := openRules(arg, conf.Machine{Stdin: env.Stdin, Getenv: env.Getenv})
		if err != nil {
			return rules.Config{}, dialect, err
		}
		src.Elsewhere = true
		c, d, errs, err := readSource(src)
		if err != nil {
			return rules.Config{}, dialect, err
		}
		if err := p.told(errs); err != nil {
			return rules.Config{}, dialect, err
		}
		wrong += len(errs)
		if i == 0 {
			dialect = d
		} else if d.Client != dialect.Client {
			dialect = rules.Native()
		}
		all = append(all, c)
	}
	if wrong > 0 {
		return rules.Config{}, dialect, failure(fmt.Errorf("errors in the source: %d", wrong), "'entrepot check' tells more about it")
	}
	cfg := rules.Merge(all...)
	if len(cfg.Rules)+len(cfg.Hosts)+len(cfg.Nets) == 0 && !cfg.ShortNames.Configured() {
		return cfg, dialect, failure(fmt.Errorf("there are no rules in %s", strings.Join(o.from, ", ")), "")
	}
	return cfg, dialect, nil
}

// readSource reads a source as its client does. errs are the errors of the
// strict reading: what the client drops without a word must not be dropped here.
func readSource(src conf.Source) (c rules.Config, d rules.Dialect, errs []rules.Problem, err error) {
	if d, err = rules.DialectOf(conf.Clients(src.Format)[0]); err != nil {
		return c, d, nil, err
	}
	strict, err := conf.Read(src, rules.Native())
	if err != nil {
		return c, d, nil, err
	}
	if c, err = conf.Read(src, d); err != nil {
		return c, d, nil, err
	}
	errs = appendNew(nil, slices.DeleteFunc(append(strict.Problems, c.Problems...), func(p rules.Problem) bool { return p.Level != rules.Error }))
	for i := range c.Rules {
		if m := &c.Rules[i].Match; slices.Contains(d.HubKeys, m.Host) {
			m.Host = ref.DockerHub // under one name in all sources
		}
	}
	if !slices.Contains(d.HubKeys, ref.DockerHub) {
		d.HubKeys = []string{ref.DockerHub}
	}
	c.Rules = slices.DeleteFunc(c.Rules, func(r rules.Rule) bool { return r.Match.Kind == rules.Any && isPlain(&r) })
	return c, d, errs, nil
}

// isPlain reports whether a rule leads to the image's own registry and nowhere
// else, like no rule at all. What a place may be asked for beside reading does
// not matter to a conversion.
func isPlain(r *rules.Rule) bool {
	ep := &r.Upstream.Endpoint
	return len(r.Endpoints) == 0 && r.Fails == nil && r.Upstream.Kind == rules.Original && !ep.Blocked && ep.Unusable == "" &&
		ep.Scheme == rules.SchemeUnset && ep.Transport == nil && ep.Kinds == 0 && ep.Can.OrAll()&(rules.Pull|rules.Resolve) == rules.Pull|rules.Resolve
}

// A lossJSON is a loss as --json prints it.
type lossJSON struct {
	problemJSON
	Feature string `json:"feature"`
}

// losses prints what is lost. What is accepted is a warning.
func (p *printer) losses(losses []conf.Loss, accepted bool) error {
	for _, l := range losses {
		problem := l.Problem()
		if accepted {
			problem.Level = rules.Warning
		}
		if !p.json {
			if err := p.told([]rules.Problem{problem}); err != nil {
				return err
			}
		} else if err := p.writeJSON(lossJSON{problemToJSON(&problem), l.Feature}); err != nil {
			return err
		}
	}
	return nil
}

// told prints problems as a command does that has other results.
func (p *printer) told(all []rules.Problem) error {
	for i := range all {
		problem := &all[i]
		if p.json {
			if err := p.writeJSON(problemToJSON(problem)); err != nil {
				return err
			}
			continue
		}
		text := "entrepot: " + problem.Level.String() + ": " + problem.Error() + "\n"
		if problem.Hint != "" {
			text += "entrepot: hint: " + problem.Hint + "\n"
		}
		if _, err := io.WriteString(p.out, text); err != nil {
			return err
		}
	}
	return nil
}

// printFiles prints a result: one file as it is, those of a directory each
// behind a line with its name, as txtar has them.
func printFiles(out io.Writer, format string, files []conf.File) error {
	var b strings.Builder
	for _, f := range files {
		if conf.WritesDirectory(format) {
			fmt.Fprintf(&b, "-- %s --\n", f.Name)
		}
		b.Write(f.Data)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// writeResult writes the files of a conversion: those of a directory below
// path, and one file to path, or, where that is a directory, into it.
func writeResult(format, path string, files []conf.File, force bool) error {
	var out []outFile
	info, err := os.Stat(path)
	isDir := err == nil && info.IsDir()
	switch {
	case conf.WritesDirectory(format):
		if err == nil && !isDir {
			return usageError(fmt.Errorf("%s is written as a directory, and %s is a file", format, path), "name the certs.d directory")
		}
		for _, f := range files {
			out = append(out, outFile{filepath.Join(path, filepath.FromSlash(f.Name)), f.Data})
		}
	case isDir || strings.HasSuffix(path, "/"):
		dir := path
		if format == "registries.conf" && filepath.Ext(filepath.Clean(path)) != ".d" {
			dir = filepath.Join(path, "registries.conf.d")
		}
		out = append(out, outFile{filepath.Join(dir, files[0].Name), files[0].Data})
	default:
		out = append(out, outFile{path, files[0].Data})
	}
	return writeAll(out, force)
}
