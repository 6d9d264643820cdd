package ggcr

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// maxManifest is the largest manifest that is read, in bytes. Registries take
// no larger ones.
const maxManifest = 4 << 20

// RoundTrip answers a request of package remote from the places that the rules
// plan. The answer is what the first one said that could be read; where there
// is none the error is an [*Error]. Redirects are followed, and a blob that
// breaks off is continued by the next place.
func (p *Puller) RoundTrip(req *http.Request) (*http.Response, error) {
	r := parse(req.URL)
	if r.kind == foreign {
		return p.base.RoundTrip(req)
	}
	if req.Body != nil {
		req.Body.Close()
	}
	switch {
	case !reads(req.Method):
		return nil, fmt.Errorf("%s %s: mirror rules are for reading: %w", req.Method, req.URL.Path, errors.ErrUnsupported)
	case r.kind == ping:
		return answer(req, http.Header{"Docker-Distribution-Api-Version": {"registry/2.0"}}, nil), nil
	case r.kind == unknown:
		return nil, fmt.Errorf("%s %s: it is no request for an image: %w", req.Method, req.URL.Path, errors.ErrUnsupported)
	}
	plan := p.cfg.Rules.Plan(r.ref, rules.Pull, p.cfg.Dialect)
	if plan.Err != nil {
		return nil, &Error{Ref: r.ref.String(), Err: plan.Err}
	}
	f := &fetch{p: p, req: req, want: r}
	switch r.kind {
	case manifest:
		f.places = plan.Tries
		return f.manifest()
	case blob:
		f.places = p.servedFirst(r.ref, plan.Tries)
		return f.blob()
	}
	return f.list(plan.Tries)
}

// servedFirst puts the place of the repository's last manifest first: it is
// known to answer, and a rule may lead tags elsewhere than digests.
func (p *Puller) servedFirst(r ref.Ref, places []rules.Try) []rules.Try {
	v, ok := p.served.Load(r.Name)
	if !ok {
		return places
	}
	first := v.(rules.Try)
	first.Ref = first.Ref.Name.WithDigest(r.Digest)
	same := func(t rules.Try) bool {
		return t.Host == first.Host && t.APIRoot == first.APIRoot && t.Ref == first.Ref && t.Scheme == first.Scheme
	}
	return append([]rules.Try{first}, slices.DeleteFunc(slices.Clone(places), same)...)
}

// A fetch answers one request.
type fetch struct {
	p      *Puller
	req    *http.Request
	want   request
	places []rules.Try
	failed []Attempt
	asked  string // the last address
}

// manifest answers from the first place that has a manifest.
func (f *fetch) manifest() (*http.Response, error) {
	rec := recorderOf(f.req.Context())
	res, i, err := f.first(0, func(t *rules.Try) (*http.Response, error) {
		res, err := f.ask(t, f.req.Method, nil)
		if err == nil && f.req.Method == http.MethodHead && !complete(res) {
			res.Body.Close()
			res, err = f.ask(t, http.MethodGet, nil)
		}
		if err != nil {
			return nil, err
		}
		return f.verified(res)
	})
	if err != nil {
		rec.note("", f.failed)
		return nil, err
	}
	rec.note(f.places[i].Reference(), f.failed)
	f.p.served.Store(f.want.ref.Name, f.places[i])
	return res, nil
}

// first asks the places from i on until one succeeds, and returns which.
func (f *fetch) first(i int, ask func(*rules.Try) (*http.Response, error)) (*http.Response, int, error) {
	for ; i < len(f.places); i++ {
		t := &f.places[i]
		res, err := f.usable(t, ask)
		if err == nil {
			return res, i, nil
		}
		if ended := f.req.Context().Err(); ended != nil {
			return nil, 0, err
		}
		f.fail(t, err)
		if f.p.cfg.Dialect.GoesOn&failure(err) == 0 {
			break
		}
	}
	return nil, 0, &Error{Ref: f.want.ref.String(), Attempts: f.failed}
}

// fail takes down what a place said.
func (f *fetch) fail(t *rules.Try, err error) {
	a := Attempt{From: t.Reference(), URL: f.asked, At: t.Origin.String(), Err: redact(err)}
	f.failed = append(f.failed, a)
	f.p.log.Info("place failed", "ref", f.want.ref.String(), "url", a.URL, "err", a.Err)
}

// usable asks a place, unless that cannot be done.
func (f *fetch) usable(t *rules.Try, ask func(*rules.Try) (*http.Response, error)) (*http.Response, error) {
	f.asked = ""
	switch {
	case t.Blocked:
		return nil, errors.New("the rules block it")
	case t.Unusable != "":
		return nil, errors.New(t.Unusable)
	}
	return ask(t)
}

