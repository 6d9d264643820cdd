package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/internal/edge"
	"github.com/entrepot/entrepot/proxy"
	"github.com/entrepot/entrepot/store"
)

// Where we listen when nothing else is said.
const (
	defaultListen = "127.0.0.1:5000"
	defaultAdmin  = "127.0.0.1:5001"
	defaultDrain  = 30 * time.Second
	defaultStall  = 60 * time.Second
)

// A config is everything that a server needs to know: the file's meaning, with
// defaults in place and flags applied.
type config struct {
	from          string // the file, "" where there was none
	written       file   // what stands there
	listen, admin string
	externalHosts []string
	drain         time.Duration
	drainDelay    time.Duration // of drain; byProbes where the file has none
	conns         edge.Limits   // of connections of clients
	quietRequests bool          // requests that went well are logged at debug only
	jsonLog       bool
	tlsCert       string // with tlsKey; "" for plain HTTP
	tlsKey        string
	storage       string        // a directory
	gcInterval    time.Duration // 0: never
	limits        store.Limits
	scrub         int64 // bytes a second; 0: none
	policy        access.Policy
	htpasswd      string // "" for none
	issuers       []access.Issuer
	tokenKey      string         // "" where the store keeps one
	clientCA      string         // "" where no client certificates are asked for
	externalURL   string         // without a slash at its end, "" for none
	cidr          []netip.Prefix // none means everybody
	upstreams     []upstream
	steering      steering // how they are reached
	hosted        []string // patterns of names that are ours; none means that nothing is
	sparse        bool
	archives      []archiveTable
	prefetch      []prefetch
}

// An upstream is one [[upstream]] table.
type upstream struct {
	name            string // a host, or "*.suffix"
	url             string // "" for a wildcard: the host that was asked for
	mirrors         []string
	isDefault       bool
	aliases         []string
	allowPrivate    bool
	tokenHosts      []string
	account         account   // for what no part is
	turns           []account // that take turns with it; see part
	parts           []part
	passthrough     bool          // callers log in themselves
	tagTTL          time.Duration // 0: always ask; neverAsk: never again
	immutable       []*regexp.Regexp
	maxStale        time.Duration // 0: for as long as it takes
	serveStaleOn404 bool
	tags            []proxy.TagTTL
	revalidate      bool          // stale tags are answered first, then checked
	authGrace       time.Duration // as in proxy.Policy, like the next two
	confirm404      time.Duration
	offlineProof    time.Duration
	budget          budget
	parallelism     int // connections that may fetch one blob; 0: the proxy's default
}

// neverAsk is the tagTTL of an upstream whose tags are never asked for again.
const neverAsk time.Duration = -1

// serveFlags are the flags of serve; "" where one was not given.
type serveFlags struct{ config, listen, admin, storage string }

// loadConfig finds and reads the file, applies the flags, and fills in
// defaults. The error of a bad file is [problems].
func loadConfig(env Env, flags serveFlags) (config, error) {
	var f file
	l := lines{}
	name, data, err := readConfigFile(env, flags.config)
	if err != nil {
		return config{}, err
	}
	if name != "" {
		if f, l, err = parseFile(name, data); err != nil {
			return config{}, err
		}
	}
	if err := flags.check(); err != nil {
		return config{}, err
	}
	c := &checker{file: name, lines: l, env: env}
	cfg := c.config(f, flags)
	if all := append(c.sorted(), c.inRules...); len(all) > 0 {
		return config{}, all
	}
	if cfg.storage == "" {
		cfg.storage, err = defaultStorage(env)
	} else {
		cfg.storage, err = filepath.Abs(cfg.storage)
	}
	return cfg, err
}

// readConfigFile finds the file in the order that the contract gives. No file
// at all is no error, its name is then "".
func readConfigFile(env Env, flag string) (string, []byte, error) {
	for _, explicit := range []struct{ path, from string }{{flag, "--config"}, {env.Getenv("ENTREPOT_CONFIG"), "$ENTREPOT_CONFIG"}} {
		if explicit.path == "" {
			continue
		}
		data, err := os.ReadFile(explicit.path)
		if err != nil {
			return "", nil, usageError(fmt.Errorf("read configuration: %w", err), "the name comes from "+explicit.from)
		}
		return explicit.path, data, nil
	}
	for _, path := range configPlaces(env) {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", nil, usageError(fmt.Errorf("read configuration: %w", err), "")
		}
		return path, data, nil
	}
	return "", nil, nil
}

func configPlaces(env Env) []string {
	places := []string{"entrepot.toml"}
	if dir := userDir(env, "XDG_CONFIG_HOME", ".config"); dir != "" {
		places = append(places, filepath.Join(dir, "entrepot", "entrepot.toml"))
	}
	return append(places, "/etc/entrepot/entrepot.toml")
}

// userDir returns a directory of the XDG base directory specification, "" for
// a user without a home.
func userDir(env Env, variable, below string) string {
	// The specification has relative paths ignored.
	if dir := env.Getenv(variable); filepath.IsAbs(dir) {
		return dir
	}
	if home := env.Getenv("HOME"); home != "" {
		return filepath.Join(home, below)
	}
	return ""
}

func defaultStorage(env Env) (string, error) {
	dir := userDir(env, "XDG_DATA_HOME", filepath.Join(".local", "share"))
	if dir == "" {
		return "", usageError(errors.New("there is no home directory to keep images in"), "name a directory with --storage")
	}
	return filepath.Join(dir, "entrepot"), nil
}

func (f serveFlags) check() error {
	for _, a := range []struct{ flag, addr string }{{"--listen", f.listen}, {"--admin", f.admin}} {
		if a.addr == "" {
			continue
		}
		if err := checkAddr(a.addr); err != nil {
			return usageError(fmt.Errorf("%s: %w", a.flag, err), "write it as HOST:PORT, for example "+defaultListen)
		}
	}
	if f.storage == "" {
		return nil
	}
	_, err := storageDir(f.storage)
	if err != nil {
		return usageError(fmt.Errorf("--storage: %w", err), hintOf(err))
	}
	return nil
}

// checkAddr checks an address to listen on.
func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is no address with a port", addr)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has no port number", addr)
	}
	if strings.ContainsAny(host, "/ ") {
		return fmt.Errorf("%q is no address with a port", addr)
	}
	return nil
}

// isLoopback reports whether only this machine can reach a listener there.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// storageDir reads a storage URL: a path, or file:// and one.
func storageDir(url string) (string, error) {
	if rest, ok := strings.CutPrefix(url, "file://"); ok {
		if !strings.HasPrefix(rest, "/") {
			return "", fmt.Errorf("%q names a host; file:// is followed by an absolute path", url)
		}
		return rest, nil
	}
	if scheme, _, ok := strings.Cut(url, "://"); ok {
		if scheme == "s3" {
			return "", later("storage on S3")
		}
		return "", fmt.Errorf("storage %q: only file:// and paths are known", scheme+"://")
	}
	return url, nil
}

// errLater says that this version does not do something that the
// configuration knows how to ask for.
type errLater string

func (e errLater) Error() string { return string(e) + " is not supported yet" }

func later(what string) error { return errLater(what) }

func hintOf(err error) string {
	if _, ok := errors.AsType[errLater](err); ok {
		return "this version of Entrepot does not act on it; leave it out"
	}
	return ""
}
