package access

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/entrepot/entrepot/oci"
	"golang.org/x/crypto/bcrypt"
)

// MaxCost is the highest cost of a bcrypt hash that is taken: checking a
// password takes a quarter of a second with it, and twice that with each more.
const MaxCost = 12

// maxHtpasswd limits a file, in bytes.
const maxHtpasswd = 16 << 20

// An htpasswd is what such a file says. It is immutable.
type htpasswd struct {
	hashes map[string]oci.Secret // :: user → bcrypt hash
	// decoy is a hash to compare with where there is no such user, so that
	// this takes as long. It is the most expensive one of the file.
	decoy oci.Secret
}

// emptyDecoy stands for the hashes of a file that has none; nobody knows a
// password for it, and no result of comparing with it is looked at.
const emptyDecoy = "$2y$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"

// parseHtpasswd reads "USER:HASH" lines; empty ones and those that start with
// '#' are skipped. Errors begin with the line's number and never show it.
func parseHtpasswd(data []byte) (*htpasswd, error) {
	h := &htpasswd{hashes: map[string]oci.Secret{}, decoy: oci.NewSecret(emptyDecoy)}
	var all []error
	number, highest := 0, 0
	for line := range bytes.Lines(data) {
		number++
		text := strings.TrimRight(string(line), "\r\n \t")
		if text == "" || text[0] == '#' {
			continue
		}
		user, hash, cost, err := parseAccount(text)
		if _, twice := h.hashes[user]; err == nil && twice {
			err = errors.New("the user is there twice")
		}
		if err != nil {
			all = append(all, fmt.Errorf("line %d: %w", number, err))
			continue
		}
		h.hashes[user] = hash
		if cost > highest {
			highest, h.decoy = cost, hash
		}
	}
	return h, errors.Join(all...)
}

func parseAccount(text string) (user string, hash oci.Secret, cost int, err error) {
	user, rest, ok := strings.Cut(text, ":")
	if !ok {
		return "", oci.Secret{}, 0, errors.New("it is not USER:HASH")
	}
	if err := checkUser(user); err != nil {
		return "", oci.Secret{}, 0, err
	}
	if !strings.HasPrefix(rest, "$2") || len(rest) != 60 {
		return "", oci.Secret{}, 0, errors.New("the hash is not bcrypt; make it with htpasswd -B")
	}
	cost, err = bcrypt.Cost([]byte(rest))
	if err != nil {
		return "", oci.Secret{}, 0, errors.New("the bcrypt hash is malformed")
	}
	if cost > MaxCost {
		return "", oci.Secret{}, 0, fmt.Errorf("the bcrypt hash has cost %d, the limit is %d", cost, MaxCost)
	}
	return user, oci.NewSecret(rest), cost, nil
}

// checkUser refuses names that nobody can log in with, and the one that rules
// use for callers who have not logged in.
func checkUser(user string) error {
	switch {
	case user == "":
		return errors.New("the user has no name")
	case user == AnonymousName:
		return errors.New(`nobody can be called "anonymous", which rules say of callers without credentials`)
	case !utf8.ValidString(user) || strings.ContainsFunc(user, unicode.IsControl):
		return errors.New("the user's name has control characters or is not UTF-8")
	}
	return nil
}

// readHtpasswd reads a file. Errors name it, and the line.
func readHtpasswd(path string) (*htpasswd, os.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxHtpasswd+1))
	if err != nil {
		return nil, nil, err
	}
	if len(data) > maxHtpasswd {
		return nil, nil, fmt.Errorf("%s: larger than %d bytes", path, maxHtpasswd)
	}
	h, err := parseHtpasswd(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return h, info, nil
}

// CheckHtpasswd reports what is wrong with a file; nil means that it can be
// used. The error names the file, and each bad line by its number.
func CheckHtpasswd(path string) error {
	_, _, err := readHtpasswd(path)
	return err
}
