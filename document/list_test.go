package document

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	hexA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	hexB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// tags are those of every repository in these tests.
var tags = []string{"latest", "1.0.0", "1.5.0-alpine", "v1.9", "2.0.0", "2.1.0-rc1", "1.13.1-alpine-perl", "sha256-" + hexA, "sha256-" + hexB + ".sig"}

// listing shows all that a list names, with what its selectors find.
func listing(d *Document) string {
	var b strings.Builder
	show := func(i Image) {
		fmt.Fprintf(&b, "%s %s", i.At, i.Ref)
		if i.Target != "" {
			fmt.Fprintf(&b, " > %s", i.Target)
		}
		b.WriteByte('\n')
	}
	for _, i := range d.Images() {
		show(i)
	}
	for _, s := range d.Selectors() {
		for _, i := range s.Images(tags) {
			show(i)
		}
	}
	for _, a := range d.Access() {
		fmt.Fprintf(&b, "%s access to %s as %q", a.At, a.Registry, a.Username)
		if a.Insecure {
			b.WriteString(", insecure")
		}
		if a.PlainHTTP {
			b.WriteString(", plain HTTP")
		}
		b.WriteByte('\n')
	}
	for _, n := range d.Notes() {
		fmt.Fprintf(&b, "note %v\n", n)
	}
	return b.String()
}

