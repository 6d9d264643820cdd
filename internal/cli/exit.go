package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes. The numbers are fixed.
const (
	exitDone     = 0 // done
	exitFailed   = 1 // the work failed
	exitUsage    = 2 // the command line or the configuration is wrong
	exitSome     = 3 // some images failed
	exitLossy    = 4 // a conversion would lose something
	exitConflict = 5 // the plan conflicts, nothing was written
	exitAuth     = 6 // not authorised
)

// A fault is an error with what the user may do about it and the exit code
// that it leads to.
type fault struct {
	code int
	err  error
	hint string // "" for none
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// usageError says that the command line or the configuration is wrong.
func usageError(err error, hint string) error { return &fault{exitUsage, err, hint} }

// failure says that the work failed, with a hint ("" for none).
func failure(err error, hint string) error { return &fault{exitFailed, err, hint} }

// usageArgs makes a check of positional arguments a matter of usage.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err == nil {
			return nil
		}
		hint := "see '" + cmd.CommandPath() + " --help'"
		if len(args) > 0 {
			if names := cmd.SuggestionsFor(args[0]); len(names) > 0 {
				hint = "did you mean '" + strings.Join(names, "' or '") + "'?"
			}
		}
		return usageError(err, hint)
	}
}

// errDiffers is for commands that compare: what they found is told already, and
// the exit code says that there was something.
var errDiffers = errors.New("they differ")

// report prints err and returns the exit code that it stands for.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	if err == errDiffers {
		return exitFailed
	}
	if all, ok := errors.AsType[problems](err); ok {
		for _, p := range all {
			printError(w, p, p.hint)
		}
		return exitUsage
	}
	f, ok := errors.AsType[*fault](err)
	if !ok {
		printError(w, err, "")
		return exitFailed
	}
	printError(w, err, f.hint)
	return f.code
}

func printError(w io.Writer, err error, hint string) {
	fmt.Fprintf(w, "entrepot: error: %v\n", err)
	if hint != "" {
		fmt.Fprintf(w, "entrepot: hint: %s\n", hint)
	}
}
