package relocate

import (
	"errors"

	"github.com/entrepot/entrepot/oci"
)

// A Report is what a run came to. Its JSON form is that of the contract,
// section 4.
type Report struct {
	Images  []ImageReport `json:"images"`
	Totals  Totals        `json:"totals"`
	Outputs []string      `json:"outputs"` // files that were written; never nil
}

// The results of an image.
const (
	Copied  = "copied"  // something was written for it
	Present = "present" // it was there
	Failed  = "failed"
)

// An ImageReport is what became of one image.
type ImageReport struct {
	Source    string     `json:"source"`
	Digest    oci.Digest `json:"digest"` // at the target; "" where it is not known
	Target    string     `json:"target"`
	Result    string     `json:"result"`
	Error     string     `json:"error"`
	Class     string     `json:"class,omitempty"` // of the error, one of the kinds of package oci
	Hint      string     `json:"hint,omitempty"`  // what may be done about it
	Referrers int        `json:"referrers"`
	Foreign   int        `json:"foreign,omitempty"`         // layers that stay where their URLs say
	Kept      bool       `json:"kept,omitempty"`            // the target's tag was something else, and stays that
	Original  oci.Digest `json:"source_digest,omitempty"`   // where Digest is another, as of a trimmed index
	Previous  oci.Digest `json:"previous_digest,omitempty"` // what the tag was before, where that is known
	Blobs     BlobReport `json:"blobs"`
}

// A BlobReport counts blobs, and the bytes of blobs. Bytes that several images
// share are counted at the one that moved them.
type BlobReport struct {
	Pushed      int64 `json:"pushed"`
	Mounted     int64 `json:"mounted"`
	Present     int64 `json:"present"`
	ReadBytes   int64 `json:"read_bytes"`
	PushedBytes int64 `json:"pushed_bytes"`
}

// Totals are the sums. Of bytes those of blobs are meant; unique bytes count
// each blob of the set once, whether it had to be copied or not.
type Totals struct {
	Images         int     `json:"images"`
	Failed         int     `json:"failed"`
	SourceBytes    int64   `json:"source_bytes"`
	UniqueBytes    int64   `json:"unique_bytes"`
	PushedBytes    int64   `json:"pushed_bytes"`
	LeftBytes      int64   `json:"left_bytes,omitempty"` // left out of an archive: they are where it goes
	Mounted        int64   `json:"mounted"`
	SourceRequests int64   `json:"source_requests"`
	TargetRequests int64   `json:"target_requests"`
	Seconds        float64 `json:"seconds"`
}

func (r *run) report() Report {
	rep := Report{Images: []ImageReport{}, Outputs: []string{}}
	t := &rep.Totals
	for _, img := range r.images {
		one := img.report()
		rep.Images = append(rep.Images, one)
		t.Images++
		if one.Result == Failed {
			t.Failed++
		}
		t.PushedBytes += one.Blobs.PushedBytes
		t.Mounted += one.Blobs.Mounted
	}
	t.SourceBytes, t.UniqueBytes = r.source.Load(), r.blobs.unique()
	if r.cfg.Requests != nil {
		t.SourceRequests, t.TargetRequests = r.cfg.Requests()
	}
	t.Seconds = r.cfg.Now().Sub(r.started).Seconds()
	return rep
}

func (img *image) report() ImageReport {
	img.mu.Lock()
	defer img.mu.Unlock()
	one := ImageReport{
		Source: img.pair.Source.String(), Target: img.pair.Target.String(), Digest: img.root.Digest,
		Referrers: img.referrers, Foreign: img.foreign, Kept: img.kept,
		Blobs: BlobReport{
			Pushed: img.pushed.Load(), Mounted: img.mounted.Load(), Present: img.present.Load(),
			ReadBytes: img.readBytes.Load(), PushedBytes: img.pushedBytes.Load(),
		},
	}
	if img.source.Digest != img.root.Digest {
		one.Original = img.source.Digest
	}
	if img.existing != img.root.Digest {
		one.Previous = img.existing
	}
	switch {
	case img.err != nil:
		one.Result, one.Error = Failed, img.err.Error()
		one.Class, one.Hint = Class(img.err), hintOf(img.err)
	case img.wroteManifests.Load()+img.wroteTags.Load()+img.pushed.Load()+img.mounted.Load() > 0:
		one.Result = Copied
	default:
		one.Result = Present
	}
	return one
}

// kinds are the kinds of error, in the order in which they are looked for,
// with what may be done about them.
var kinds = []struct {
	err         error
	class, hint string
}{
	{oci.ErrUnauthorized, "unauthorized", "log in to the registry, or give its credentials with --authfile"},
	{oci.ErrDenied, "denied", "the account may not do this; ask for the right to it"},
	{oci.ErrNotFound, "not found", ""},
	{oci.ErrTooLarge, "too large", ""},
	{oci.ErrMismatch, "mismatch", "the bytes are not those that the digest names; ask whoever runs that registry"},
	{oci.ErrUnsupported, "unsupported", ""},
	{oci.ErrInvalid, "invalid", ""},
	{oci.ErrUnavailable, "unavailable", "run it again: what is in place is not copied again"},
}

// Class names the kind of an error in a word or two, as reports do; "other"
// where it has none.
func Class(err error) string {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.class
		}
	}
	return "other"
}

// hintOf says what may be done about an error, "" where nothing is known.
func hintOf(err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.hint
		}
	}
	return ""
}

// A hinted error knows better what may be done about it than its kind.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }
