package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// conformanceSuite builds the public conformance suite, in the version that
// the module in conformance/ pins, and returns its path.
var conformanceSuite = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(kit.dir, "conformance")
	cmd := exec.Command("go", "build", "-mod=readonly", "-o", bin, "github.com/opencontainers/distribution-spec/conformance")
	cmd.Dir = filepath.Join(kit.root, "internal", "e2e", "conformance")
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the conformance suite: %w\n%s", err, out)
	}
	return bin, nil
})

// TestConformanceHosted runs all of the suite, at the newest version of the
// specification that it knows, against names of our own.
func TestConformanceHosted(t *testing.T) {
	e := serve(t, serving{more: "[hosted]\nsparse = true"})
	r := runConformance(t, "hosted", e.address(),
		"OCI_REPO1=conformance/repo1", "OCI_REPO2=conformance/repo2", "OCI_DATA_SPARSE=true")
	if r.exit != nil || r.count("Pass") < 1000 || r.count("Skip") > 0 || r.count("Disabled") > 0 {
		t.Errorf("the suite ended with %v; want all of its 1000 points and more to pass", r.exit)
	}
}

// TestConformanceProxied runs what of the suite only reads, against an
// upstream's repository, over each of the three routes that lead there.
//
// The suite has two bugs in this mode. It looks for Docker-Content-Digest in an
// answer that it has not kept (api.go, ManifestGetExists and ManifestHeadExists,
// where the content is unknown), so that point is switched off and checked here.
// And it crashes once it has reported (run.go, ReportResultsYAML: the data set
// "blobs-sha256" has a status but was never made), so its report decides and not
// its exit status.
func TestConformanceProxied(t *testing.T) {
	up := serve(t, serving{})
	im := newImage("conformance/upstream", "v1")
	im.index(t, im.platform(t, "amd64", false, layer{[]byte("one layer"), gzipped}), im.platform(t, "arm64", false, layer{[]byte("another"), gzipped}))
	artifact, _ := signature(t, im.repo, im.root().Descriptor())
	push(t, up.url, im)
	push(t, up.url, artifact)

	const ns = "upstream.invalid"
	e := serve(t, serving{upstreams: []upstream{{name: ns, url: up.url, more: "default = true"}}})
	for _, route := range []struct{ name, ns, repo string }{
		{"ns", ns, im.repo},
		{"prefix", "", ns + "/" + im.repo},
		{"default", "", im.repo},
	} {
		t.Run(route.name, func(t *testing.T) {
			r := runConformance(t, "proxied, by "+route.name, witness(t, e.url, route.ns), "OCI_REPO1="+route.repo,
				"OCI_API_PUSH=false", "OCI_API_MANIFESTS_DIGEST_HEADER=false",
				"OCI_RO_DATA_TAGS="+im.tag, "OCI_RO_DATA_MANIFESTS="+manifestDigests(im, artifact),
				"OCI_RO_DATA_BLOBS="+blobDigests(im, artifact), "OCI_RO_DATA_REFERRERS="+string(im.root().Digest))
			if r.exit != nil && !strings.Contains(r.out, "main.(*runner).ReportResultsYAML") {
				t.Errorf("the suite ended with %v", r.exit)
			}
			// Each of tag, manifests and blobs by GET and by HEAD, the lists,
			// the ping and the malformed digest.
			if want := 2*(1+len(im.manifests)+len(artifact.manifests)) + 2*(len(im.blobs)+len(artifact.blobs)); r.count("Pass") < want {
				t.Errorf("%d points passed, want at least %d", r.count("Pass"), want)
			}
		})
	}
}

// witness stands before a mirror, adds the ns that the suite cannot send, and
// sees to it that every manifest and blob comes with its digest.
func witness(t *testing.T, target, ns string) (address string) {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			if ns != "" {
				q := r.In.URL.Query()
				q.Set("ns", ns)
				r.Out.URL.RawQuery = q.Encode()
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			path := resp.Request.URL.Path
			isContent := strings.Contains(path, "/manifests/") || strings.Contains(path, "/blobs/")
			if isContent && resp.StatusCode < 300 && resp.Header.Get("Docker-Content-Digest") == "" {
				t.Errorf("%s %s: no Docker-Content-Digest", resp.Request.Method, path)
			}
			if got := resp.Header.Get("OCI-Namespace"); got != ns {
				t.Errorf("%s %s: OCI-Namespace is %q, want %q", resp.Request.Method, path, got, ns)
			}
			return nil
		},
	})
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func manifestDigests(images ...*image) string {
	var all []string
	for _, im := range images {
		for _, m := range im.manifests {
			all = append(all, string(m.Digest))
		}
	}
	return strings.Join(all, " ")
}

func blobDigests(images ...*image) string {
	var all []string
	for _, im := range images {
		for d := range im.blobs {
			all = append(all, string(d))
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}

// A conformance is a run of the suite.
type conformance struct {
	out  string // its report
	exit error
}

// runConformance runs the suite and fails the test for every point that fails.
func runConformance(t *testing.T, name, address string, env ...string) conformance {
	t.Helper()
	bin, err := conformanceSuite()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), append(env, "OCI_VERSION=dev", "OCI_TLS=disabled", "OCI_REGISTRY="+address, "OCI_RESULTS_DIR="+cmd.Dir)...)
	dieWithParent(cmd)
	out, err := cmd.CombinedOutput()
	c := conformance{out: string(out), exit: err}
	summary := fmt.Sprintf("conformance suite, %s: %d points passed, %d failed, %d skipped, %d switched off",
		name, c.count("Pass"), c.count("FAIL")+c.count("Error"), c.count("Skip"), c.count("Disabled"))
	t.Log(summary)
	// For whoever runs this: go test says nothing of what a package that passes logs.
	file := filepath.Join(kit.root, ".cache", "e2e-conformance-"+strings.ReplaceAll(strings.ReplaceAll(name, ",", ""), " ", "-")+".txt")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(summary+"\n"), 0o644)); err != nil {
		t.Error(err)
	}
	if !strings.Contains(c.out, "OCI Conformance Result: Pass") || c.count("FAIL") > 0 || c.count("Error") > 0 {
		t.Errorf("%s:\n%s", name, c.failures())
	}
	return c
}

// count returns how many points the report says ended that way, -1 where it
// does not say.
func (c conformance) count(status string) int {
	m := regexp.MustCompile(`(?m)^  ` + status + `\.+: +(\d+)$`).FindStringSubmatch(c.out)
	if m == nil {
		return -1
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return -1
	}
	return n
}

// failures returns what the report says about points that failed, and all of
// it where there is no such report.
func (c conformance) failures() string {
	found := regexp.MustCompile(`(?m)^ +OCI Conformance Test/.*: (FAIL|Error)(\n +- .*)+`).FindAllString(c.out, -1)
	if found == nil {
		return c.out
	}
	return strings.Join(found, "\n")
}
