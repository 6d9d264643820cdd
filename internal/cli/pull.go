package cli

import (
	"context"
	"log/slog"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/store"
)

type pull struct{ proxy oci.Reader }

func newPull([]upstream, *store.Cache, observer, string, *slog.Logger) (*pull, error) {
	return &pull{}, nil
}

func (p *pull) close(context.Context) error { return nil }

func (u upstream) plainHTTP() bool { return strings.HasPrefix(u.url, "http://") }
