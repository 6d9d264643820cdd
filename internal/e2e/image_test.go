package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An image is a tag and everything below it.
type image struct {
	repo, tag string
	manifests []oci.Manifest // children first, what the tag names last
	blobs     map[oci.Digest][]byte
	diffs     map[oci.Digest]oci.Digest // layer → its uncompressed digest
}

// root is what the tag names.
func (im *image) root() oci.Manifest { return im.manifests[len(im.manifests)-1] }

// size is that of all manifests and blobs, in bytes.
func (im *image) size() (n int64) {
	for _, m := range im.manifests {
		n += int64(len(m.Raw))
	}
	for _, b := range im.blobs {
		n += int64(len(b))
	}
	return n
}

// content is the manifest or blob of that digest.
func (im *image) content(d oci.Digest) []byte {
	for _, m := range im.manifests {
		if m.Digest == d {
			return m.Raw
		}
	}
	return im.blobs[d]
}

// A squeeze is a form that a layer may have.
type squeeze struct {
	mediaType, dockerType string
	pack                  func(t testing.TB, tar []byte) []byte
}

var (
	gzipped = squeeze{ispec.MediaTypeImageLayerGzip, "application/vnd.docker.image.rootfs.diff.tar.gzip", gzipBytes}
	plain   = squeeze{ispec.MediaTypeImageLayer, "application/vnd.docker.image.rootfs.diff.tar",
		func(_ testing.TB, b []byte) []byte { return b }}
	zstandard = squeeze{ispec.MediaTypeImageLayerZstd, "", zstdBytes}
)

// gzipBytes compresses without a name and a time: the same bytes every day.
func gzipBytes(t testing.TB, b []byte) []byte {
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func zstdBytes(t testing.TB, b []byte) []byte {
	zstd, _ := kit.find("zstd")
	cmd := exec.Command(zstd, "-q", "-3", "-c")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("zstd: %v", err)
	}
	return out
}

// A layer is a file tree and how it is packed.
type layer struct {
	tar  []byte
	form squeeze
}

func newImage(repo, tag string) *image {
	return &image{repo: repo, tag: tag, blobs: make(map[oci.Digest][]byte), diffs: make(map[oci.Digest]oci.Digest)}
}

// blob adds a blob and returns its descriptor.
func (im *image) blob(mediaType string, b []byte) oci.Descriptor {
	d := oci.FromBytes(b, "")
	im.blobs[d] = b
	return oci.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

// manifest adds a manifest, which becomes the root.
func (im *image) manifest(t testing.TB, mediaType string, doc any) oci.Manifest {
	t.Helper()
	raw, err := json.MarshalIndent(doc, "", "   ") // not the form that a re-encoding would give
	if err != nil {
		t.Fatal(err)
	}
	m := oci.Manifest{MediaType: mediaType, Digest: oci.FromBytes(raw, ""), Raw: raw}
	im.manifests = append(im.manifests, m)
	return m
}

// platform adds the image of one platform.
func (im *image) platform(t testing.TB, arch string, docker bool, layers ...layer) oci.Descriptor {
	t.Helper()
	m := ispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.TypeImageManifest}
	config := ispec.Image{Platform: ispec.Platform{OS: "linux", Architecture: arch}, Author: im.repo + ":" + im.tag,
		Config: ispec.ImageConfig{Cmd: []string{"/bin/bash"}}, RootFS: ispec.RootFS{Type: "layers"}}
	configType := ispec.MediaTypeImageConfig
	if docker {
		m.MediaType, configType = oci.TypeDockerManifest, "application/vnd.docker.container.image.v1+json"
	}
	for _, l := range layers {
		mediaType := l.form.mediaType
		if docker {
			mediaType = l.form.dockerType
		}
		d := im.blob(mediaType, l.form.pack(t, l.tar))
		m.Layers = append(m.Layers, d)
		im.diffs[d.Digest] = oci.FromBytes(l.tar, "")
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, im.diffs[d.Digest])
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = im.blob(configType, raw)
	d := im.manifest(t, m.MediaType, m).Descriptor()
	d.Platform = &config.Platform
	return d
}

