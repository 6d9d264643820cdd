package cli

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"
)

// transferFlags are those of every command that moves images.
type transferFlags struct {
	sourceFlags
	networkFlags
	copyFlags
	report   string // a file, "" for none
	json     bool
	quiet    bool
	logLevel string
}

func (t *transferFlags) add(cmd *cobra.Command) {
	t.sourceFlags.add(cmd)
	t.networkFlags.add(cmd)
	t.copyFlags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&t.report, "report", "", "write what was done to this `FILE`, as JSON")
	f.BoolVar(&t.json, "json", false, "print what was done as JSON")
	f.BoolVar(&t.quiet, "quiet", false, "do not show how far it is")
	f.StringVar(&t.logLevel, "log-level", "warn", "log from this `LEVEL` on: debug, info, warn or error; debug has a line per request")
}

// rulesHelp says where images are read.
const rulesHelp = `Images are read through mirror rules: those of --rules, else the registries.conf
that podman finds on this machine; --as CLIENT takes another client's, '--rules
none' none at all. Credentials are those of --authfile, else of podman's
($REGISTRY_AUTH_FILE) and docker's files. Registries on this machine may speak
plain HTTP.`

// readRules reads the mirror rules that images are read through.
func (t *transferFlags) readRules(env Env) (*view, error) {
	s := t.sourceFlags
	if len(s.rules) == 0 && s.as == "" {
		s.as = "podman"
	}
	v, err := s.view(machineOf(s.root, env))
	if err != nil {
		return nil, err
	}
	if p := v.set.Refused(); p != nil {
		return nil, usageError(p, p.Hint)
	}
	return v, nil
}

// logger returns what logs to w.
func (t *transferFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(t.logLevel)); err != nil {
		return nil, usageError(fmt.Errorf("--log-level: %q is no level", t.logLevel), "use debug, info, warn or error")
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), nil
}
