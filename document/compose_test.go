package document

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const composeFile = `# an application
x-logging: &logging {driver: json-file}
services:
  web:
    image: nginx:1.25   # plain
    logging: *logging
    volumes:
    - ./data:/data
    - {type: image, source: "quay.io/team/assets:1", target: /assets}
  db:
    image: ${REGISTRY:-docker.io}/library/postgres:${TAG-16}
  cache:
    image: "${CACHE_IMAGE:-redis:7}"
  own:
    image: team/own
    build:
      context: .
      additional_contexts: {base: "docker-image://alpine:3.20", src: ./src}
  extended:
    extends: {service: web}
`

func TestCompose(t *testing.T) {
	d := mustRead(t, "compose.yaml", composeFile, Options{})
	want := []string{
		"compose.yaml:5 services.web.image: nginx:1.25",
		"compose.yaml:9 services.web.volumes[1].source: quay.io/team/assets:1",
		"compose.yaml:11 services.db.image: docker.io/library/postgres:16",
		"compose.yaml:13 services.cache.image: redis:7",
		"compose.yaml:18 services.own.build.additional_contexts.base: alpine:3.20",
	}
	if diff := cmp.Diff(want, found(d)); diff != "" || d.Kind != Compose {
		t.Errorf("%s: images (-want +got):\n%s", d.Kind, diff)
	}
	if n := d.Notes(); len(n) != 1 || !strings.Contains(n[0].Error(), "compose.yaml:17: services.own.build: the image is built") {
		t.Errorf("notes: %v", n)
	}
	got := rewritten(t, d, map[string]string{
		"nginx:1.25": "r.example/nginx:1.25", "docker.io/library/postgres:16": "r.example/postgres:16",
		"redis:7": "r.example/redis:7", "alpine:3.20": "r.example/alpine:3.20",
	})
	wanted := strings.NewReplacer("nginx:1.25", "r.example/nginx:1.25", "${REGISTRY:-docker.io}/library/postgres:${TAG-16}", "r.example/postgres:16",
		"redis:7", "r.example/redis:7", "alpine:3.20", "r.example/alpine:3.20").Replace(composeFile)
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("rewritten (-want +got):\n%s", diff)
	}
}

func TestComposeRefused(t *testing.T) {
	for text, want := range map[string]string{
		"services:\n  a: {image: \"${X}\"}\n":             "compose.yaml:2: services.a.image: this is no image: the variable X has no value in the file",
		"services:\n  a: {image: a, imagee: b}\n":         "compose.yaml:2: services.a.imagee: unknown field",
		"services:\n  a: {image: a}\nservice: {}\n":       "compose.yaml:3: service: unknown field",
		"services:\n  a: {image: [a]}\n":                  "services.a.image: this is a list and should be an image",
		"services:\n  a: {image: \"${X:?needed}\"}\n":     "the variable X has no value: needed",
		"services:\n  a: {image: a}\n  b: nginx\n":        "services.b: this is a string and should be a service",
		"services:\n  a: {image: \"{{ .x }}\"}\n":         "this is no image",
		"services:\n  a: {image: a}\n---\nservices: {}\n": "looked for",
	} {
		if _, err := Read(Input{Name: "compose.yaml", Data: []byte(text)}, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

const dockerfileText = "# syntax=docker/dockerfile:1.7\n" +
	"# a comment\n" +
	"ARG BASE=alpine:3.20\n" +
	"ARG REGISTRY=docker.io TAG='1.22'\n" +
	"ARG GO=${REGISTRY}/library/golang:${TAG}\n" +
	"FROM --platform=$BUILDPLATFORM ${GO} AS Build\n" +
	"RUN --mount=type=bind,from=quay.io/team/tools:1,target=/t --mount=type=cache,target=/c \\\n" +
	"    # a comment inside\n" +
	"    go build <<EOF\n" +
	"FROM not/an/image\n" +
	"EOF\n" +
	"FROM build AS test\n" +
	"from ${BASE}\n" +
	"COPY --from=build /a /a\n" +
	"COPY --chown=1 --from=busybox:1.36 /b /b\n" +
	"COPY --from=0 /c /c\n" +
	"FROM ${OTHER:-debian:12} \\\n" +
	"  AS last\n" +
	"FROM scratch\n"

func TestDockerfile(t *testing.T) {
	for name, text := range map[string]string{"LF": dockerfileText, "CRLF": strings.ReplaceAll(dockerfileText, "\n", "\r\n"), "BOM": "\ufeff" + dockerfileText} {
		t.Run(name, func(t *testing.T) {
			d := mustRead(t, "Dockerfile", text, Options{})
			want := []string{
				"Dockerfile:1 syntax: docker/dockerfile:1.7",
				"Dockerfile:6 FROM build: docker.io/library/golang:1.22",
				"Dockerfile:7 RUN --mount from: quay.io/team/tools:1",
				"Dockerfile:13 FROM: alpine:3.20",
				"Dockerfile:15 COPY --from: busybox:1.36",
				"Dockerfile:17 FROM last: debian:12",
			}
			if diff := cmp.Diff(want, found(d)); diff != "" || d.Kind != Dockerfile {
				t.Errorf("%s: images (-want +got):\n%s", d.Kind, diff)
			}
			table := map[string]string{
				"docker/dockerfile:1.7": "r.example/dockerfile:1.7", "docker.io/library/golang:1.22": "r.example/golang:1.22",
				"quay.io/team/tools:1": "r.example/tools:1", "alpine:3.20": "r.example/alpine:3.20", "busybox:1.36": "r.example/busybox:1.36", "debian:12": "r.example/debian:12",
			}
			// The image of an ARG is rewritten where it is the whole default.
			wanted := strings.NewReplacer("docker/dockerfile:1.7", "r.example/dockerfile:1.7", "$BUILDPLATFORM ${GO}", "$BUILDPLATFORM r.example/golang:1.22",
				"quay.io/team/tools:1", "r.example/tools:1", "BASE=alpine:3.20", "BASE=r.example/alpine:3.20", "busybox:1.36", "r.example/busybox:1.36", "debian:12", "r.example/debian:12").Replace(text)
			if diff := cmp.Diff(wanted, rewritten(t, d, table)); diff != "" {
				t.Errorf("rewritten (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDockerfileEscape(t *testing.T) {
	d := mustRead(t, "x", "# escape=`\nFROM `\n  mcr.example/windows:1 `\n  AS a\nCOPY --from=a C:\\x D:\\y\n", Options{})
	if diff := cmp.Diff([]string{"x:3 FROM a: mcr.example/windows:1"}, found(d)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestDockerfileRefused(t *testing.T) {
	for text, want := range map[string]string{
		"ARG BASE\nFROM $BASE\n":         "Dockerfile:2: FROM: $BASE names no image: the variable BASE has no value in the file",
		"FROM a-${TARGETARCH}\n":         "Dockerfile:1: FROM: a-${TARGETARCH} names no image",
		"FROM a\nCOPY --from=$X /a /a\n": "Dockerfile:2: COPY --from: variables are not expanded here",
		"FROM a AS\n":                    "Dockerfile:1: FROM: a FROM has an image, and perhaps AS and a name",
		"FROM a\nFORM b\n":               "Dockerfile:2: FORM: this is no instruction",
		"FROM A:b:c\n":                   "Dockerfile:1: FROM: this is no image",
		"FROM ${BASE%x}\n":               "is not understood",
		"FROM ${BASE\n":                  "is not closed",
	} {
		if _, err := Read(Input{Name: "Dockerfile", Data: []byte(text)}, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}
