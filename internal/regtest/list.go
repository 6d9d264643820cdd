package regtest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/entrepot/entrepot/oci"
)

// DropReferrersAPI makes the referrers API answer 404; what refers to a
// manifest is then found under the fallback tag (distribution-spec 1.1,
// "Referrers Tag Schema"; B12).
func (r *Registry) DropReferrersAPI() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noReferrers = true
}

func (r *Registry) noReferrersAPI() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.noReferrers
}

func (r *Registry) listTags(req *http.Request, e Entry) answer {
	tags, ok := r.tags(e.Repo)
	if !ok {
		return problem(http.StatusNotFound, oci.CodeNameUnknown, "repository name not known to registry")
	}
	tags, next := r.page(req, tags)
	return linked(document(map[string]any{"name": e.Repo, "tags": tags}), next)
}

func (r *Registry) listRepos(req *http.Request) answer {
	paths, next := r.page(req, r.paths())
	return linked(document(map[string]any{"repositories": paths}), next)
}

func (r *Registry) listReferrers(req *http.Request, e Entry) answer {
	if r.noReferrersAPI() {
		return answer{http.StatusNotFound, http.Header{}, Bytes([]byte("404 page not found\n"))}
	}
	q := req.URL.Query()
	found := r.referrers(e.Repo, oci.Digest(e.Ref), q.Get("artifactType"))
	skip, _ := strconv.Atoi(q.Get("skip")) // a parameter of our own; 0 where it is not there
	found = found[min(skip, len(found)):]
	next := ""
	if n := r.cfg.Page; n > 0 && len(found) > n {
		found = found[:n]
		q.Set("skip", strconv.Itoa(skip+n))
		next = req.URL.Path + "?" + q.Encode()
	}
	a := answer{http.StatusOK, http.Header{"Content-Type": {oci.TypeImageIndex}}, Bytes(indexOf(found))}
	if q.Get("artifactType") != "" {
		a.header.Set("OCI-Filters-Applied", "artifactType")
	}
	return linked(a, next)
}

// page cuts a sorted list at the parameters n and last, and returns the URL of
// the next page, "" at the end.
func (r *Registry) page(req *http.Request, all []string) (page []string, next string) {
	q := req.URL.Query()
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	n, err := strconv.Atoi(q.Get("n"))
	if err != nil || r.cfg.Page > 0 && n > r.cfg.Page {
		n = r.cfg.Page
	}
	if n <= 0 || n >= len(all) {
		return all, ""
	}
	all = all[:n]
	v := url.Values{"n": {strconv.Itoa(n)}, "last": {all[n-1]}}
	return all, req.URL.Path + "?" + v.Encode()
}

func linked(a answer, next string) answer {
	if next != "" {
		a.header.Set("Link", fmt.Sprintf(`<%s>; rel="next"`, next))
	}
	return a
}
