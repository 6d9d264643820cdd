package e2e

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
)

// TestOras reads what oras wrote, and has oras read what save wrote: by the
// library that the command is made of.
func TestOras(t *testing.T) {
	o := startOrigin(t)
	im := clientImages(t, "team/app", "oras")[0]
	push(t, o.direct, im)
	bin, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	at := strings.TrimPrefix(o.direct, "http://") + "/" + im.repo
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }

	store, err := oci.New(file("by-oras"))
	if err != nil {
		t.Fatal(err)
	}
	repo, err := remote.NewRepository(at)
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	if _, err := oras.Copy(t.Context(), repo, im.tag, store, im.tag, oras.DefaultCopyOptions); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command("tar", "-C", file("by-oras"), "-cf", file("by-oras.tar"), "."))
	run(t, exec.Command(bin, "verify", "--deep", file("by-oras.tar")))
	run(t, exec.Command(bin, "copy", "oci-archive:"+file("by-oras.tar")+":"+im.tag, "oci:"+file("ours")+":"+im.tag))
	sameLayout(t, file("ours"), im)

	name := at + ":" + im.tag
	run(t, exec.Command(bin, "save", name, "--rules", "none", "--output", file("ours.tar")))
	ours, err := oci.NewFromTar(t.Context(), file("ours.tar"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := ours.Resolve(t.Context(), name)
	if err != nil || root.Digest != im.root().Digest {
		t.Fatalf("oras finds %v, %v; want %s", root.Digest, err, im.root().Digest)
	}
	for _, m := range im.manifests {
		got, err := content.FetchAll(t.Context(), ours, m.Descriptor())
		if err != nil || !bytes.Equal(got, m.Raw) {
			t.Errorf("oras reads %d bytes of %s: %v", len(got), m.Digest, err)
		}
	}
	copied, err := oci.New(file("again"))
	if err == nil {
		_, err = oras.Copy(t.Context(), ours, name, copied, im.tag, oras.DefaultCopyOptions)
	}
	if err != nil {
		t.Fatal(err)
	}
	sameLayout(t, file("again"), im)
}
