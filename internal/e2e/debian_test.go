package e2e

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// packages holds the file trees of Debian packages, as tar archives. They are
// unpacked once and shared by all images.
type packages struct {
	mu   sync.Mutex // guards tars
	tars map[string][]byte
}

// tar returns the files of a package of this machine's Debian release. A
// downloaded .deb is kept in .cache/debs. Where no package can be had, the
// files of the installed one are taken, and that is said.
func (p *packages) tar(t testing.TB, name string) []byte {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if b, ok := p.tars[name]; ok {
		return b
	}
	b, err := packageTar(name)
	if err != nil {
		kit.miss(t, "package "+name, "its layer is made of the installed files instead: "+err.Error())
		if b, err = installedTar(name); err != nil {
			kit.skip(t, "Debian's files of "+name, err.Error())
		}
	}
	if p.tars == nil {
		p.tars = make(map[string][]byte)
	}
	p.tars[name] = b
	return b
}

// packageTar downloads a package, unless it is there, and unpacks it.
func packageTar(name string) ([]byte, error) {
	dir := filepath.Join(kit.root, ".cache", "debs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	pattern := filepath.Join(dir, name+"_*.deb")
	found, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		cmd := exec.Command("apt-get", "download", name)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("apt-get download %s: %w\n%s", name, err, out)
		}
		if found, err = filepath.Glob(pattern); err != nil || len(found) == 0 {
			return nil, fmt.Errorf("apt-get download %s left no %s", name, pattern)
		}
	}
	out, err := exec.Command("dpkg-deb", "--fsys-tarfile", found[0]).Output()
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", found[0], err)
	}
	return out, nil
}

// installedTar packs the files of an installed package.
func installedTar(name string) ([]byte, error) {
	list, err := exec.Command("dpkg", "-L", name).Output()
	if err != nil {
		return nil, fmt.Errorf("list the files of %s: %w", name, err)
	}
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for path := range strings.Lines(string(list)) {
		path = strings.TrimSpace(path)
		if path == "" || path == "/." {
			continue
		}
		if err := addFile(tw, path); err != nil {
			return nil, fmt.Errorf("pack %s: %w", path, err)
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func addFile(tw *tar.Writer, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&os.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name = "." + path
	if err := tw.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(tw, f)
	return err
}

// salted puts a file before the others, so that layers of the same package in
// two images have nothing in common.
func salted(t testing.TB, layer []byte, salt string) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	text := []byte("this layer belongs to " + salt + "\n")
	if err := tw.WriteHeader(&tar.Header{Name: "./salt", Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	tw.Write(text)
	if err := tw.Flush(); err != nil { // no end mark: the archive goes on with the package
		t.Fatal(err)
	}
	return append(buf.Bytes(), layer...)
}
