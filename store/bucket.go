package store

import (
	"context"
	"io"
	"iter"
	"os"
	"time"
)

// A Bucket is a flat space of objects under keys. An object appears at once
// and whole, or not at all. Its methods are safe for concurrent use; what one
// call finished, every later call sees. Errors are of the kinds of package
// oci: ErrNotFound where there is no such object, ErrInvalid for what is no
// key, ErrUnavailable where the storage fails. What else a bucket can do is
// found by assertion: see [Adopter], [Loose] and [Toucher].
type Bucket interface {
	// Open opens an object for reading.
	Open(ctx context.Context, k Key) (Object, error)
	// Put stores an object, and replaces one that is there. It returns nil
	// only once the object would survive a power cut. Data is a record of
	// some kilobytes or a manifest; large content goes through [Adopter].
	Put(ctx context.Context, k Key, data []byte) error
	// Stat returns the size and the age of an object.
	Stat(ctx context.Context, k Key) (Info, error)
	// Delete removes an object for good before it returns nil.
	Delete(ctx context.Context, k Key) error
	// List yields the entries whose key starts with prefix and comes after
	// the given key ("" for all), in the order of their bytes. A deep list
	// yields all objects; one that is not deep cuts each key after the first
	// '/' behind the prefix, and yields what is cut, ending in '/', once. An
	// error ends the sequence. Objects that come and go meanwhile may or may
	// not be seen.
	List(ctx context.Context, prefix, after string, deep bool) iter.Seq2[Entry, error]
}

// An Object is an open object. Whoever receives one closes its Body.
type Object struct {
	Body io.ReadSeekCloser // an *os.File where the object is local
	Info
}

// Info is what a bucket knows about an object.
type Info struct {
	Size    int64 // bytes
	ModTime time.Time
}

// An Entry is one result of a list.
type Entry struct {
	Key  string               // ends in '/' where it stands for all that is below
	Info func() (Info, error) // free where the list knows it, one look at the file otherwise; ErrNotFound where it has gone
}

// An Adopter is a bucket that can make a finished local file an object without
// copying it.
type Adopter interface {
	// Adopt makes f, which stands at path, the object of k, durably as Put
	// does. F stays open and readable, and path is gone, unless there was an
	// error: then it may still be there.
	Adopt(ctx context.Context, k Key, f *os.File, path string) error
}

// A Loose bucket can store a record for whose survival nobody waits.
type Loose interface {
	// PutLoose is Put, but a power cut may take the object, or leave it
	// empty. An object that it replaces is never lost with it.
	PutLoose(ctx context.Context, k Key, data []byte) error
}

// A Toucher is a bucket whose objects' ModTime can be set to now.
type Toucher interface {
	Touch(ctx context.Context, k Key, now time.Time) error
}

// A Copier is a bucket that can make a second object of one, without its bytes
// passing through here. The time of both may be one.
type Copier interface {
	Copy(ctx context.Context, from, to Key) error
}

// A Mover is a bucket that can rename an object.
type Mover interface {
	Move(ctx context.Context, from, to Key) error
}

// A Dropper is a bucket that can remove an object without waiting until that is
// durable.
type Dropper interface {
	Drop(ctx context.Context, k Key) error
}