// lists are texts of every kind and what they say.
func lists() map[Kind][2]string {
	return map[Kind][2]string{
		List: {`# images
alpine:3.20
  docker://quay.io/a/b:1   # with a comment
ghcr.io/x/y=registry.corp/y:9
istio/proxyv2:1.2 team/proxy
localhost:5000/z@sha256:` + hexA + "\r\n" + `
`, `f:2 alpine:3.20
f:3 quay.io/a/b:1
f:4 ghcr.io/x/y > registry.corp/y:9
f:5 istio/proxyv2:1.2 > team/proxy
f:6 localhost:5000/z@sha256:` + hexA + "\n"},

		SkopeoSync: {`registry.example.com:
  images:
    busybox: []
    redis:
      - "1.0"
      - 2.0
      - "sha256:` + hexA + `"
  images-by-semver:
    alpine: ">= 1.0.0 < 2.0.0"
  images-by-tag-regex:
    nginx: ^1\.13\.[12]-alpine-perl$
  credentials:
    username: john
    password: this is a secret
  tls-verify: true
quay.io:
  tls-verify: false
  images:
    coreos/etcd:
      - latest
`, `f:5 registry.example.com/redis:1.0
f:6 registry.example.com/redis:2.0
f:7 registry.example.com/redis@sha256:` + hexA + `
f:20 quay.io/coreos/etcd:latest
f:3 registry.example.com/busybox:latest
f:3 registry.example.com/busybox:1.0.0
f:3 registry.example.com/busybox:1.5.0-alpine
f:3 registry.example.com/busybox:v1.9
f:3 registry.example.com/busybox:2.0.0
f:3 registry.example.com/busybox:2.1.0-rc1
f:3 registry.example.com/busybox:1.13.1-alpine-perl
f:11 registry.example.com/nginx:1.13.1-alpine-perl
f:9 registry.example.com/alpine:1.0.0
f:9 registry.example.com/alpine:v1.9
f:2 access to registry.example.com as "john"
f:17 access to quay.io as "", insecure
`},

		Regsync: {`version: 1
x-common: &common
  referrers: true
creds:
  - registry: localhost:5000
    tls: disabled
    user: me
    pass: this is a secret
defaults:
  parallel: 2
  interval: 60m
sync:
  - <<: *common
    source: busybox:latest
    target: localhost:5000/library/busybox:latest
    type: image
  - source: alpine
    target: localhost:5000/library/alpine
    type: repository
    tags:
      allow: ["latest", "1\\.5.*"]
      deny: [".*-perl"]
  - source: ghcr.io/a/b
    target: localhost:5000/b
    type: repository
    tagSets:
      - semverRange: [">=1.0.0 <1.10.0", ">=2.1.0-0"]
      - allow: ["lat"]
`, `f:14 busybox:latest > localhost:5000/library/busybox:latest
f:17 alpine:latest > localhost:5000/library/alpine:latest
f:17 alpine:1.5.0-alpine > localhost:5000/library/alpine:1.5.0-alpine
f:23 ghcr.io/a/b:1.0.0 > localhost:5000/b:1.0.0
f:23 ghcr.io/a/b:1.5.0-alpine > localhost:5000/b:1.5.0-alpine
f:23 ghcr.io/a/b:v1.9 > localhost:5000/b:v1.9
f:23 ghcr.io/a/b:2.1.0-rc1 > localhost:5000/b:2.1.0-rc1
f:5 access to localhost:5000 as "me", plain HTTP
note f:11: defaults.interval: this is not used: Entrepot copies referrers and signatures, and sets its own pace; see --no-referrers, --jobs and --watch
note f:3: sync[0].referrers: this is not used: Entrepot copies referrers and signatures, and sets its own pace; see --no-referrers, --jobs and --watch
`},

		ImageSyncer: {`{"auth": {"quay.io": {"username": "me", "password": "this is a secret", "insecure": true}},
"images": {
"quay.io/coreos/kube-rbac-proxy:v1": "quay.io/ruohe/kube-rbac-proxy",
"xxx/xxx/xx:tag1,tag2": "r.io/xx",
"alpine/a@sha256:` + hexA + `": ["r.io/one", "r.io/two:7"],
"a/b:/^1\\.5/": "r.io/b",
"a/c": "r.io/c"
}}`, `f:3 quay.io/coreos/kube-rbac-proxy:v1 > quay.io/ruohe/kube-rbac-proxy
f:4 xxx/xxx/xx:tag1 > r.io/xx
f:4 xxx/xxx/xx:tag2 > r.io/xx
f:5 alpine/a@sha256:` + hexA + ` > r.io/one
f:5 alpine/a@sha256:` + hexA + ` > r.io/two:7
f:6 a/b:1.5.0-alpine > r.io/b:1.5.0-alpine
f:7 a/c:latest > r.io/c:latest
f:7 a/c:1.0.0 > r.io/c:1.0.0
f:7 a/c:1.5.0-alpine > r.io/c:1.5.0-alpine
f:7 a/c:v1.9 > r.io/c:v1.9
f:7 a/c:2.0.0 > r.io/c:2.0.0
f:7 a/c:2.1.0-rc1 > r.io/c:2.1.0-rc1
f:7 a/c:1.13.1-alpine-perl > r.io/c:1.13.1-alpine-perl
f:1 access to quay.io as "me", plain HTTP
`},

		ImagesLock: {`apiVersion: imgpkg.carvel.dev/v1alpha1
kind: ImagesLock
images:
- image: r.io/x@sha256:` + hexA + ` # pinned
  annotations: {a: b}
---
apiVersion: imgpkg.carvel.dev/v1alpha1
kind: BundleLock
bundle: {image: "r.io/b@sha256:` + hexB + `", tag: v1}
---
apiVersion: v0
kind: ImagesLock
images: [{name: n, image: bitnami/x:1, chart: c, digests: [{digest: "sha256:` + hexA + `", arch: linux/amd64}]}]
`, `f:4 r.io/x@sha256:` + hexA + `
f:9 r.io/b@sha256:` + hexB + `
f:13 bitnami/x:1
`},
	}
}

func TestLists(t *testing.T) {
	for kind, c := range lists() {
		t.Run(string(kind), func(t *testing.T) {
			d := mustRead(t, "f", c[0], Options{})
			if d.Kind != kind {
				t.Errorf("recognised as %s, want %s", d.Kind, kind)
			}
			if diff := cmp.Diff(c[1], listing(d)); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			if shown := fmt.Sprintf("%v %+v %#v", d.Access(), d.Access(), d.Access()); strings.Contains(shown, "secret") {
				t.Errorf("a password is shown: %s", shown)
			}
		})
	}
}

