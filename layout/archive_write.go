package layout

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"

	"github.com/entrepot/entrepot/oci"
)

// An ArchiveConfig says where and how an archive is written.
type ArchiveConfig struct {
	// Path is the file of the archive. With more than one volume they are
	// called NAME-0001.tar and so on for NAME.tar.
	Path string
	// Replace allows that files are there already; they are replaced when the
	// new ones are whole. Otherwise it is ErrInvalid.
	Replace bool
	// Stream, if not nil, takes the archive instead of Path: one volume, in
	// one go. A stream that was not written to its end is no archive.
	Stream io.Writer

	// Incomplete says that the contents lack something of the set. What there is
	// is written, for a later run to take over, and stays PATH.partial; the error
	// is ErrIncomplete. It is not for a Stream.
	Incomplete bool

	VolumeSize int64 // the most that a volume may have, in bytes; 0 means one volume of any size
	Jobs       int   // blobs that are read at once; 0 chooses

	Log *slog.Logger // nil discards
	// Observe, if not nil, is told of bytes of blobs that are written, or were
	// found written by an earlier run. It is called from many goroutines and
	// must return fast.
	Observe func(d oci.Digest, bytes int64)
}

func (c ArchiveConfig) jobs() int {
	if c.Jobs > 0 {
		return c.Jobs
	}
	return max(4, 2*runtime.GOMAXPROCS(0)) // enough to hide how long a registry takes to answer
}

func (c ArchiveConfig) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

func (c ArchiveConfig) observe(d oci.Digest, n int64) {
	if c.Observe != nil {
		c.Observe(d, n)
	}
}

// Contents is what an archive is made of. The order of the lists does not
// matter, nor does what stands in them twice.
type Contents struct {
	Images    []SetImage     // what was asked for; nil takes Names
	Names     []Entry        // for index.json: tags, and digests that have no tag
	Manifests []oci.Manifest // with those that only other manifests name
	Blobs     []SourceBlob
	Base      []BaseBlob // blobs that are left out
	Files     []File     // that travel with the images
}

// A SourceBlob is a blob and where it can be read.
type SourceBlob struct {
	Descriptor oci.Descriptor // with the right size
	Open       oci.Source
}

// A File is a small file that travels with the images.
type File struct {
	Name string // a path with slashes, without "." and ".."
	Data []byte
}

// Written says what WriteArchive has written.
type Written struct {
	Paths []string // of the volumes in their order; none of a stream
	Bytes int64    // of all volumes
	Read  int64    // bytes of blobs that were read from their sources
	Kept  int64    // bytes of blobs that an earlier run had written
	Set   SetManifest
}

// ErrIncomplete says that all that there was is written, and is no archive.
var ErrIncomplete = errors.New("the set lacks something")

// WriteArchive writes an archive whose sizes are all known before: every blob
// goes to its place at once, so that the same contents are the same bytes in
// whichever order they come. A blob with other bytes than its digest says is
// ErrMismatch.
//
// A file appears under its name only when it is whole and on the disk. Until
// then it is called PATH.partial, and beside it PATH.partial.journal has the
// blobs that are written. After an error, or when the process was killed, the
// same call goes on from there: a blob of the journal is hashed where it is
// instead of being read from its source. A call for another set takes over the
// blobs that both have.
func WriteArchive(ctx context.Context, cfg ArchiveConfig, contents Contents) (Written, error) {
	if cfg.VolumeSize < 0 {
		return Written{}, oci.Errorf(oci.ErrInvalid, "", "the volume size is negative: %d", cfg.VolumeSize)
	}
	p, err := newPlan(contents, cfg.VolumeSize)
	if err != nil {
		return Written{}, err
	}
	if cfg.Stream != nil {
		return writeStream(ctx, cfg, p)
	}
	return writeFiles(ctx, cfg, p)
}
