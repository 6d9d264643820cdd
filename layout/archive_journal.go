package layout

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// An archiveJournal says which blobs of an archive are written: the set in its
// first line, and then a line for each blob with its digest, the number of volumes
// and its places in them. It is not synced: what it says is
// checked against the bytes, which costs no more than a read, while to sync
// each blob would hold up all others.
type archiveJournal struct {
	file  *os.File
	whole map[oci.Digest]bool   // blobs that an earlier run wrote
	other map[oci.Digest]string // :: digest → number of volumes and places of a blob that was written for another set

	mu sync.Mutex // held while a line is written
}

const journalHead = "entrepot archive 1 "

// openArchiveJournal opens the journal of a set. One of another set, of which
// nothing is in the same place, is begun anew, unless something of it can be taken
// over: then that is up to the caller. Nobody else may write the archive
// meanwhile.
func openArchiveJournal(path string, set oci.Digest) (_ *archiveJournal, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := tryLock(f); err != nil {
		return nil, oci.Errorf(oci.ErrInvalid, "", "another process writes this archive: %s is locked: %w", path, err)
	}
	j := &archiveJournal{file: f, whole: make(map[oci.Digest]bool), other: make(map[oci.Digest]string)}
	same, err := j.load(set)
	if err != nil || same || len(j.other) > 0 {
		return j, err
	}
	return j, j.begin(set)
}

// begin begins the journal anew.
func (j *archiveJournal) begin(set oci.Digest) error {
	if err := j.file.Truncate(0); err != nil {
		return err
	}
	_, err := fmt.Fprintf(j.file, "%s%s\n", journalHead, set)
	return err
}

// load reads the journal and reports whether it is of the set. A line that was
// not finished counts for nothing.
func (j *archiveJournal) load(set oci.Digest) (bool, error) {
	r := bufio.NewReader(j.file)
	head, err := r.ReadString('\n')
	if err != nil && err != io.EOF {
		return false, err
	}
	same := head == journalHead+string(set)+"\n"
	for {
		line, err := r.ReadString('\n')
		if err == io.EOF {
			return same, nil
		}
		if err != nil {
			return false, err
		}
		text, places, _ := strings.Cut(strings.TrimSpace(line), " ")
		d, err := ref.ParseDigest(text)
		switch {
		case err != nil:
		case same:
			j.whole[d] = true
		case places != "" && strings.HasPrefix(head, journalHead):
			j.other[d] = places
		}
	}
}

// add says that a blob is written, and where.
func (j *archiveJournal) add(d oci.Digest, places string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err := fmt.Fprintf(j.file, "%s %s\n", d, places)
	return err
}

// journalOf reports whether there is a journal of the set.
func journalOf(path string, set oci.Digest) bool {
	return beginsWith(path, []byte(journalHead+string(set)+"\n"))
}
