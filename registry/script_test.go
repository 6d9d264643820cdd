package registry

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/store"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the answers that came into testdata")

// TestScripts sends the requests of testdata/*.txt, in order and over real
// connections, and compares the answers whole: status, every header, body. A
// script is a list of exchanges:
//
//	# a comment
//	PUT $LOCATION&digest=sha256:…     $LOCATION is the last one that was answered,
//	                                  $OTHER the same in repository apps/other
//	Content-Type: text/plain
//
//	the request's body
//	---
//	201 Created
//	Location: …
//
//	the answer's body
//	===
//
// Date and X-Request-Id are left out, and a session's ID is written as ID.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, got := runScript(t, file, newMemory())
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// TestScriptsOverVault runs the scripts over the store that is really used. It
// words its refusals as it likes; status, headers and codes are the same.
func TestScriptsOverVault(t *testing.T) {
	words := regexp.MustCompile(`"message":"[^}]*"|Content-Length: .*`)
	for _, name := range []string{"push", "chunks", "read", "refuse"} {
		t.Run(name, func(t *testing.T) {
			s, err := store.Open(t.TempDir(), store.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			want, got := runScript(t, filepath.Join("testdata", name+".txt"), s.Vault())
			if diff := cmp.Diff(words.ReplaceAllString(want, ""), words.ReplaceAllString(got, "")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// runScript returns a script as it stands and as it went.
func runScript(t *testing.T, file string, hosted oci.Reader) (want, got string) {
	t.Helper()
	script, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	srv := scriptServer(t, hosted)
	defer srv.Close()
	location := ""
	for exchange := range strings.SplitSeq(string(script), "===\n") {
		request, _, ok := strings.Cut(exchange, "---\n")
		if !ok {
			got += exchange
			continue
		}
		other := strings.Replace(location, "/apps/web/", "/apps/other/", 1)
		resp := send(t, srv.URL, strings.NewReplacer("$LOCATION", location, "$OTHER", other).Replace(request))
		if l := resp.Header.Get("Location"); l != "" {
			location = l
		}
		answer := dump(t, resp)
		if _, id, ok := strings.Cut(location, "/uploads/"); ok {
			answer = strings.ReplaceAll(answer, id, "ID")
		}
		got += request + "---\n" + answer + "===\n"
	}
	return string(script), got
}

// scriptServer serves apps/** from hosted, and two upstreams of which docker.io
// holds library/alpine.
func scriptServer(t *testing.T, hosted oci.Reader) *httptest.Server {
	t.Helper()
	upstream := newMemory()
	fill(t, upstream, ref.Name{Host: "docker.io", Path: "library/alpine"})
	upstream.outcome = oci.Outcome{Result: oci.Hit}
	h, err := New(Config{
		Routes:      Routes{Upstreams: []Upstream{{Name: "docker.io"}, {Name: "127.0.0.1:5001"}}, Hosted: []string{"apps/**"}},
		Hosted:      hosted,
		Proxied:     upstream,
		Access:      access.Policy{Anonymous: access.All},
		MaxManifest: 4096,
		MaxPage:     3,
	})
	if err != nil {
		t.Fatal(err)
	}
	return httptest.NewServer(h)
}

var (
	layerBytes  = []byte("hello, this is a layer")
	configBytes = []byte("{}")
)

// fill puts an image with the tags 3.20 and latest, and something that refers
// to it, into a repository.
func fill(t testing.TB, m *memory, n ref.Name) (image, referrer oci.Manifest) {
	t.Helper()
	config, layer := oci.FromBytes(configBytes, ""), oci.FromBytes(layerBytes, "")
	m.repo(n).blobs[config], m.repo(n).blobs[layer] = configBytes, layerBytes
	image = makeManifest(fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"%s","size":%d}]}`, config, layer, len(layerBytes)))
	referrer = makeManifest(fmt.Sprintf(`{"schemaVersion":2,"artifactType":"application/vnd.example.signature","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"%s","size":2},"layers":[],"subject":{"mediaType":"%s","digest":"%s","size":%d}}`, config, image.MediaType, image.Digest, len(image.Raw)))
	if err := m.PutManifest(t.Context(), n, image, "3.20", "latest"); err != nil {
		t.Fatal(err)
	}
	if err := m.PutManifest(t.Context(), n, referrer); err != nil {
		t.Fatal(err)
	}
	return image, referrer
}

func makeManifest(raw string) oci.Manifest {
	return oci.Manifest{MediaType: oci.TypeImageManifest, Digest: oci.FromBytes([]byte(raw), ""), Raw: []byte(raw)}
}

// send sends a request of a script.
func send(t *testing.T, base, text string) *http.Response {
	t.Helper()
	for strings.HasPrefix(text, "#") || strings.HasPrefix(text, "\n") {
		_, text, _ = strings.Cut(text, "\n")
	}
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	method, target, ok := strings.Cut(lines[0], " ")
	if !ok {
		t.Fatalf("script: %q is no request", lines[0])
	}
	r, err := http.NewRequest(method, base+target, bytes.NewReader([]byte(strings.TrimSuffix(body, "\n"))))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines[1:] {
		key, value, _ := strings.Cut(line, ": ")
		if key == "Transfer-Encoding" {
			r.ContentLength = -1
			continue
		}
		r.Header.Add(key, value)
	}
	tr := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s: %v", lines[0], err)
	}
	return resp
}

// dump writes an answer as a script has it.
func dump(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.Header.Get("X-Request-Id") == "" {
		t.Errorf("%s %s: no request ID", resp.Request.Method, resp.Request.URL)
	}
	var lines []string
	for key, values := range resp.Header {
		if key != "Date" && key != "X-Request-Id" && key != "Docker-Upload-Uuid" && key != "Connection" {
			lines = append(lines, key+": "+strings.Join(values, " | "))
		}
	}
	slices.Sort(lines)
	out := resp.Status + "\n" + strings.Join(lines, "\n") + "\n"
	if len(body) > 0 {
		out += "\n" + string(body) + "\n"
	}
	return out
}
