package layout_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/layout"
)

// client runs another tool, which has to be there.
func client(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("there is no %s here", name)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, stderr.String())
	}
	return string(out)
}

// TestSkopeoReads holds that skopeo finds our images by their names, and copies
// them whole.
func TestSkopeoReads(t *testing.T) {
	th := newThings(t)
	w := write(t, layout.ArchiveConfig{}, th.contents)
	out := client(t, "skopeo", "inspect", "--raw", "oci-archive:"+w.Paths[0]+":"+alpine.String()+":3.20")
	if out != string(th.one.Raw) {
		t.Errorf("skopeo inspect gives\n%s\nwant\n%s", out, th.one.Raw)
	}
	dir := filepath.Join(t.TempDir(), "copy")
	client(t, "skopeo", "copy", "--quiet", "--all", "--preserve-digests", "oci-archive:"+w.Paths[0]+":"+app.String()+":v1", "oci:"+dir+":v1")
	l, err := layout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if d, err := l.Resolve(t.Context(), none.WithTag("v1")); err != nil || d.Digest != th.index.Digest {
		t.Errorf("what skopeo copied is %s, %v, want %s", d.Digest, err, th.index.Digest)
	}
	single := th.contents
	single.Names, single.Manifests = single.Names[:1], single.Manifests[:2]
	single.Names[0] = layout.Entry{Ref: alpine.WithTag("3.20"), Descriptor: th.one.Descriptor()}
	w = write(t, layout.ArchiveConfig{}, single)
	if out := client(t, "skopeo", "inspect", "--raw", "oci-archive:"+w.Paths[0]); !json.Valid([]byte(out)) || out != string(th.one.Raw) {
		t.Errorf("the only image is\n%s\nwant\n%s", out, th.one.Raw)
	}
}
