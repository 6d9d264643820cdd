package access

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"
)

const (
	// verifiedFor is how long a password that was right is not compared with
	// its bcrypt hash again.
	verifiedFor = 5 * time.Minute
	// maxVerified limits the passwords that are remembered so.
	maxVerified = 10_000
)

// Accounts are those of an htpasswd file, which is read again when it changes.
type accounts struct {
	path string
	log  *slog.Logger
	gate *gate
	key  [32]byte // of the HMAC; random, so that what is remembered is of no use elsewhere

	mu       sync.Mutex // guards the rest
	now      *htpasswd
	info     os.FileInfo            // of the file that now is of, nil where the last reading failed
	failed   string                 // the last problem that was logged
	verified map[[32]byte]time.Time // :: HMAC of user, password and hash → until when

	flights singleflight.Group // comparisons under way, by HMAC
}

func openAccounts(path string, log *slog.Logger) (*accounts, error) {
	now, info, err := readHtpasswd(path)
	if err != nil {
		return nil, err
	}
	a := &accounts{path: path, log: log, gate: newGate(), now: now, info: info, verified: map[[32]byte]time.Time{}}
	rand.Read(a.key[:]) // never fails
	return a, nil
}

// hash returns the hash to compare a user's password with; known is false where
// there is no such user, and the hash then somebody else's.
func (a *accounts) hash(user string) (hash oci.Secret, known bool) {
	info, err := os.Stat(a.path)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil || !same(info, a.info) {
		a.reread(err)
	}
	if hash, known = a.now.hashes[user]; !known {
		hash = a.now.decoy
	}
	return hash, known
}

func same(x, y os.FileInfo) bool {
	return y != nil && os.SameFile(x, y) && x.ModTime().Equal(y.ModTime()) && x.Size() == y.Size()
}

// reread takes a file that has changed. Where it cannot be used, the accounts
// from before stay. The caller holds mu.
func (a *accounts) reread(err error) {
	var next *htpasswd
	var info os.FileInfo
	if err == nil {
		next, info, err = readHtpasswd(a.path)
	}
	if err != nil {
		if a.failed != err.Error() {
			a.log.Error("htpasswd cannot be used; accounts stay as they were", slog.Any("err", err))
			a.failed = err.Error()
		}
		return
	}
	a.now, a.info, a.failed = next, info, ""
	a.log.Info("htpasswd read again", slog.Int("users", len(next.hashes)))
}

// known reports whether there is an account of that name.
func (a *accounts) known(user string) bool {
	_, known := a.hash(user)
	return known
}

var errWrong = errors.New("wrong user name or password")

// remembered reports whether this password was right a short while ago.
func (a *accounts) remembered(key [32]byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	until, ok := a.verified[key]
	return ok && time.Now().Before(until)
}

// compare finds out whether a password is right, at bcrypt's cost. Equal
// questions are answered at once by one comparison. Errors are errWrong and
// errBusy.
func (a *accounts) compare(key [32]byte, hash, password oci.Secret, known bool) error {
	_, err, _ := a.flights.Do(string(key[:]), func() (any, error) {
		if err := a.gate.enter(); err != nil {
			return nil, err
		}
		defer a.gate.leave()
		// The comparison is made for unknown users too: they cost the same.
		if err := bcrypt.CompareHashAndPassword([]byte(hash.Reveal()), []byte(password.Reveal())); err != nil || !known {
			return nil, errWrong
		}
		a.remember(key)
		return nil, nil
	})
	return err
}

func (a *accounts) remember(key [32]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if len(a.verified) >= maxVerified {
		for k, until := range a.verified {
			if now.After(until) {
				delete(a.verified, k)
			}
		}
	}
	for k := range a.verified {
		if len(a.verified) < maxVerified {
			break
		}
		delete(a.verified, k) // any: it costs one comparison
	}
	a.verified[key] = now.Add(verifiedFor)
}

// sum is the name under which a password is remembered. It has the hash, so
// that a changed account is another one.
func (a *accounts) sum(user string, password, hash oci.Secret) (key [32]byte) {
	m := hmac.New(sha256.New, a.key[:])
	for _, part := range []string{user, hash.Reveal(), password.Reveal()} { // neither a user nor a hash has a zero byte
		m.Write([]byte(part))
		m.Write([]byte{0})
	}
	m.Sum(key[:0])
	return key
}