// index adds an index over platforms.
func (im *image) index(t testing.TB, platforms ...oci.Descriptor) oci.Manifest {
	t.Helper()
	return im.manifest(t, oci.TypeImageIndex, ispec.Index{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: oci.TypeImageIndex, Manifests: platforms})
}

// signature makes an artifact in the shape of a signature that refers to
// subject, and the fallback tag under which a registry without the referrers
// API lists it (distribution-spec 1.1, "Referrers Tag Schema").
func signature(t testing.TB, repo string, subject oci.Descriptor) (artifact, list *image) {
	t.Helper()
	artifact = newImage(repo, "")
	subject.Platform = nil
	config := artifact.blob(ispec.MediaTypeEmptyJSON, []byte("{}"))
	payload := artifact.blob("application/vnd.example.signature", []byte("signed: "+string(subject.Digest)))
	m := artifact.manifest(t, oci.TypeImageManifest, ispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: oci.TypeImageManifest, ArtifactType: signatureType, Config: config,
		Layers: []oci.Descriptor{payload}, Subject: &subject, Annotations: map[string]string{"by": "e2e"}})
	entry := m.Descriptor()
	entry.ArtifactType, entry.Annotations = signatureType, map[string]string{"by": "e2e"}
	list = newImage(repo, oci.FallbackTag(subject.Digest))
	list.index(t, entry)
	return artifact, list
}

const signatureType = "application/vnd.example.signature.v1"

// push pushes an image to the registry at base, the root by its tag, or by its
// digest where it has none.
func push(t testing.TB, base string, im *image) {
	t.Helper()
	for d, b := range im.blobs {
		if status := pushBlob(t, base, im.repo, d, b); status != http.StatusCreated {
			t.Fatalf("push blob %s to %s: status %d", d, im.repo, status)
		}
	}
	for i, m := range im.manifests {
		name := string(m.Digest)
		if i == len(im.manifests)-1 && im.tag != "" {
			name = im.tag
		}
		status := send(t, http.MethodPut, base+"/v2/"+im.repo+"/manifests/"+name, m.MediaType, m.Raw)
		if status.StatusCode != http.StatusCreated {
			t.Fatalf("push manifest %s to %s: status %d", name, im.repo, status.StatusCode)
		}
	}
}

// pushBlob pushes a blob with POST and PUT, and returns the last status.
func pushBlob(t testing.TB, base, repo string, d oci.Digest, b []byte) int {
	t.Helper()
	status, err := tryPushBlob(t, base, repo, d, b)
	if err != nil {
		t.Fatalf("push blob %s to %s: %v", d, repo, err)
	}
	return status
}

// tryPushBlob is pushBlob where the server may go away.
func tryPushBlob(t testing.TB, base, repo string, d oci.Digest, b []byte) (int, error) {
	t.Helper()
	post, err := trySend(t, http.MethodPost, base+"/v2/"+repo+"/blobs/uploads/", "", nil)
	if err != nil || post.StatusCode != http.StatusAccepted {
		return statusOf(post), err
	}
	at, err := post.Location()
	if err != nil {
		return 0, err
	}
	q := at.Query()
	q.Set("digest", string(d))
	at.RawQuery = q.Encode()
	put, err := trySend(t, http.MethodPut, at.String(), "application/octet-stream", b)
	return statusOf(put), err
}

// statusOf is the status of a response, 0 where there is none.
func statusOf(resp *http.Response) int {
	if resp == nil {
		return 0
	}
	return resp.StatusCode
}

// send makes one request and drops the answer's body.
func send(t testing.TB, method, url, contentType string, body []byte) *http.Response {
	t.Helper()
	resp, err := trySend(t, method, url, contentType, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return resp
}

// trySend is send where no answer is an outcome too.
func trySend(t testing.TB, method, url, contentType string, body []byte) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := bare.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp, err
}
