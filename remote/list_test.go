package remote

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/google/go-cmp/cmp"
)

func tagsOf(t *testing.T, e *Endpoint, after string) ([]string, error) {
	t.Helper()
	var all []string
	for tag, err := range e.Tags(t.Context(), repo, after) {
		if err != nil {
			return all, err
		}
		all = append(all, tag)
	}
	return all, nil
}

// paged serves tags two by two, each page linking to the next as link says.
func paged(link func(r *http.Request, last string) string) http.HandlerFunc {
	all := []string{"a", "b", "c", "d", "e"}
	return func(w http.ResponseWriter, r *http.Request) {
		i := 0
		for i < len(all) && all[i] <= r.URL.Query().Get("last") {
			i++
		}
		page := all[i:min(i+2, len(all))]
		if i+2 < len(all) {
			w.Header().Set("Link", link(r, page[len(page)-1]))
		}
		fmt.Fprintf(w, `{"name":"team/app","tags":["%s"]}`, strings.Join(page, `","`))
	}
}

func TestTagsFollowPages(t *testing.T) {
	for name, link := range map[string]func(*http.Request, string) string{
		"relative": func(r *http.Request, last string) string {
			return `</v2/team/app/tags/list?n=2&last=` + last + `>; rel="next"`
		},
		"absolute": func(r *http.Request, last string) string {
			return `<http://` + r.Host + `/v2/team/app/tags/list?n=2&last=` + last + `>; rel=next`
		},
		"query alone": func(r *http.Request, last string) string { return `<?n=2&last=` + last + `>; rel="next"` },
		"after others": func(r *http.Request, last string) string {
			return `<https://evil.example>; rel="help"; title="<x>; rel=next", <?last=` + last + `>; x; rel="last NEXT"`
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, log := serve(t, paged(link))
			e := endpoint(t, ClientConfig{}, EndpointConfig{URL: s.URL, Namespace: "docker.io"})
			got, err := tagsOf(t, e, "")
			if diff := cmp.Diff([]string{"a", "b", "c", "d", "e"}, got); diff != "" || err != nil {
				t.Errorf("tags (-want +got), %v:\n%s", err, diff)
			}
			for _, line := range log.get() {
				if !strings.Contains(line, "ns=docker.io") {
					t.Errorf("asked without its namespace: %s", line)
				}
			}
			if got, err := tagsOf(t, e, "b"); err != nil || strings.Join(got, "") != "cde" {
				t.Errorf("after b: %q, %v", got, err)
			}
		})
	}
}

func TestPagesAreLazy(t *testing.T) {
	e, log := open(t, paged(func(r *http.Request, last string) string { return "<?last=" + last + ">; rel=next" }))
	for tag := range e.Tags(t.Context(), repo, "") {
		if tag == "b" {
			break
		}
	}
	if n := len(log.get()); n != 1 {
		t.Errorf("%d pages were fetched for two tags", n)
	}
}

// TestPagesMustEnd: no registry has us read for ever (CVE-2023-46737,
// CVE-2024-29902).
func TestPagesMustEnd(t *testing.T) {
	for _, link := range []string{"<?last=b>; rel=next", "<http://10.0.0.1/x>; rel=next", "<https://evil.example/x>; rel=next", "<%zz>; rel=next"} {
		e, log := open(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", link)
			io.WriteString(w, `{"tags":["a","b"]}`)
		})
		_, err := tagsOf(t, e, "")
		wantKind(t, err, oci.ErrMismatch)
		if n := len(log.get()); n > 2 {
			t.Errorf("%s: %d requests", link, n)
		}
	}
}

func TestTagsAnswers(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   string
		kind   error
	}{
		{200, `{"tags":null}`, "", nil},
		{200, `{"name":"x","tags":["b","a"]}`, "b a", nil},
		{200, `<html>`, "", oci.ErrMismatch},
		{404, ``, "", oci.ErrNotFound},
		{401, ``, "", oci.ErrUnauthorized},
	} {
		e, _ := open(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(tt.status); io.WriteString(w, tt.body) })
		got, err := tagsOf(t, e, "")
		if tt.kind != nil {
			wantKind(t, err, tt.kind)
		} else if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%d %s: %q, %v", tt.status, tt.body, got, err)
		}
	}
}

