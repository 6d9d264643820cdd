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
// first line, and then a digest a line. It is not synced: what it says is
// checked against the bytes, which costs no more than a read, while to sync
// each blob would hold up all others.
type archiveJournal struct {
	file  *os.File
	whole map[oci.Digest]bool // blobs that an earlier run wrote

	mu sync.Mutex // held while a line is written
}

const journalHead = "entrepot archive 1 "

// openArchiveJournal opens the journal of a set. One of another set is begun
// anew: nothing of it is in the same place. Nobody else may write the archive
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
	j := &archiveJournal{file: f, whole: make(map[oci.Digest]bool)}
	same, err := j.load(set)
	if err != nil || same {
		return j, err
	}
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(f, "%s%s\n", journalHead, set)
	return j, err
}

// load reads the journal and reports whether it is of the set. A line that was
// not finished counts for nothing.
func (j *archiveJournal) load(set oci.Digest) (bool, error) {
	r := bufio.NewReader(j.file)
	head, err := r.ReadString('\n')
	if err != nil && err != io.EOF {
		return false, err
	}
	if head != journalHead+string(set)+"\n" {
		return false, nil
	}
	for {
		line, err := r.ReadString('\n')
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if d, err := ref.ParseDigest(strings.TrimSpace(line)); err == nil {
			j.whole[d] = true
		}
	}
}

// add says that a blob is written.
func (j *archiveJournal) add(d oci.Digest) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err := fmt.Fprintf(j.file, "%s\n", d)
	return err
}

// journalOf reports whether there is a journal of the set.
func journalOf(path string, set oci.Digest) bool {
	return beginsWith(path, []byte(journalHead+string(set)+"\n"))
}
