package registry

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// maxTags limits the tags of one push; the distribution-spec asks for ten.
const maxTags = 100

// getManifest answers GET and HEAD. The client's Accept is not looked at: there
// is one manifest of that name, and nothing is ever converted.
func (c *call) getManifest() error {
	r, err := c.reference()
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		desc, err := c.reader.Resolve(c.ctx, r)
		if err != nil {
			return err
		}
		if desc.Size >= 0 && desc.MediaType != "" {
			return c.sendManifest(r, desc, nil)
		}
	}
	m, err := c.reader.Manifest(c.ctx, r)
	if err != nil {
		return c.orNoRepository(err)
	}
	return c.sendManifest(r, m.Descriptor(), m.Raw)
}

// orNoRepository says more of a manifest that was not found: where there is no
// such repository of ours at all, a name was likely to lead elsewhere.
func (c *call) orNoRepository(err error) error {
	l, ok := c.reader.(oci.Lister)
	if !ok || c.target.proxied || !errors.Is(err, oci.ErrNotFound) {
		return err
	}
	for _, listErr := range l.Tags(c.ctx, c.target.name, "") {
		if errors.Is(listErr, oci.ErrNotFound) {
			return &oci.Error{Kind: oci.ErrNotFound, Code: oci.CodeNameUnknown, Err: err}
		}
		break
	}
	return err
}

func (c *call) sendManifest(r ref.Ref, desc oci.Descriptor, raw []byte) error {
	c.outcome()
	etag := c.content(desc.Digest, desc.MediaType, r.Digest != "")
	if c.fresh(etag) {
		c.begin(http.StatusNotModified)
		return nil
	}
	if c.r.Method == http.MethodHead {
		c.set("Content-Length", strconv.FormatInt(desc.Size, 10))
		c.begin(http.StatusOK)
		return nil
	}
	return c.send(raw)
}

// putManifest stores a manifest under a tag, or under its digest and the tags
// of the query (distribution-spec, "Pushing Manifests").
func (c *call) putManifest() error {
	w, ok := c.reader.(oci.Writer)
	if !ok {
		return oci.ErrUnsupported
	}
	r, err := c.reference()
	if err != nil {
		return err
	}
	more, err := c.moreTags(r)
	if err != nil {
		return err
	}
	m, subject, err := c.readManifest(r)
	if err != nil {
		return err
	}
	wanted := more
	if r.Tag != "" {
		wanted = []string{r.Tag}
	}
	if err := w.PutManifest(c.ctx, r.Name, m, wanted...); err != nil {
		return err
	}
	c.set("Location", "/v2/"+c.at.name+"/manifests/"+string(m.Digest))
	c.set("Docker-Content-Digest", string(m.Digest))
	if subject != "" {
		c.set("Oci-Subject", string(subject))
	}
	if len(more) > 0 {
		c.set("Oci-Tag", strings.Join(more, ", "))
	}
	c.set("Content-Length", "0")
	c.begin(http.StatusCreated)
	return nil
}

// moreTags returns the tags of the query, which only a push by digest has.
func (c *call) moreTags(r ref.Ref) ([]string, error) {
	if r.Digest == "" {
		return nil, nil
	}
	all := c.query.all("tag")
	if len(all) > maxTags {
		return nil, oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "%d tags at once, the limit is %d", len(all), maxTags)
	}
	for _, tag := range all {
		if !ref.ValidTag(tag) {
			return nil, oci.Errorf(oci.ErrInvalid, oci.CodeNameInvalid, "a tag is malformed")
		}
	}
	return all, nil
}

// readManifest reads a pushed manifest and checks what can be checked without
// looking at anything else.
func (c *call) readManifest(r ref.Ref) (m oci.Manifest, subject oci.Digest, err error) {
	limit := c.h.cfg.MaxManifest
	tooLarge := oci.Errorf(oci.ErrTooLarge, oci.CodeSizeInvalid, "the manifest is larger than %d bytes", limit)
	if c.r.ContentLength > limit {
		return m, "", tooLarge
	}
	body := c.body()
	m.Raw, err = io.ReadAll(http.MaxBytesReader(c.w, io.NopCloser(body), limit))
	if is[*http.MaxBytesError](err) {
		return m, "", tooLarge
	}
	if err != nil {
		return m, "", body.blame(err)
	}
	m.Digest = oci.FromBytes(m.Raw, r.Digest)
	if r.Digest != "" && m.Digest != r.Digest {
		return m, "", oci.Errorf(oci.ErrMismatch, oci.CodeDigestInvalid, "the manifest is %s", m.Digest)
	}
	if err := oci.CheckBounds(m.Raw); err != nil {
		return m, "", err
	}
	m.MediaType, subject, err = manifestType(c.r.Header.Get("Content-Type"), m.Raw)
	return m, subject, err
}

// manifestType returns a manifest's media type, which header and document must
// agree on where both say one, and the digest of its subject, "" for none.
func manifestType(header string, raw []byte) (mediaType string, subject oci.Digest, err error) {
	var doc struct {
		MediaType string          `json:"mediaType"`
		Subject   *oci.Descriptor `json:"subject"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return "", "", &oci.Error{Kind: oci.ErrInvalid, Code: oci.CodeManifestInvalid, Message: "the manifest is no JSON object of a manifest's form", Err: err}
	}
	if header != "" {
		if mediaType, _, err = mime.ParseMediaType(header); err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
			return "", "", oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "the Content-Type is malformed")
		}
	}
	switch {
	case mediaType == "" && doc.MediaType == "":
		return "", "", oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "neither Content-Type nor mediaType say what it is")
	case mediaType == "":
		mediaType = doc.MediaType
	case doc.MediaType != "" && doc.MediaType != mediaType:
		return "", "", oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "the document says mediaType %q, it came as %q", doc.MediaType, mediaType)
	}
	if doc.Subject != nil {
		if subject, err = parseDigest(string(doc.Subject.Digest)); err != nil {
			return "", "", err
		}
	}
	return mediaType, subject, nil
}

// deleteManifest deletes a tag, or a manifest with all its tags.
func (c *call) deleteManifest() error {
	d, ok := c.reader.(oci.Deleter)
	if !ok {
		return oci.ErrUnsupported
	}
	r, err := c.reference()
	if err != nil {
		return err
	}
	if r.Digest != "" {
		err = d.DeleteManifest(c.ctx, r.Name, r.Digest)
	} else {
		err = d.DeleteTag(c.ctx, r.Name, r.Tag)
	}
	return c.deleted(err)
}

// deleted answers a deletion.
func (c *call) deleted(err error) error {
	if err != nil {
		return err
	}
	c.set("Content-Length", "0")
	c.begin(http.StatusAccepted)
	return nil
}
