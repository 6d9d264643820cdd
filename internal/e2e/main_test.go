package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	kills          = flag.Int("kills", 30, "how many kill -9 the kill loop makes")
	rolls          = flag.Int("rolls", 2, "how many restarts a rolling restart has")
	slowClients    = flag.Int("slow-clients", 500, "how many clients send a header byte by byte; a tenth as many hardly read")
	soak           = flag.Duration("soak", 3*time.Second, "how long the soak goes on, beside a tenth of that to warm up")
	streams        = flag.Int("streams", 20, "how many clients read a large blob from a server with little memory")
	crowdClients   = flag.Int("crowd", 100, "how many clients pull one cold blob at once")
	crowdMiB       = flag.Int("crowd-mib", 64, "the size of that blob")
	faultMiB       = flag.Int("fault-mib", 100, "the size of the blob whose download breaks again and again")
	binaryRace     = flag.Bool("binary-race", false, "build the entrepot binary with the race detector")
	cuts           = flag.Int("cuts", 2, "how many times the power is cut")
	requireMounts  = flag.Bool("require-mounts", false, "a file system that cannot be mounted fails the test")
	requireClients = flag.Bool("require-clients", false, "a client that is not here fails the test")
)

// kit is what all tests of this package share; TestMain makes it.
var kit *toolkit

func TestMain(m *testing.M) {
	flag.Parse()
	code := 1
	if err := func() (err error) {
		if kit, err = newToolkit(); err != nil {
			return err
		}
		code = m.Run()
		return kit.close()
	}(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// A toolkit holds what is built or looked for once per run.
type toolkit struct {
	root   string // of the module
	dir    string // scratch, removed at the end
	binary func() (string, error)
	packages

	mu      sync.Mutex // guards skipped
	skipped []string
}

func newToolkit() (*toolkit, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "entrepot-e2e-")
	if err != nil {
		return nil, err
	}
	k := &toolkit{root: root, dir: dir}
	k.binary = sync.OnceValues(k.build)
	return k, nil
}

// build builds the entrepot binary and returns where it is.
func (k *toolkit) build() (string, error) {
	bin := filepath.Join(k.dir, "entrepot")
	args := []string{"build", "-o", bin}
	if *binaryRace {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/entrepot")...)
	cmd.Dir = k.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the entrepot binary: %w\n%s", err, out)
	}
	return bin, nil
}

// close removes the scratch and writes down which clients were skipped: go
// test prints nothing of a package that passes.
func (k *toolkit) close() error {
	report := filepath.Join(k.root, ".cache", "e2e-skipped.txt")
	os.Remove(report)
	if len(k.skipped) > 0 {
		slices.Sort(k.skipped)
		text := strings.Join(slices.Compact(k.skipped), "\n") + "\n"
		fmt.Fprint(os.Stderr, "e2e: SKIPPED on this machine:\n"+text)
		if err := os.MkdirAll(filepath.Dir(report), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(report, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return os.RemoveAll(k.dir)
}

// skip skips the test, or fails it where everything has to be here.
func (k *toolkit) skip(t testing.TB, name, why string) {
	t.Helper()
	k.miss(t, name, why)
	t.SkipNow()
}

// miss says that something is left out, or fails the test where everything
// has to be here.
func (k *toolkit) miss(t testing.TB, name, why string) {
	t.Helper()
	if *requireClients {
		t.Fatalf("%s cannot run here: %s", name, why)
	}
	k.mu.Lock()
	k.skipped = append(k.skipped, name+": "+why)
	k.mu.Unlock()
	t.Logf("SKIPPED: %s cannot run here: %s", name, why)
}

// mountless skips a test that needs a file system of its own, or fails it where
// those have to be here.
func (k *toolkit) mountless(t testing.TB, why error) {
	t.Helper()
	if *requireMounts {
		t.Fatalf("cannot mount: %v", why)
	}
	k.skip(t, t.Name(), "cannot mount: "+why.Error())
}

// notHere is why a program is left out.
const notHere = "it is neither in .cache/bin nor in the path"

// tool finds a program; the test is skipped by its name where it is not here.
func (k *toolkit) tool(t testing.TB, name string) string {
	t.Helper()
	p, ok := k.find(name)
	if !ok {
		k.skip(t, name, notHere)
	}
	return p
}

// find finds a program in the project's .cache/bin or in the path.
func (k *toolkit) find(name string) (path string, ok bool) {
	if p := filepath.Join(k.root, ".cache", "bin", name); isExecutable(p) {
		return p, true
	}
	p, err := exec.LookPath(name)
	return p, err == nil
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// moduleRoot is the directory of go.mod; tests run in that of their package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, e := os.Stat(filepath.Join(dir, "go.mod")); e == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			err = errors.New("no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}