// ask sends the request to a place: by HTTPS and, where the rule says so, by
// HTTP. An answer other than 200 and 206 is an error.
func (f *fetch) ask(t *rules.Try, method string, header http.Header) (*http.Response, error) {
	var res *http.Response
	var err error
	for _, scheme := range f.schemes(t) {
		res, err = f.send(t, scheme, method, header)
		if err == nil {
			return res, nil
		}
		if why := failure(err); why != rules.BadTLS && why != rules.Unreachable || f.req.Context().Err() != nil {
			return nil, err
		}
	}
	return nil, err
}

// schemes returns how a place is spoken to. Where no rule says anything it is
// go-containerregistry's own way: hosts that look local, and names made with
// name.Insecure, by HTTP too.
func (f *fetch) schemes(t *rules.Try) []string {
	switch {
	case t.Scheme == rules.HTTP:
		return []string{"http"}
	case t.Scheme == rules.HTTPSThenHTTP:
		return []string{"https", "http"}
	}
	if t.Original && t.Transport == nil {
		rec := recorderOf(f.req.Context())
		reg, err := name.NewRegistry(t.Host)
		if err == nil && reg.Scheme() == "http" || rec != nil && rec.insecure {
			return []string{"https", "http"}
		}
	}
	return []string{"https"}
}

func (f *fetch) send(t *rules.Try, scheme, method string, header http.Header) (*http.Response, error) {
	ctx := f.req.Context()
	f.asked = f.url(t, scheme)
	client, err := f.p.client(ctx, t, scheme)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, f.asked, nil)
	if err != nil {
		return nil, err
	}
	for _, key := range []string{"Accept", "Range", "User-Agent"} {
		if v := cmp.Or(header.Get(key), f.req.Header.Get(key)); v != "" {
			req.Header.Set(key, v)
		}
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if f.want.kind == list || res.StatusCode == http.StatusOK || res.StatusCode == http.StatusPartialContent {
		return res, nil
	}
	defer res.Body.Close()
	return nil, transport.CheckError(res, http.StatusOK)
}

// url returns the address of what is wanted at a place.
func (f *fetch) url(t *rules.Try, scheme string) string {
	u := url.URL{Scheme: scheme, Host: t.Host, Path: t.APIRoot + "/" + t.Ref.Path + "/"}
	query := url.Values{}
	switch f.want.kind {
	case manifest:
		u.Path += "manifests/" + t.Ref.Identifier()
	case blob:
		u.Path += "blobs/" + string(t.Ref.Digest)
	case list:
		u.Path += f.want.rest
		query = f.req.URL.Query()
	}
	if t.NS != "" {
		query.Set("ns", t.NS)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// list passes on the answer of the last place: what a mirror lists is what it
// has, and not what there is.
func (f *fetch) list(places []rules.Try) (*http.Response, error) {
	if len(places) == 0 {
		return nil, &Error{Ref: f.want.ref.String(), Err: errors.New("the rules lead nowhere")}
	}
	f.places = places[len(places)-1:]
	res, _, err := f.first(0, func(t *rules.Try) (*http.Response, error) { return f.ask(t, f.req.Method, nil) })
	if err != nil {
		return nil, err
	}
	res.Request = f.req
	return res, nil
}

// complete reports whether the answer to a HEAD says all that package remote
// needs.
func complete(res *http.Response) bool {
	_, err := ref.ParseDigest(res.Header.Get("Docker-Content-Digest"))
	return err == nil && res.ContentLength >= 0 && res.Header.Get("Content-Type") != ""
}

// verified checks that an answer is the manifest that is wanted, and reads it:
// what is none must not keep the next place from being asked.
func (f *fetch) verified(res *http.Response) (*http.Response, error) {
	defer res.Body.Close()
	want := f.want.ref.Digest
	if res.Request.Method == http.MethodHead {
		if got := res.Header.Get("Docker-Content-Digest"); want != "" && got != string(want) {
			return nil, fmt.Errorf("it has the digest %s", got)
		}
		out := answer(f.req, res.Header, nil)
		out.ContentLength = res.ContentLength
		return out, nil
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxManifest+1))
	switch {
	case err != nil:
		return nil, err
	case len(raw) > maxManifest:
		return nil, fmt.Errorf("the manifest is larger than %d bytes", maxManifest)
	case want != "" && want.Algorithm().FromBytes(raw) != want:
		return nil, fmt.Errorf("it has the digest %s", want.Algorithm().FromBytes(raw))
	case !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) || !json.Valid(raw):
		return nil, errors.New("the answer is no manifest")
	}
	header := res.Header.Clone()
	header.Set("Content-Length", strconv.Itoa(len(raw)))
	if f.req.Method == http.MethodHead { // the place did not answer one in full
		header.Set("Docker-Content-Digest", string(cmp.Or(want, digest.FromBytes(raw))))
		out := answer(f.req, header, nil)
		out.ContentLength = int64(len(raw))
		return out, nil
	}
	return answer(f.req, header, raw), nil
}

// answer makes an answer of 200.
func answer(req *http.Request, header http.Header, body []byte) *http.Response {
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
}
