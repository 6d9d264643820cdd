package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newManCmd() *cobra.Command {
	dir := ""
	cmd := &cobra.Command{
		Use:   "man [COMMAND]",
		Short: "Print a manual page, or write all of them",
		Example: `  entrepot man serve | man -l -
  entrepot man --dir /usr/local/share/man/man1`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			header := &doc.GenManHeader{Section: "1", Source: "Entrepot", Manual: "Entrepot"}
			if dir != "" {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return failure(fmt.Errorf("write manual pages: %w", err), "")
				}
				return doc.GenManTree(cmd.Root(), header, dir)
			}
			page := cmd.Root()
			if len(args) > 0 {
				var err error
				if page, _, err = page.Find(args); err != nil || page == cmd.Root() {
					return usageError(fmt.Errorf("there is no command %q", args[0]), "see 'entrepot --help'")
				}
			}
			return doc.GenMan(page, header, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "write one page per command into this directory")
	return cmd
}
