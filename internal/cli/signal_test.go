//go:build unix

package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// startProcess serves in a process of its own, so that it can get signals. How
// it ended comes from the channel.
func startProcess(t *testing.T, toml string) (*os.Process, *output, <-chan error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "entrepot.toml")
	if err := os.WriteFile(path, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	out := newOutput()
	cmd := exec.Command("entrepot", "serve", "--config", path, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--storage", filepath.Join(t.TempDir(), "store"))
	cmd.Stderr = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		out.close()
	}()
	t.Cleanup(func() { cmd.Process.Kill() }) // an error: it has ended
	return cmd.Process, out, ended
}

func TestSignalsEndIt(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		process, out, ended := startProcess(t, "")
		out.wait(t, "admin address")
		if err := process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("%v: %v\n%s", sig, err, out)
		}
	}
}

func TestSecondSignalEndsItAtOnce(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	img := reg.AddImage("a/b", regtest.Image{Layers: []int64{1 << 20}}, "v1")
	layer := string(img.Layers[0].Digest)
	rule := reg.On(regtest.Match{Kind: regtest.Blob, Ref: layer}, regtest.StallAt(500_000))
	process, out, ended := startProcess(t, "[server]\ndrain = '1h'\n"+upstreamTable(reg, "example.com", ""))
	url := out.wait(t, `serving (http://\S+) from`)
	out.wait(t, "admin address")
	resp, err := http.Get(fmt.Sprintf("%s/v2/example.com/a/b/blobs/%s", url, layer))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-rule.Reached()
	for range 2 {
		if err := process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		out.wait(t, "shutting down")
	}
	exit, ok := errors.AsType[*exec.ExitError](<-ended)
	if !ok {
		t.Fatal("it ended as if all was well")
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v, want the signal", exit)
	}
}

// Until the delay is over everything is answered, on old connections and on new
// ones, and each answer ends its connection. The admin address says all along that
// the server is not ready, but alive.
func TestDrainDelayTakesRequests(t *testing.T) {
	process, out, ended := startProcess(t, "[server]\ndrain = '2h'\ndrain_delay = '1h'\n")
	url, admin := out.wait(t, `serving (http://\S+) from`), out.wait(t, `admin address (http://\S+) `)
	old := &http.Client{Transport: &http.Transport{}}
	defer old.CloseIdleConnections()
	if resp := ping(t, old, url+"/v2/"); resp.StatusCode != 200 || resp.Close {
		t.Errorf("before: got %d, closed %v", resp.StatusCode, resp.Close)
	}
	if err := process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	out.wait(t, "shutting down")
	fresh := &http.Client{Transport: &http.Transport{}}
	defer fresh.CloseIdleConnections()
	for name, client := range map[string]*http.Client{"old connection": old, "new connection": fresh} {
		if resp := ping(t, client, url+"/v2/"); resp.StatusCode != 200 || !resp.Close {
			t.Errorf("%s: got %d, closed %v, want 200 and its end", name, resp.StatusCode, resp.Close)
		}
	}
	for path, want := range map[string]int{"/readyz": 503, "/healthz": 200, "/metrics": 200} {
		if resp := ping(t, fresh, admin+path); resp.StatusCode != want {
			t.Errorf("%s: got %d, want %d", path, resp.StatusCode, want)
		}
	}
	if err := process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*exec.ExitError](<-ended); !ok {
		t.Error("the second signal did not end it")
	}
}

// ping makes a GET and reads its answer to the end.
func ping(t *testing.T, client *http.Client, url string) *http.Response {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp
}
