package oracle

import (
	"flag"
	"io"
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

// TestMain silences the clients, which log what they pass over.
func TestMain(m *testing.M) {
	flag.Parse()
	logrus.SetOutput(io.Discard)
	if err := log.SetLevel("panic"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
