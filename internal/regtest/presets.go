package regtest

import (
	"net/http"
	"time"
)

// The faults by name, each with where it was seen.

// CutAt closes the connection after n bytes of the body (K; C5;
// containerd#4908, stereoscope#695: everything started again).
func CutAt(n int64) Fault { return Fault{End: EndCut, At: n} }

// ResetAt resets the connection after n bytes of the body (reliability 5, row
// 2; containerd PR#13915: a reset was not resumed).
func ResetAt(n int64) Fault { return Fault{End: EndReset, At: n} }

// StallAt sends n bytes of the body and then nothing until Release (row 2;
// container-libs#777: a pull hung for ever).
func StallAt(n int64) Fault { return Fault{End: EndStall, At: n} }

// HangUp closes the connection before the status line.
func HangUp() Fault { return Fault{End: EndCut, At: -1} }

// Slow sends n bytes at a time (K; containerd#10624: a slow mirror eats the
// budget of the pull).
func Slow(n int, every time.Duration) Fault { return Fault{Drip: Drip{n, every}} }

// Held sends no headers until Release (L; containerd PR#13682: registries that
// scan before they answer).
func Held() Fault { return Fault{Hold: true} }

// Status answers with a status and an error document.
func Status(code int) Fault { return Fault{Status: code} }

// Busy answers 429 with Retry-After, in seconds or as a date; "" leaves the
// header out (K; row 9).
func Busy(retryAfter string) Fault {
	f := Fault{Status: http.StatusTooManyRequests}
	if retryAfter != "" {
		f.Header = http.Header{"Retry-After": {retryAfter}}
	}
	return f
}

// HTML answers 200 with a web page, as a captive portal does (row 5; B5;
// harbor#23882).
func HTML() Fault {
	return Fault{Body: []byte("<!DOCTYPE html><title>Please log in</title>\n"),
		Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}}
}

// Schema1 answers with a manifest of the first schema, whose digest is not
// that of its bytes (B9).
func Schema1() Fault {
	return Fault{Body: []byte(`{"schemaVersion":1,"name":"x","tag":"y","fsLayers":[],"history":[],"signatures":[]}`),
		Header: http.Header{"Content-Type": {"application/vnd.docker.distribution.manifest.v1+prettyjws"}}}
}

// Huge answers with a manifest of n bytes (K: the 5 MB manifest; row 31). It
// is valid JSON.
func Huge(n int) Fault {
	const head, tail = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"x":"`, `"}}`
	raw := make([]byte, max(n, len(head)+len(tail)))
	for i := range raw {
		raw[i] = 'x'
	}
	copy(raw, head)
	copy(raw[len(raw)-len(tail):], tail)
	return Fault{Body: raw, Header: http.Header{"Content-Type": {"application/vnd.oci.image.index.v1+json"}}}
}

// NoDigest leaves Docker-Content-Digest out (B2).
func NoDigest() Fault { return Fault{Header: http.Header{"Docker-Content-Digest": nil}} }

// WrongDigest says a Docker-Content-Digest that is not that of the body.
func WrongDigest(d string) Fault { return Fault{Header: http.Header{"Docker-Content-Digest": {d}}} }

// NoRange answers 200 and everything to a Range (row 3; container-libs#1114:
// some nodes of registry.k8s.io's CDN).
func NoRange() Fault { return Fault{IgnoreRange: true} }

// WrongRange answers 206 with that Content-Range, whatever was asked; ""
// leaves the header out (row 3).
func WrongRange(contentRange string) Fault {
	f := Fault{Header: http.Header{"Content-Range": nil}}
	if contentRange != "" {
		f.Header.Set("Content-Range", contentRange)
	}
	return f
}

// ForeignLink says that the next page is elsewhere (B11;
// go-containerregistry#2332).
func ForeignLink(url string) Fault {
	return Fault{Header: http.Header{"Link": {"<" + url + `>; rel="next"`}}}
}

// Moving lets something happen after the answer: with Match{Kind: Manifest,
// Method: HEAD, Times: 1} a tag that moves between HEAD and GET (K; row 40).
func Moving(move func()) Fault { return Fault{After: move} }
