package layout

import (
	"encoding/json"

	"github.com/entrepot/entrepot/oci"
)

// setVersion is the version of the documents below entrepot/.
const setVersion = 1

// A SetManifest says what an archive holds and where. It is the last entry of
// the last volume, "entrepot/set.json", so that what is cut off is never whole.
// It says nothing of file names and times: the same set is the same bytes.
type SetManifest struct {
	Version   int          `json:"version"`
	ID        oci.Digest   `json:"id"` // of this document, with neither this nor the volumes' digests
	Images    []SetImage   `json:"images"`
	Manifests []SetContent `json:"manifests"` // sorted by digest
	Blobs     []SetContent `json:"blobs"`     // sorted by digest
	Base      []BaseBlob   `json:"base,omitempty"`
	Files     []SetFile    `json:"files,omitempty"`
	Volumes   []SetVolume  `json:"volumes"`
}

// A SetImage is an image that was asked for.
type SetImage struct {
	Name   string     `json:"name"` // the original reference, with everything that was said
	Digest oci.Digest `json:"digest"`
	Tag    string     `json:"tag,omitempty"`    // the tag that it is to be kept by, where Name has none; "" leaves that to the reader
	Target string     `json:"target,omitempty"` // where it is to go, as the input says it: a reference, or a path below where all go; "" leaves that to the reader
	Role   string     `json:"role,omitempty"`   // what it is for, as relocate.Role has it
}

// SetContent is a manifest or a blob of a set.
type SetContent struct {
	Digest    oci.Digest `json:"digest"`
	Size      int64      `json:"size"`
	MediaType string     `json:"mediaType,omitempty"` // of a manifest
	Volume    int        `json:"volume,omitempty"`    // 1 is the first
	Offset    int64      `json:"offset,omitempty"`    // in the volume, in bytes
	Parts     []SetPart  `json:"parts,omitempty"`     // instead of Volume and Offset, of a blob that is larger than a volume
}

// A SetPart is a piece of a blob.
type SetPart struct {
	Volume int   `json:"volume"`
	Offset int64 `json:"offset"`
	Size   int64 `json:"size"`
}

// A BaseBlob is a blob that was left out, because where the archive goes has it.
type BaseBlob struct {
	Digest       oci.Digest `json:"digest"`
	Size         int64      `json:"size"`
	Repositories []string   `json:"repositories,omitempty"` // that have it there
}

// A SetFile is a file that travels with the images.
type SetFile struct {
	Name   string     `json:"name"` // a path with slashes
	Size   int64      `json:"size"`
	Digest oci.Digest `json:"digest"`
}

// A SetVolume is a volume of a set, in their order.
type SetVolume struct {
	Size   int64      `json:"size"`   // of the whole file, in bytes
	Digest oci.Digest `json:"digest"` // of its sums.json, which has the digests of all that is in it
}

// volumeID is the first entry of each volume.
type volumeID struct {
	Version int        `json:"version"`
	Set     oci.Digest `json:"set"`
	Volume  int        `json:"volume"` // 1 is the first
	Volumes int        `json:"volumes"`
	Sums    place      `json:"sums"`                   // where sums.json is in this volume
	Last    *place     `json:"set_manifest,omitempty"` // where set.json is, in the last volume
}

// volumeSums says what the entries of one volume are, without the others.
type volumeSums struct {
	Version int         `json:"version"`
	Entries []volumeSum `json:"entries"`
}

// A volumeSum is an entry of a volume.
type volumeSum struct {
	Name   string     `json:"name"`
	Offset int64      `json:"offset"`
	Size   int64      `json:"size"`
	Digest oci.Digest `json:"digest"`
}

// identify returns the ID of the set: it is known before the first byte of a
// blob is.
func (s SetManifest) identify() (oci.Digest, error) {
	s.ID = ""
	volumes := make([]SetVolume, len(s.Volumes))
	for i, v := range s.Volumes {
		volumes[i].Size = v.Size
	}
	s.Volumes = volumes
	raw, err := json.Marshal(s)
	return oci.FromBytes(raw, ""), err
}
