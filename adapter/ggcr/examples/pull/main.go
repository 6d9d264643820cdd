// Pull reads images through the mirrors of CNB_REGISTRY_MIRRORS, with the
// credentials of docker's config.json, and tells where each came from:
//
//	CNB_REGISTRY_MIRRORS='docker.io=http://127.0.0.1:5000/hub;docker.io=https://mirror.example.com' \
//		go run ./examples/pull alpine:3.20
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/entrepot/entrepot/adapter/ggcr"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := pull(ctx, os.Getenv, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pull:", err)
		os.Exit(1)
	}
}

// pull reads images with all of their layers, and prints where each came from.
func pull(ctx context.Context, getenv func(string) string, out io.Writer, names []string) error {
	cfg, err := ggcr.FromEnv(getenv)
	if err != nil {
		return err
	}
	cfg.Keychain = authn.DefaultKeychain
	p, err := ggcr.New(cfg)
	if err != nil {
		return err
	}
	defer p.Close()
	for _, s := range names {
		if err := one(ctx, p, out, s); err != nil {
			return err
		}
	}
	return nil
}

func one(ctx context.Context, p *ggcr.Puller, out io.Writer, s string) error {
	ref, err := name.ParseReference(s)
	if err != nil {
		return err
	}
	img, found, err := p.Image(ctx, ref)
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	size := int64(0)
	for _, l := range layers {
		rc, err := l.Compressed()
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, rc)
		if err := errors.Join(err, rc.Close()); err != nil {
			return fmt.Errorf("%s: read a layer: %w", s, err)
		}
		size += n
	}
	for _, f := range found.Failed {
		fmt.Fprintln(out, "not", f)
	}
	fmt.Fprintf(out, "%s from %s, %d layers, %d bytes\n", found.Ref, found.From, len(layers), size)
	return nil
}
