package relocate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Receipt is what a destination holds, or an archive: small, plain data that
// is made over there and carried back, so that the next archive brings what is
// missing. Nothing in it depends on when or by whom it was made.
type Receipt struct {
	Version int `json:"version"` // ReceiptVersion
	// Prefix is what the repositories are below at the destination; "" for an
	// archive, whose repositories have their original names.
	Prefix       string              `json:"prefix"`
	Repositories []ReceiptRepository `json:"repositories"` // by their names; never nil
}

// ReceiptVersion is the version of receipts that are written, and the only one
// that is read.
const ReceiptVersion = 1

// A ReceiptRepository is what one repository holds.
type ReceiptRepository struct {
	Name      string                `json:"name"` // whole: "registry.example.com/team/app"
	Tags      map[string]oci.Digest `json:"tags"`
	Manifests []Stored              `json:"manifests"` // by their digests
	Blobs     []Stored              `json:"blobs"`     // by their digests; those that are there, whatever manifests say
	// Missing is what the manifests name and is not there.
	Missing []Stored `json:"missing,omitempty"`
}

// A Stored is a manifest or a blob.
type Stored struct {
	Digest oci.Digest `json:"digest"`
	Size   int64      `json:"size"` // bytes
}

// Held is a blob that a destination holds.
type Held struct {
	Size         int64    // bytes
	Repositories []string // that have it, sorted
}

// Held returns all blobs of the receipt.
func (r Receipt) Held() map[oci.Digest]Held {
	all := map[oci.Digest]Held{}
	for _, repo := range r.Repositories {
		for _, b := range repo.Blobs {
			one := all[b.Digest]
			one.Size = b.Size
			one.Repositories = append(one.Repositories, repo.Name)
			all[b.Digest] = one
		}
	}
	for digest, one := range all {
		slices.Sort(one.Repositories)
		one.Repositories = slices.Compact(one.Repositories)
		all[digest] = one
	}
	return all
}

// Encode returns the receipt as a file: the same bytes for the same content.
func (r Receipt) Encode() ([]byte, error) {
	r.Version = ReceiptVersion
	r.Repositories = slices.Clone(r.Repositories)
	if r.Repositories == nil {
		r.Repositories = []ReceiptRepository{}
	}
	slices.SortFunc(r.Repositories, func(a, b ReceiptRepository) int { return cmp.Compare(a.Name, b.Name) })
	for i := range r.Repositories {
		one := &r.Repositories[i]
		one.Manifests, one.Blobs, one.Missing = ordered(one.Manifests), ordered(one.Blobs), ordered(one.Missing)
		if one.Tags == nil {
			one.Tags = map[string]oci.Digest{}
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(r)
	return b.Bytes(), err
}

// ordered returns content by its digests, each once.
func ordered(all []Stored) []Stored {
	all = append([]Stored{}, all...)
	slices.SortFunc(all, func(a, b Stored) int { return cmp.Or(cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Size, b.Size)) })
	return slices.Compact(all)
}

// ErrNoReceipt says that a document is something else than a receipt.
var ErrNoReceipt = errors.New("it is no receipt")

// ParseReceipt reads a receipt. A document of another kind is ErrNoReceipt; one
// that is a receipt and wrong is an error that names the field.
func ParseReceipt(data []byte) (Receipt, error) {
	var probe struct {
		Version      *int            `json:"version"`
		Repositories json.RawMessage `json:"repositories"`
	}
	if err := json.Unmarshal(data, &probe); err != nil {
		return Receipt{}, fmt.Errorf("%w: %w", ErrNoReceipt, err)
	}
	if probe.Version == nil || probe.Repositories == nil {
		return Receipt{}, ErrNoReceipt
	}
	if *probe.Version != ReceiptVersion {
		return Receipt{}, fmt.Errorf("version: %d is not known, only %d is", *probe.Version, ReceiptVersion)
	}
	var r Receipt
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return Receipt{}, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return Receipt{}, errors.New("something follows the receipt")
	}
	if r.Repositories == nil {
		return Receipt{}, ErrNoReceipt // null
	}
	for i, repo := range r.Repositories {
		if err := repo.check(); err != nil {
			return Receipt{}, fmt.Errorf("repositories[%d].%w", i, err)
		}
	}
	return r, nil
}

// check finds what cannot be.
func (r ReceiptRepository) check() error {
	if n, err := ref.ParseName(r.Name); err != nil || n.String() != r.Name {
		return fmt.Errorf("name: %q is no whole name of a repository", r.Name)
	}
	for _, tag := range slices.Sorted(maps.Keys(r.Tags)) {
		if !ref.ValidTag(tag) {
			return fmt.Errorf("tags: %q is no tag", tag)
		}
		if _, err := ref.ParseDigest(string(r.Tags[tag])); err != nil {
			return fmt.Errorf("tags.%s: %w", tag, err)
		}
	}
	for field, all := range map[string][]Stored{"manifests": r.Manifests, "blobs": r.Blobs, "missing": r.Missing} {
		for i, c := range all {
			if _, err := ref.ParseDigest(string(c.Digest)); err != nil {
				return fmt.Errorf("%s[%d].digest: %w", field, i, err)
			}
			if c.Size < 0 {
				return fmt.Errorf("%s[%d].size: %d is negative", field, i, c.Size)
			}
		}
	}
	return nil
}
