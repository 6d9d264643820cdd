package registry

import (
	"encoding/json"
	"errors"
	"iter"
	"net/url"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
)

// maxReferrers limits one page of referrers, in bytes: clients do not read an
// index beyond 4 MiB.
const maxReferrers = 3 << 20

// listTags answers tags/list. The name is echoed as the client wrote it.
func (c *call) listTags() error {
	l, ok := c.reader.(oci.Lister)
	if !ok {
		return oci.ErrUnsupported
	}
	last, _ := c.query.get("last")
	page, more, err := c.page(l.Tags(c.ctx, c.target.name, last))
	if err != nil {
		return err
	}
	if more {
		c.linkNext(page[len(page)-1])
	}
	return c.sendList(struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{c.at.name, page})
}

// listRepositories answers _catalog: the hosted repositories.
func (c *call) listRepositories() error {
	l, ok := c.reader.(oci.Catalog)
	if !ok || c.target.proxied {
		return oci.ErrUnsupported
	}
	last, _ := c.query.get("last")
	page, more, err := c.page(c.listed(l.Repositories(c.ctx, last)))
	if err != nil {
		return err
	}
	if more {
		c.linkNext(page[len(page)-1])
	}
	return c.sendList(struct {
		Repositories []string `json:"repositories"`
	}{page})
}

// listed leaves out what the caller may not pull.
func (c *call) listed(all iter.Seq2[string, error]) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for path, err := range all {
			if (err != nil || c.lists(path)) && !yield(path, err) {
				return
			}
		}
	}
}

// page takes as many entries as the client wants, and as we allow. More says
// that there are others after them.
func (c *call) page(all iter.Seq2[string, error]) (page []string, more bool, err error) {
	n, err := c.pageSize()
	if err != nil {
		return nil, false, err
	}
	page = []string{}
	for s, err := range all {
		if err != nil {
			return nil, false, err
		}
		if len(page) == n {
			return page, n > 0, nil
		}
		page = append(page, s)
	}
	return page, false, nil
}

// pageSize reads the n parameter.
func (c *call) pageSize() (int, error) {
	s, ok := c.query.get("n")
	if !ok || s == "" {
		return c.h.cfg.MaxPage, nil
	}
	n := parseOffset(s)
	if n < 0 {
		return 0, oci.Errorf(oci.ErrInvalid, oci.CodeUnsupported, "n is no number of entries")
	}
	return int(min(n, int64(c.h.cfg.MaxPage))), nil
}

// linkNext points to the page after last, with the parameters of this one.
func (c *call) linkNext(last string) {
	q := url.Values{"last": {last}}
	for _, key := range []string{"n", "artifactType", "ns"} {
		if v, ok := c.query.get(key); ok {
			q.Set(key, v)
		}
	}
	c.set("Link", "<"+c.r.URL.Path+"?"+q.Encode()+`>; rel="next"`)
}

func (c *call) sendList(list any) error {
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	c.outcome()
	c.set("Content-Type", "application/json")
	c.set("Cache-Control", c.cacheControl(false))
	return c.send(body)
}

// listReferrers answers with an index of what refers to a digest. It is never
// 404: a client would take that for a registry without the API and push a
// fallback tag (distribution-spec 1.1, "Listing Referrers").
func (c *call) listReferrers() error {
	d, err := parseDigest(c.at.ref)
	if err != nil {
		return err
	}
	artifactType, _ := c.query.get("artifactType")
	var all []oci.Descriptor
	if l, ok := c.reader.(oci.ReferrersLister); ok {
		all, err = l.Referrers(c.ctx, c.target.name, d, artifactType)
		if err != nil && !errors.Is(err, oci.ErrNotFound) && !errors.Is(err, oci.ErrUnsupported) {
			return err
		}
	}
	page, more, err := c.referrersPage(all)
	if err != nil {
		return err
	}
	if more {
		c.linkNext(string(page[len(page)-1].Digest))
	}
	body, err := json.Marshal(struct {
		SchemaVersion int              `json:"schemaVersion"`
		MediaType     string           `json:"mediaType"`
		Manifests     []oci.Descriptor `json:"manifests"`
	}{2, oci.TypeImageIndex, page})
	if err != nil {
		return err
	}
	c.outcome()
	c.set("Content-Type", oci.TypeImageIndex)
	c.set("Cache-Control", c.cacheControl(false))
	if artifactType != "" {
		c.set("Oci-Filters-Applied", "artifactType")
	}
	return c.send(body)
}

// referrersPage takes the descriptors after the last parameter, which is the
// digest that the page before ended with.
func (c *call) referrersPage(all []oci.Descriptor) (page []oci.Descriptor, more bool, err error) {
	n, err := c.pageSize()
	if err != nil {
		return nil, false, err
	}
	last, _ := c.query.get("last")
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b oci.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	page = []oci.Descriptor{}
	size := 0
	for _, d := range all {
		if string(d.Digest) <= last {
			continue
		}
		raw, err := json.Marshal(d)
		if err != nil {
			return nil, false, err
		}
		size += len(raw)
		if len(page) == n || len(page) > 0 && size > maxReferrers {
			return page, len(page) > 0, nil
		}
		page = append(page, d)
	}
	return page, false, nil
}