func TestFlatImageSyncer(t *testing.T) {
	d := mustRead(t, "f", "quay.io/a/b:1,2: r.io/b\nx/y: [r.io/y]\n", Options{})
	if d.Kind != ImageSyncer || len(d.Images()) != 2 || len(d.Selectors()) != 1 {
		t.Errorf("got %s with %d images and %d selectors", d.Kind, len(d.Images()), len(d.Selectors()))
	}
}

func TestRewriteLists(t *testing.T) {
	texts := lists()
	d := mustRead(t, "f", texts[List][0], Options{})
	want := strings.Replace(texts[List][0], "istio/proxyv2:1.2 ", "r.io/p:1.2 ", 1)
	if got := rewritten(t, d, map[string]string{"istio/proxyv2:1.2": "r.io/p:1.2"}); got != want {
		t.Errorf("rewritten:\n%s", cmp.Diff(want, got))
	}
	from := "r.io/x@sha256:" + hexA
	d = mustRead(t, "f", texts[ImagesLock][0], Options{})
	want = strings.Replace(texts[ImagesLock][0], from, "s.io/x@sha256:"+hexA, 1)
	if got := rewritten(t, d, map[string]string{from: "s.io/x@sha256:" + hexA}); got != want {
		t.Errorf("rewritten:\n%s", cmp.Diff(want, got))
	}
	d = mustRead(t, "f", texts[Regsync][0], Options{})
	if _, err := d.Rewrite(func(string) (string, bool) { return "r.io/x", true }); err == nil || !strings.Contains(err.Error(), "it is not rewritten") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestListsRefused(t *testing.T) {
	for _, c := range []struct {
		kind       Kind
		text, want string
	}{
		{List, "alpine:3\nUPPER\n", "f:2: this is no image"},
		{List, "alpine:3=\n", "f:1: this is no image"},
		{List, "alpine:3\n= x:1\n", "f:2: this is no image"},
		{List, "alpine:3\n=x:1\n", "f:2: this is no image"},
		{List, "alpine a b\n", "f:1: a line is SRC, SRC=DST or SRC DST"},
		{SkopeoSync, "r.io: {images: {a: [1]}, sign: yes}", "f:1: [\"r.io\"].sign: unknown field"},
		{SkopeoSync, "r.io: {images: {a: [1]}, cert-dir: /x}", "f:1: [\"r.io\"].cert-dir: this is not supported"},
		{SkopeoSync, "r.io: {images-by-tag-regex: {a: '('}}", "this is no regular expression"},
		{SkopeoSync, "r.io: {images-by-semver: {a: 'x y'}}", "this is no range of versions"},
		{SkopeoSync, "r.io: {images: {A: [1]}}", "this is no image"},
		{SkopeoSync, "r.io: {images: {a: [{}]}}", "this is a table and should be a string"},
		{SkopeoSync, "r.io: {images: {'a:1': []}}", "this is no repository"},
		{Regsync, "version: 2\nsync: []", "f:1: version: version 2 is not known"},
		{Regsync, "sync: [{source: a, target: b, type: registry}]", "sync[0].type: whole registries are not supported"},
		{Regsync, "sync: [{source: a, target: b}]", "sync[0]: the type is missing"},
		{Regsync, "sync: [{source: a, target: b, type: blob}]", `"blob" is no type`},
		{Regsync, "sync: [{target: b, type: image}]", "sync[0]: source is missing"},
		{Regsync, "sync: [{source: '{{ env \"X\" }}/a', target: b, type: image}]", "is a template"},
		{Regsync, "sync: [{source: ocidir://a, target: b, type: image}]", "layouts are not supported here"},
		{Regsync, "sync: [{source: a, target: b, type: image, backup: x}]", "sync[0].backup: this is not supported"},
		{Regsync, "sync: [{source: a, target: b, type: image, typo: x}]", "sync[0].typo: unknown field"},
		{Regsync, "sync: [{source: a, target: b, type: image, platform: linux/amd64}]", "sync[0].platform: this is not supported"},
		{Regsync, "defaults: {hooks: {}}\nsync: []", "defaults.hooks: this is not supported"},
		{Regsync, "creds: [{registry: r.io, regcert: x}]\nsync: []", "creds[0].regcert: this is not supported"},
		{Regsync, "creds: [{registry: r.io, pass: '{{ file \"secret\" }}'}]\nsync: []", "creds[0]: there are templates in this entry"},
		{Regsync, "sync: [{source: a, target: b, type: repository, tags: {allow: ['(']}}]", "tags.allow[0]: this is no regular expression"},
		{Regsync, "sync: [{source: 'a:1', target: b, type: repository}]", "this is no repository"},
		{ImageSyncer, "images: {'a/b': ''}", "there is no target"},
		{ImageSyncer, "images: {'a/b': []}", "there is no target"},
		{ImageSyncer, "images: {'a/b': '$R/b'}", "variables of the environment"},
		{ImageSyncer, "images: {'a/b:1,2': 'r.io/b:1'}", "the target of several tags has a tag"},
		{ImageSyncer, "images: {'a/b:/(/': 'r.io/b'}", "this is no regular expression"},
		{ImageSyncer, "images: {'a/B': 'r.io/b'}", "the source is no image"},
		{ImageSyncer, "images: {'a/b': 'R/'}", "the target is no image"},
		{ImageSyncer, "images: {'a/b': 'r.io/b'}\nauth: {x: {token: y}}", "auth.x.token: unknown field"},
		{ImagesLock, "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages: [{image: 'a:1'}]", "images[0].image: a:1 has no digest"},
		{ImagesLock, "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: Other", `"Other" is no kind of lock`},
		{ImagesLock, "apiVersion: imgpkg.carvel.dev/v2\nkind: ImagesLock", "apiVersion \"imgpkg.carvel.dev/v2\" is not known"},
		{ImagesLock, "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages: [{imagee: a}]", "images[0].imagee: unknown field"},
	} {
		_, err := Read(Input{Name: "f", Kind: c.kind, Data: []byte(c.text)}, Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: got %v, want …%s…", c.kind, c.text, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("a password is shown: %v", err)
		}
	}
}

// FuzzLists holds that nothing makes a reader of lists panic, that what it
// accepts names images, and that a plain list is rewritten to what it was told.
func FuzzLists(f *testing.F) {
	for kind, c := range lists() {
		f.Add(string(kind), c[0])
		f.Add("", c[0])
	}
	f.Add(string(List), "docker://a = b # c\n\n#\n")
	f.Add(string(ImagesLock), "0")
	f.Add(string(ImageSyncer), "images: {'a/b:/x/': r.io/b, 'a:1,': b}")
	f.Fuzz(func(t *testing.T, kind, text string) {
		d, err := Read(Input{Name: "f", Kind: Kind(kind), Data: []byte(text)}, Options{})
		if err != nil {
			return
		}
		for _, s := range d.Selectors() {
			s.Images(tags)
		}
		if d.Kind != List {
			return
		}
		files, err := d.Rewrite(func(string) (string, bool) { return "r.io/x:1", true })
		if err != nil {
			t.Fatalf("%q cannot be rewritten: %v", text, err)
		}
		again, err := Read(Input{Name: "f", Kind: List, Data: files[0].Data}, Options{})
		if err != nil || len(again.Images()) != len(d.Images()) {
			t.Fatalf("%q becomes %q: %v", text, files[0].Data, err)
		}
	})
}
