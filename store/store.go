package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// Config says how a [Store] behaves. The zero value works.
type Config struct {
	Log           *slog.Logger     // nil: discard
	Now           func() time.Time // nil: time.Now
	ManifestBytes int64            // RAM for manifests, in each of the two pools, in bytes; 0: 16 MiB
	Records       int              // how many tags, manifest records and links each pool keeps in RAM, of each kind; 0: 16,384
	Limits        Limits           // of the cache; kept in the background
	Scrub         int64            // bytes that are read again each second, to find damage; 0: none
	Observe       func(Event)      // told of what the store does on its own, from its goroutines; must not block; nil: nobody listens

	// Fresh tells whether a tag of an upstream's repository, which was last
	// confirmed then, is answered without asking the upstream. Nil means that all
	// are, so that [Store.Forget] leaves their records alone.
	Fresh func(host, tag string, checked time.Time) bool

	Sparse bool // the vault accepts manifests that name content which is not there

	before func(step) (bool, error) // see files; for tests
	boot   string                   // stands for bootID; for tests
	wrap   func(*Disk) Bucket       // what stands for the bucket; for tests
	rand   func() string            // stands for random in names that are never used again; for tests
}

func (c Config) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

func (c Config) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func (c Config) random() string {
	if c.rand == nil {
		return random()
	}
	return c.rand()
}

func (c Config) manifestBytes() int64 { return cmp.Or(c.ManifestBytes, 16<<20) }
func (c Config) records() int64       { return int64(cmp.Or(c.Records, 16<<10)) }

// A Store is an open directory of content. Its methods are safe for concurrent
// use.
type Store struct {
	dir    string
	cfg    Config
	log    *slog.Logger
	files  files
	disk   *Disk  // where spools and uploads become objects
	bucket Bucket // all objects; today the disk itself
	lock   *os.File

	cache *Cache
	vault *Vault
	usage usage

	evictor evictor

	partialMu sync.Mutex
	partials  map[oci.Digest]string // :: digest → path of the spool that a fill may go on with

	boot string // bootID; "" where there is none

	touches chan touch
	checks  chan oci.Digest // blobs of the cache to read again; nil where nobody does
	stop    context.CancelFunc
	work    sync.WaitGroup
	closed  sync.Once
	err     error // of Close
}

// Cache returns the pool of what can be fetched again.
func (s *Store) Cache() *Cache { return s.cache }

// Vault returns the pool of what was pushed.
func (s *Store) Vault() *Vault { return s.vault }

// Open opens the store in dir, and makes one where dir is empty or absent. It
// takes dir for itself: while another process has it, the error says so. The
// store is ready when Open returns, however much it holds and however the last
// process ended; counting and sweeping go on in the background until Close.
func Open(dir string, cfg Config) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background()) // ends with Close
	s := &Store{dir: dir, cfg: cfg, log: cfg.log(), files: files{cfg.before},
		partials: map[oci.Digest]string{}, boot: cmp.Or(cfg.boot, bootID()), touches: make(chan touch, 1024), stop: stop}
	s.disk = newDisk(dir, s.files)
	s.disk.temp = s.path("tmp") // where recovery sweeps what a crash leaves
	s.bucket = s.disk
	if cfg.wrap != nil {
		s.bucket = cfg.wrap(s.disk)
	}
	s.cache, s.vault = newCache(s), newVault(s)
	if err := s.open(); err != nil {
		stop()
		if s.lock != nil {
			err = errors.Join(err, s.lock.Close())
		}
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.usage.begin()
	s.evictor.due.wake = make(chan struct{}, 1)
	s.work.Go(func() {
		s.count(ctx)
		s.evictAlways(ctx)
	})
	s.work.Go(func() { s.sweepAlways(ctx) })
	s.work.Go(func() { s.touchAlways(ctx) })
	if s.cfg.Scrub > 0 {
		s.checks = make(chan oci.Digest, 64)
		s.work.Go(func() { s.checkAlways(ctx) })
		s.work.Go(func() { s.scrubAlways(ctx) })
	}
	return s, nil
}

// Close waits for the background work, makes the progress of uploads durable
// and gives the directory back. Spools must have ended before. Closing again does nothing.
func (s *Store) Close() error {
	s.closed.Do(func() {
		s.stop()
		if s.attached() {
			return
		}
		s.work.Wait()
		s.vault.syncUploads()
		err := s.files.remove(s.path("RUN"))
		if err == nil {
			err = s.files.syncDir(s.dir)
		}
		if err = errors.Join(err, s.lock.Close()); err != nil {
			s.err = fmt.Errorf("close store: %w", err)
		}
	})
	return s.err
}

// Attach opens the store in dir beside the process that serves it, for looking
// at it and for removing from it. It takes no lock, runs nothing in the
// background and never touches what is on its way in: spools and uploads are
// refused. ErrNotFound means that there is no store in dir. It is to be closed too.
func Attach(dir string, cfg Config) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{dir: dir, cfg: cfg, log: cfg.log(), files: files{cfg.before}, partials: map[oci.Digest]string{},
		touches: make(chan touch), stop: func() {}}
	if err := s.readFormat(); err != nil {
		return nil, fmt.Errorf("open store: %w", diskError(err))
	}
	s.disk = newDisk(dir, s.files) // what it writes is written beside its place: tmp is the other process's
	s.disk.shared = true
	s.bucket = s.disk
	if cfg.wrap != nil {
		s.bucket = cfg.wrap(s.disk)
	}
	s.cache, s.vault = newCache(s), newVault(s)
	return s, nil
}

// errAttached refuses what only the owner of the directory does.
var errAttached = oci.Errorf(oci.ErrUnsupported, "", "the store was opened beside its server: nothing can be taken in")

func (s *Store) attached() bool { return s.lock == nil }

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }
