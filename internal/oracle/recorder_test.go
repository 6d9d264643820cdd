package oracle

import (
	"errors"
	"io"
	"net/http"
	"strings"
)

var (
	errStop     = errors.New("stop")
	errAnswered = errors.New("an image came from nowhere")
)

// A recorder is a transport that notes the first request for a manifest and
// refuses all. What no transport could send counts as no request.
type recorder struct{ first string }

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	if sendable(q) && r.first == "" && isManifest(q) {
		r.first = q.URL.String()
	}
	return nil, errStop
}

// sendable reports whether a request can be sent at all.
func sendable(q *http.Request) bool {
	return q.URL.Host != "" && (q.URL.Scheme == "http" || q.URL.Scheme == "https")
}

func isManifest(q *http.Request) bool { return strings.Contains(q.URL.Path, "/manifests/") }

// An everyRegistry is a transport that stands for every registry: each is there and
// has no image. It notes the requests for manifests.
type everyRegistry struct{ urls []string }

func (r *everyRegistry) RoundTrip(q *http.Request) (*http.Response, error) {
	if !sendable(q) {
		return nil, errStop
	}
	status := http.StatusOK
	if isManifest(q) {
		status = http.StatusNotFound
		r.urls = append(r.urls, q.URL.String())
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader("{}")), Request: q,
	}, nil
}

// transport returns r as the transport that some clients insist on.
func (r *everyRegistry) transport() *http.Transport {
	t := &http.Transport{Protocols: new(http.Protocols)}
	t.Protocols.SetHTTP1(true)
	t.RegisterProtocol("http", r)
	t.RegisterProtocol("https", r)
	return t
}