func TestTagsOfARegistryThatIgnoresLast(t *testing.T) {
	e, _ := open(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"tags":["z","b","a","c"]}`) })
	if got, err := tagsOf(t, e, "b"); err != nil || strings.Join(got, " ") != "a c" {
		t.Errorf("after b: %q, %v", got, err)
	}
}

func TestRepositories(t *testing.T) {
	e, log := open(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("last") == "" {
			w.Header().Set("Link", `</v2/_catalog?last=b>; rel="next"`)
			io.WriteString(w, `{"repositories":["a/x","b"]}`)
			return
		}
		io.WriteString(w, `{"repositories":["c"]}`)
	})
	var got []string
	for name, err := range e.Repositories(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, name)
	}
	if diff := cmp.Diff([]string{"a/x", "b", "c"}, got); diff != "" || log.get()[0] != "GET /v2/_catalog?n=1000" {
		t.Errorf("asked %q (-want +got):\n%s", log.get(), diff)
	}
}

func TestReferrers(t *testing.T) {
	subject := digestOf("subject")
	one := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"a/sig","size":1,"digest":"` + string(digestOf("1")) + `"}`
	two := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"a/sbom","size":2,"digest":"` + string(digestOf("2")) + `"}`
	index := func(list ...string) string {
		return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + strings.Join(list, ",") + `]}`
	}
	for _, tt := range []struct {
		name     string
		api, tag func(w http.ResponseWriter, r *http.Request) // nil is 404
		filter   string
		want     string // artifact types
		kind     error
		requests int
	}{
		{name: "api", api: send(index(one, two)), want: "a/sig a/sbom", requests: 1},
		{name: "our own filter", api: send(index(one, two)), filter: "a/sbom", want: "a/sbom", requests: 1},
		{name: "two pages", api: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("page") == "" {
				w.Header().Set("Link", `<?page=2>; rel="next"`)
				io.WriteString(w, index(one))
				return
			}
			io.WriteString(w, index(two))
		}, want: "a/sig a/sbom", requests: 2},
		{name: "tag schema", tag: send(index(one, two)), filter: "a/sig", want: "a/sig", requests: 2},
		{name: "nothing", want: "", requests: 2},
		{name: "405", api: code(405), tag: send(index(one)), want: "a/sig", requests: 2},
		{name: "400", api: code(400), want: "", requests: 2},
		{name: "html for the api", api: send("<html>"), tag: send(index(one)), want: "a/sig", requests: 2},
		{name: "500", api: code(500), kind: oci.ErrUnavailable, requests: 1},
		{name: "500 for the tag", tag: code(500), kind: oci.ErrUnavailable, requests: 2},
		{name: "malformed descriptor", api: send(index(`{"mediaType":"a/b","size":1,"digest":"../../x"}`)), kind: oci.ErrMismatch, requests: 1},
		{name: "negative size", api: send(index(`{"mediaType":"a/b","size":-1,"digest":"` + string(subject) + `"}`)), kind: oci.ErrMismatch, requests: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, log := open(t, func(w http.ResponseWriter, r *http.Request) {
				h := tt.tag
				if strings.HasPrefix(r.URL.Path, "/v2/team/app/referrers/"+string(subject)) {
					h = tt.api
				} else if !strings.HasSuffix(r.URL.Path, "/manifests/"+oci.FallbackTag(subject)) {
					t.Errorf("asked %s", r.URL)
				}
				if h == nil {
					h = code(404)
				}
				w.Header().Set("Content-Type", oci.TypeImageIndex)
				h(w, r)
			})
			got, err := e.Referrers(t.Context(), repo, subject, tt.filter)
			if n := len(log.get()); n != tt.requests {
				t.Errorf("%d requests, want %d: %q", n, tt.requests, log.get())
			}
			if tt.kind != nil {
				wantKind(t, err, tt.kind)
				return
			}
			var types []string
			for _, d := range got {
				types = append(types, d.ArtifactType)
			}
			if err != nil || strings.Join(types, " ") != tt.want {
				t.Errorf("got %q, %v, want %q", types, err, tt.want)
			}
		})
	}
}

func send(body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }
}

func code(n int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n) }
}
