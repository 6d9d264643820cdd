package cli

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/relocate"
)

// mappingFlags say what images are called at the target.
type mappingFlags struct {
	to      string
	naming  string
	keepTag string
}

func (m *mappingFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&m.to, "to", "", "put everything below this `PREFIX`: a registry, and a path in it")
	m.addNaming(cmd)
}

// addNaming adds the flags for a command whose argument is the prefix.
func (m *mappingFlags) addNaming(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&m.naming, "naming", relocate.DefaultNaming, "call images by this `SCHEME`: "+strings.Join(relocate.Namings(), "|"))
	f.StringVar(&m.keepTag, "keep-tag", relocate.DefaultKeepTag, "`TEMPLATE` of the tags that keep images named by digest alone")
	// Errors of registration are for flags that do not exist.
	_ = cmd.RegisterFlagCompletionFunc("naming", cobra.FixedCompletions(relocate.Namings(), cobra.ShellCompDirectiveNoFileComp))
}

// namingHelp says what the schemes do.
const namingHelp = `Names at the target, by --naming:
  flat-md5       PREFIX/library-alpine-HASH, as duffle, cnab-go and Porter name them
  flat-sha256    the same with a hash that nobody can forge
  host-path      PREFIX/docker.io/library/alpine; a port follows after '_'
  path           PREFIX/library/alpine; images of two registries may meet
  components:N   at most N components in a path, the last ones joined, with a hash
  rules:FILE     where a registries.conf leads, longest prefix first
  template:TEXT  PREFIX/ and a Go template of .Host .Path .Dir .Base .Flat .MD5 .SHA256`

// read returns the naming that the flags describe.
func (m *mappingFlags) read() (*relocate.Naming, error) {
	if m.to == "" {
		return nil, usageError(errors.New("--to is missing"), "say where the images go: --to registry.example.com/team")
	}
	prefix, err := relocate.ParsePrefix(m.to)
	if err != nil {
		hint := ""
		if !strings.ContainsAny(m.to, ".:") {
			hint = "for an account at Docker Hub write docker.io/" + m.to
		}
		return nil, usageError(err, hint)
	}
	n, err := relocate.NewNaming(relocate.NamingConfig{Scheme: m.naming, Prefix: prefix, KeepTag: m.keepTag, ReadFile: os.ReadFile})
	if err != nil {
		return nil, usageError(err, "")
	}
	return n, nil
}

// conflictHint is for plans that conflict.
const conflictHint = "nothing was written; choose another --naming or --to, or name targets yourself: SRC=DST in a list"

// planError gives the errors of naming a set of images their exit codes.
func planError(err error) error {
	if _, ok := errors.AsType[*relocate.ConflictError](err); ok {
		return &fault{exitConflict, err, conflictHint}
	}
	return usageError(err, "")
}
