package relocate

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Journal is what a run has done so far, in a file that outlives it: a run
// with the same journal does nothing of it again, and goes on with the uploads
// that were under way. It may be lost: the target is then asked what it has.
//
// It is lines of JSON, each after its checksum; a line that was cut, by a
// crash, ends it. A nil Journal keeps nothing and knows nothing. Its methods
// are safe for concurrent use. What is done reaches the disk within a second
// or so, and nobody waits for that: a power cut costs no more than asking the
// target again. The file holds upload sessions, which may be
// signed, so it is its owner's alone to read.
type Journal struct {
	file    *os.File
	dirty   chan struct{} // tells the syncer that there is something to sync
	closing chan struct{} // closed by Close: there is nothing to wait for
	synced  chan error    // the syncer's end, and what went wrong

	mu   sync.Mutex // guards what follows, and the order of writes
	shut bool
	done map[string]bool    // :: what and where → true
	up   map[string]session // :: blob and where → its upload
}

type session struct {
	location string
	size     int64
}

// An entry is a line of a journal.
type entry struct {
	Did     string     `json:"did"` // blob, manifest, tag, session
	Repo    string     `json:"repo"`
	Digest  oci.Digest `json:"digest,omitempty"`
	Tag     string     `json:"tag,omitempty"`
	Session string     `json:"session,omitempty"`
	Size    int64      `json:"size,omitempty"`
}

func (e entry) key() string { return e.Did + " " + e.Repo + "@" + string(e.Digest) }

// OpenJournal opens a journal, a new one where there is none. Whoever opened
// it closes it.
func OpenJournal(name string) (*Journal, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{file: f, dirty: make(chan struct{}, 1), closing: make(chan struct{}), synced: make(chan error, 1), done: map[string]bool{}, up: map[string]session{}}
	good, err := readLines(f, func(raw []byte) error {
		var e entry
		if err := json.Unmarshal(raw, &e); err != nil {
			return err
		}
		j.take(e)
		return nil
	})
	if err == nil {
		err = f.Truncate(good) // a line that was cut
	}
	if err == nil {
		_, err = f.Seek(good, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read journal %s: %w", name, err)
	}
	go func() { j.synced <- j.sync() }() // Close waits for it
	return j, nil
}

// syncEvery is how much of a run a power cut costs at most. Each sync makes a
// file system commit whatever it has, also that of a registry beside us.
const syncEvery = time.Second

// sync syncs the file when there is something, until the journal is closed.
func (j *Journal) sync() error {
	var first error
	for range j.dirty {
		if err := j.file.Sync(); err != nil && first == nil {
			first = err
		}
		select {
		case <-time.After(syncEvery):
		case <-j.closing:
		}
	}
	return first
}

func (j *Journal) take(e entry) {
	switch e.Did {
	case "session":
		j.up[e.key()] = session{e.Session, e.Size}
	case "forget":
		e.Did = "manifest"
		delete(j.done, e.key())
		e.Did = "blob"
		delete(j.done, e.key())
	default:
		j.done[e.key()] = true
	}
}

// Close syncs and closes the file, which stays where it is. Closing it again
// does nothing.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	again := j.shut
	j.shut = true
	j.mu.Unlock()
	if again {
		return nil
	}
	close(j.closing)
	close(j.dirty)
	if err := errors.Join(<-j.synced, j.file.Sync(), j.file.Close()); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}

// write appends an entry; with sync it is soon on the disk.
func (j *Journal) write(e entry, sync bool) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.shut {
		return fmt.Errorf("write journal: %w", os.ErrClosed)
	}
	j.take(e)
	if err := writeLine(j.file, e); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if sync {
		select {
		case j.dirty <- struct{}{}:
		default: // it is going to be synced
		}
	}
	return nil
}

func (j *Journal) did(e entry) bool {
	if j == nil {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done[e.key()]
}

func (j *Journal) blob(n ref.Name, d oci.Digest) bool {
	return j.did(entry{Did: "blob", Repo: n.String(), Digest: d})
}

func (j *Journal) blobDone(n ref.Name, d oci.Digest) error {
	return j.write(entry{Did: "blob", Repo: n.String(), Digest: d}, false)
}

func (j *Journal) manifest(n ref.Name, d oci.Digest) bool {
	return j.did(entry{Did: "manifest", Repo: n.String(), Digest: d})
}

func (j *Journal) manifestDone(n ref.Name, d oci.Digest) error {
	return j.write(entry{Did: "manifest", Repo: n.String(), Digest: d}, true)
}

func (j *Journal) tagDone(at ref.Ref, d oci.Digest) error {
	return j.write(entry{Did: "tag", Repo: at.Name.String(), Tag: at.Tag, Digest: d}, false)
}

// forget notes that the target has lost a manifest or a blob.
func (j *Journal) forget(n ref.Name, d oci.Digest) error {
	return j.write(entry{Did: "forget", Repo: n.String(), Digest: d}, false)
}

// session returns the upload of a blob that was under way, "" for none.
func (j *Journal) session(n ref.Name, d oci.Digest) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.up[entry{Did: "session", Repo: n.String(), Digest: d}.key()].location
}

// confirmed notes what the target has of an upload. That it could not be
// written costs a chunk after a crash, no more.
func (j *Journal) confirmed(n ref.Name, d oci.Digest, location string, size int64) {
	j.write(entry{Did: "session", Repo: n.String(), Digest: d, Session: location, Size: size}, false)
}

var errBadLine = errors.New("not a line that was written here")

// writeLine appends a checksum and a value in one write.
func writeLine(w io.Writer, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(raw), raw))
	return err
}

// readLines calls f for each line that is whole. It returns where the first
// starts that is not, or where all end.
func readLines(r io.Reader, f func(raw []byte) error) (int64, error) {
	good := true
	var off int64
	for b := bufio.NewReader(r); ; {
		line, err := b.ReadString('\n')
		if err == io.EOF {
			return off, nil
		}
		if err != nil {
			return off, err
		}
		raw, err := checkLine(line)
		if err == nil {
			err = f(raw)
		}
		if good = good && err == nil; good {
			off += int64(len(line))
		}
	}
}

func checkLine(line string) ([]byte, error) {
	sum, raw, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if !ok || sum != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(raw))) {
		return nil, errBadLine
	}
	return []byte(raw), nil
}
