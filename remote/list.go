package remote

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/entrepot/entrepot/ref"
)

const (
	pageSize = 1000     // names asked for at once
	maxPage  = 32 << 20 // bytes; some registries ignore the size and send all
	maxPages = 10_000   // more than any registry has; a chain of pages that is longer has no end
)

// Tags yields the tags in the registry's own order, which the
// distribution-spec wants to be that of ASCII or of a dictionary. Pages are
// fetched as they are needed.
func (e *Endpoint) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	if err := checkName(n); err != nil {
		return fails[string](err)
	}
	x := exchange{
		kind: KindTags, method: http.MethodGet, name: n, scopes: []string{e.scope(n, "pull")},
		url: e.url(n, "tags/list", e.page(e.reading(), after)), want: []int{http.StatusOK},
	}
	return e.names(ctx, x, after, func(raw []byte) ([]string, error) {
		var doc struct {
			Tags []string `json:"tags"`
		}
		return doc.Tags, json.Unmarshal(raw, &doc)
	})
}

// Repositories yields what the registry's catalog lists; the error is
// ErrNotFound, ErrUnsupported or ErrDenied where it has none for us.
func (e *Endpoint) Repositories(ctx context.Context, after string) iter.Seq2[string, error] {
	u := *e.base
	u.Path += "_catalog"
	u.RawQuery = e.page(e.reading(), after).Encode()
	x := exchange{kind: KindCatalog, method: http.MethodGet, scopes: []string{"registry:catalog:*"}, url: &u, want: []int{http.StatusOK}}
	return e.names(ctx, x, after, func(raw []byte) ([]string, error) {
		var doc struct {
			Repositories []string `json:"repositories"`
		}
		return doc.Repositories, json.Unmarshal(raw, &doc)
	})
}

func (e *Endpoint) page(q url.Values, after string) url.Values {
	q.Set("n", strconv.Itoa(pageSize))
	if after != "" {
		q.Set("last", after)
	}
	return q
}

// names yields the names on all pages.
func (e *Endpoint) names(ctx context.Context, x exchange, after string, read func([]byte) ([]string, error)) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for raw, err := range e.pages(ctx, x) {
			if err != nil {
				yield("", err)
				return
			}
			names, err := read(raw)
			if err != nil {
				yield("", mismatch("GET %s: the list cannot be read", redact(x.url)))
				return
			}
			if after != "" {
				// A registry that does not know "last" starts at the first.
				names = names[slices.Index(names, after)+1:]
			}
			for _, name := range names {
				if !yield(name, nil) {
					return
				}
			}
		}
	}
}

// pages yields the bodies of a list's pages, following Link headers within the
// endpoint's origin.
func (e *Endpoint) pages(ctx context.Context, x exchange) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		seen := make(map[string]bool)
		for len(seen) < maxPages {
			res, err := e.run(ctx, x)
			if err != nil {
				yield(nil, err)
				return
			}
			raw, err := readAll(res, maxPage)
			if err != nil || !yield(raw, nil) {
				if err != nil {
					yield(nil, err)
				}
				return
			}
			link := nextLink(res.Header)
			if link == "" {
				return
			}
			next, err := e.nextPage(x.url, link)
			if err != nil || seen[next.String()] {
				yield(nil, mismatch("GET %s: the next page leads elsewhere or in a circle", redact(x.url)))
				return
			}
			seen[next.String()] = true
			x.url = next
		}
		yield(nil, mismatch("GET %s: more than %d pages", redact(x.url), maxPages))
	}
}

// nextPage resolves the URL of a next page, which must be the endpoint's own
// (google/go-containerregistry#2332).
func (e *Endpoint) nextPage(from *url.URL, link string) (*url.URL, error) {
	next, err := resolve(from, link, e.plain())
	if err != nil {
		return nil, err
	}
	if !sameOrigin(e.base, next) {
		return nil, mismatch("the next page is at %s", redact(next))
	}
	if q := next.Query(); e.cfg.Namespace != "" && !q.Has("ns") {
		q.Set("ns", e.cfg.Namespace)
		next.RawQuery = q.Encode()
	}
	return next, nil
}

func fails[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		yield(zero, err)
	}
}
