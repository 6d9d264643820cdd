package remote

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// Credentials are a source of credentials, safe for concurrent use.
type Credentials interface {
	// Credential returns what to use for a repository of a registry, the zero
	// Credential where nothing is known. Host is the registry, with its port
	// where its URL has one, "docker.io" for Docker Hub; path may be "".
	Credential(ctx context.Context, host, path string) (Credential, error)
}

// A forgetter is Credentials that remember what a helper said, and can be told
// that it is no longer right.
type forgetter interface {
	forget(host, path string)
	forgetAll()
}

// A Credential is one way to be somebody. It is comparable. The zero value is
// anonymous.
type Credential struct {
	Username      string
	Password      Secret
	IdentityToken Secret // exchanged for tokens at the registry's token service
	RegistryToken Secret // a bearer token that is used as it is
}

// Anonymous reports whether c says nothing.
func (c Credential) Anonymous() bool { return c == Credential{} }

// basic returns the value of an Authorization header, "" where there is no
// name and password.
func (c Credential) basic() string {
	if c.Username == "" || c.Password.Empty() {
		return ""
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password.Reveal()))
}

// Static returns Credentials that are the same for every registry. Use them
// for one endpoint.
func Static(username string, password Secret) Credentials {
	return static{Username: username, Password: password}
}

type static Credential

func (s static) Credential(context.Context, string, string) (Credential, error) {
	return Credential(s), nil
}

// PasswordFile returns Credentials with a password that stands in a file,
// without the line ends around it. The file is read again when it changes.
func PasswordFile(username, file string) Credentials {
	return &passwordFile{username: username, file: watchedFile[Secret]{path: file, parse: func(raw []byte) (Secret, error) {
		return NewSecret(strings.Trim(string(raw), "\r\n")), nil
	}}}
}

type passwordFile struct {
	username string
	file     watchedFile[Secret]
}

func (p *passwordFile) Credential(context.Context, string, string) (Credential, error) {
	password, err := p.file.get()
	if err != nil {
		return Credential{}, err
	}
	return Credential{Username: p.username, Password: password}, nil
}

// maxFile is the largest file of credentials that is read, in bytes.
const maxFile = 4 << 20

// A watchedFile is a file that is read once, and again whenever its size or
// time of modification changes.
type watchedFile[T any] struct {
	path  string
	parse func([]byte) (T, error)

	mu    sync.Mutex // guards what follows
	known bool
	size  int64
	mtime time.Time
	value T
}

func (w *watchedFile[T]) get() (T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var none T
	info, err := os.Stat(w.path)
	if err != nil {
		return none, fmt.Errorf("read credentials: %w", err)
	}
	if w.known && info.Size() == w.size && info.ModTime().Equal(w.mtime) {
		return w.value, nil
	}
	raw, err := readFile(w.path)
	if err != nil {
		return none, fmt.Errorf("read credentials: %w", err)
	}
	value, err := w.parse(raw)
	if err != nil {
		return none, fmt.Errorf("read credentials in %s: %w", w.path, err)
	}
	w.known, w.size, w.mtime, w.value = true, info.Size(), info.ModTime(), value
	return value, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(raw) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return raw, err
}
