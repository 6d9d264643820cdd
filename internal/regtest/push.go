package regtest

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/entrepot/entrepot/oci"
)

// upload answers for upload sessions: POST (with mount, or with a digest and
// the whole blob), PATCH, PUT, GET and DELETE.
func (r *Registry) upload(req *http.Request, e Entry) answer {
	if req.Method == http.MethodPost {
		return r.startUpload(req, e)
	}
	body, err := io.ReadAll(req.Body) // what came before a cut is kept
	r.mu.Lock()
	defer r.mu.Unlock()
	had, ok := r.uploads[e.Ref]
	if !ok {
		return problem(http.StatusNotFound, oci.CodeBlobUploadUnknown, "upload unknown to registry")
	}
	switch req.Method {
	case http.MethodDelete:
		delete(r.uploads, e.Ref)
		return answer{status: http.StatusNoContent, header: http.Header{}}
	case http.MethodGet:
		return session(http.StatusNoContent, e.Repo, e.Ref, len(had))
	case http.MethodPatch, http.MethodPut:
		if at := req.Header.Get("Content-Range"); at != "" && !strings.HasPrefix(at, fmt.Sprintf("%d-", len(had))) {
			return session(http.StatusRequestedRangeNotSatisfiable, e.Repo, e.Ref, len(had))
		}
		had = append(had, body...)
		r.uploads[e.Ref] = had
		if err != nil {
			return problem(http.StatusBadRequest, oci.CodeBlobUploadInvalid, "the body ended early")
		}
		if req.Method == http.MethodPatch {
			return session(http.StatusAccepted, e.Repo, e.Ref, len(had))
		}
		delete(r.uploads, e.Ref)
		return r.keep(e.Repo, oci.Digest(req.URL.Query().Get("digest")), had)
	}
	return problem(http.StatusMethodNotAllowed, oci.CodeUnsupported, "not for an upload")
}

func (r *Registry) startUpload(req *http.Request, e Entry) answer {
	q := req.URL.Query()
	if d := oci.Digest(q.Get("mount")); d != "" && !r.refuses(&r.noMounts) {
		if c, ok := r.blob(q.Get("from"), d); ok {
			r.AddBlobAs(e.Repo, d, c)
			return created(e.Repo, "blobs", d)
		}
	}
	if d := oci.Digest(q.Get("digest")); d != "" {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return problem(http.StatusBadRequest, oci.CodeBlobUploadInvalid, "the body ended early")
		}
		return r.keep(e.Repo, d, body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serial++
	id := fmt.Sprintf("session-%d", r.serial)
	r.uploads[id] = nil
	return session(http.StatusAccepted, e.Repo, id, 0)
}

// keep verifies a blob and puts it on the shelf.
func (r *Registry) keep(path string, d oci.Digest, b []byte) answer {
	if d.Validate() != nil || oci.FromBytes(b, d) != d {
		return problem(http.StatusBadRequest, oci.CodeDigestInvalid, "provided digest did not match uploaded content")
	}
	r.AddBlobAs(path, d, Bytes(b))
	return created(path, "blobs", d)
}

func (r *Registry) putManifest(req *http.Request, e Entry) answer {
	raw, err := io.ReadAll(req.Body)
	if err != nil {
		return problem(http.StatusBadRequest, oci.CodeManifestInvalid, "the body ended early")
	}
	m := oci.Manifest{MediaType: req.Header.Get("Content-Type"), Raw: raw}
	tags := req.URL.Query()["tag"]
	if d := oci.Digest(e.Ref); d.Validate() == nil {
		if m.Digest = oci.FromBytes(raw, d); m.Digest != d {
			return problem(http.StatusBadRequest, oci.CodeDigestInvalid, "provided digest did not match uploaded content")
		}
	} else {
		m.Digest = oci.FromBytes(raw, "")
		tags = append(tags, e.Ref)
	}
	if lost := r.missing(e.Repo, m); lost != "" && r.refuses(&r.checks) {
		return problem(http.StatusBadRequest, oci.CodeManifestBlobUnknown, "blob unknown to registry: "+string(lost))
	}
	r.Shelf.putManifest(e.Repo, m, tags...)
	a := created(e.Repo, "manifests", m.Digest)
	if l, err := m.Links(); err == nil && l.Subject != nil && !r.noReferrersAPI() {
		a.header.Set("OCI-Subject", string(l.Subject.Digest))
	}
	if len(tags) > 0 {
		a.header.Set("OCI-Tag", strings.Join(tags, ", "))
	}
	return a
}

func created(path, kind string, d oci.Digest) answer {
	return answer{status: http.StatusCreated, header: http.Header{
		"Location":              {fmt.Sprintf("/v2/%s/%s/%s", path, kind, d)},
		"Docker-Content-Digest": {string(d)},
	}}
}

func session(status int, path, id string, size int) answer {
	return answer{status: status, header: http.Header{
		"Location":           {fmt.Sprintf("/v2/%s/blobs/uploads/%s", path, id)},
		"Docker-Upload-Uuid": {id},
		"Range":              {fmt.Sprintf("0-%d", max(0, size-1))},
	}}
}

// DropMounts makes the registry answer a mount with an upload session from now
// on, as many do (spec/relocate.md, 9).
func (r *Registry) DropMounts() { r.set(&r.noMounts) }

// CheckManifests makes the registry refuse a manifest whose blobs or manifests
// it lacks from now on, as distribution does.
func (r *Registry) CheckManifests() { r.set(&r.checks) }

func (r *Registry) set(knob *bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*knob = true
}

func (r *Registry) refuses(knob *bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return *knob
}

// missing returns what a manifest names and the repository lacks, "" for
// nothing.
func (r *Registry) missing(path string, m oci.Manifest) oci.Digest {
	l, err := m.Links()
	if err != nil {
		return ""
	}
	for _, d := range l.Blobs() {
		if _, ok := r.blob(path, d.Digest); !ok {
			return d.Digest
		}
	}
	for _, d := range l.Manifests {
		if _, ok := r.manifest(path, string(d.Digest)); !ok {
			return d.Digest
		}
	}
	return ""
}
