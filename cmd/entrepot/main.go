// Command entrepot is a mirror for container images: a pull-through cache for
// every registry behind one address, and a private registry beside it.
package main

import (
	"context"
	"os"

	"github.com/entrepot/entrepot/internal/cli"
)

func main() {
	cli.NoCoreDumps()
	os.Exit(cli.Main(context.Background(), cli.ProcessEnv()))
}
