package oracle

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"testing"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

var (
	duration = flag.Duration("duration", 0, "how long each judge is asked; 0 means a fixed number of configurations")
	seed     = flag.Uint64("seed", 1, "what the configurations are made from")
	from     = flag.Uint64("from", 0, "the number of the first configuration")
)

// TestMain silences the clients, which log what they pass over, and keeps them
// from this machine's configuration and from the network.
func TestMain(m *testing.M) {
	flag.Parse()
	logrus.SetOutput(io.Discard)
	if err := log.SetLevel("panic"); err != nil {
		panic(err)
	}
	// Docker resolves names, and none is asked outside of this machine.
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server in tests")
	}}
	os.Exit(run(m))
}

// run runs the tests with a home of their own, so that no file of the user's
// counts.
func run(m *testing.M) int {
	home, err := os.MkdirTemp("", "oracle")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(home)
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "DOCKER_CONFIG"} {
		if err := os.Setenv(name, home); err != nil {
			panic(err)
		}
	}
	return m.Run()
}
