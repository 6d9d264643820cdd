// Package cli is the command line: a file per command, the configuration file,
// and the place where the rooms are put together into a server.
//
// Results go to standard output, everything else to standard error. Errors are
// "entrepot: error: …", then, where one helps, "entrepot: hint: …".
package cli

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// An Env is all that the commands see of the process they run in. Every field
// is needed.
type Env struct {
	Args   []string // without the program's name
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
}

// ProcessEnv returns the environment of this process.
func ProcessEnv() Env {
	return Env{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
}

// Main runs the command that env.Args name and returns the process's exit
// code. When ctx ends, a server shuts down cleanly; SIGINT and SIGTERM do the
// same.
func Main(ctx context.Context, env Env) int {
	root := newRootCmd(env)
	root.SetArgs(env.Args)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	return report(env.Stderr, root.ExecuteContext(ctx))
}

func newRootCmd(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "entrepot",
		Short: "A mirror for every container registry, and a registry of your own beside it",
		Long: `Entrepot is a mirror for container images: one address that pulls through from
every registry you name, keeps what it fetched, and takes your own pushes.

Without any configuration it mirrors the well-known public registries:

  entrepot serve
  crane pull 127.0.0.1:5000/docker.io/library/alpine:3.20 alpine.tar`,
		Args:              usageArgs(cobra.NoArgs),
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(err, "see '"+cmd.CommandPath()+" --help'")
	})
	cmd.AddCommand(
		newServeCmd(env),
		newExplainCmd(env), newCheckCmd(env), newConvertCmd(env), newRunImageCmd(env),
		newMapCmd(env), newCopyCmd(env), newRelocateCmd(env), newVerifyCmd(env),
		newInspectCmd(env), newRewriteCmd(env), newPruneCmd(env),
		newSaveCmd(env), newLoadCmd(env), newReceiptCmd(env), newDiffCmd(env),
		newStoreCmd(env),
		newVersionCmd(env), newCompletionCmd(), newManCmd(),
	)
	return cmd
}
