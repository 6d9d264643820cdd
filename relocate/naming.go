package relocate

import (
	"errors"
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// DefaultNaming is the scheme where nothing else is said.
const DefaultNaming = "flat-md5"

// Namings are the forms that [NamingConfig.Scheme] may have.
func Namings() []string {
	return []string{"flat-md5", "flat-sha256", "host-path", "path", "components:N", "rules:FILE", "template:TEXT"}
}

// A NamingConfig says how images are called at the target.
type NamingConfig struct {
	// Scheme is one of [Namings]; "" means [DefaultNaming].
	Scheme string
	// Prefix is the registry, and the path in it, below which everything goes;
	// see [ParsePrefix].
	Prefix ref.Name
	// KeepTag is the template of the tags that keep images which are named by
	// their digest alone; "" means [DefaultKeepTag].
	KeepTag string
	// ReadFile reads the FILE of "rules:FILE". It is needed for that scheme
	// alone.
	ReadFile func(name string) ([]byte, error)
}

// A Naming gives every image its name at the target. It does not change, any
// number of goroutines may use it, and the same image always gets the same
// name.
type Naming struct {
	prefix ref.Name
	keep   *keeper
	// name returns the repository at the target.
	name func(r ref.Ref) (ref.Name, error)
	// place returns where all repositories of a host are, their paths
	// unchanged; false where the scheme does not keep paths.
	place func(host string) (ref.Name, bool)
}

// NewNaming reads a scheme. An error says what is wrong with it, with the
// prefix or with the template.
func NewNaming(c NamingConfig) (*Naming, error) {
	keep, err := newKeeper(c.KeepTag)
	if err != nil {
		return nil, err
	}
	n := &Naming{prefix: c.Prefix, keep: keep, place: func(string) (ref.Name, bool) { return ref.Name{}, false }}
	scheme, arg, _ := strings.Cut(c.Scheme, ":")
	switch {
	case c.Scheme == "", c.Scheme == "flat-md5":
		n.name = n.flat(md5Hex)
	case c.Scheme == "flat-sha256":
		n.name = n.flat(sha256Hex)
	case c.Scheme == "host-path":
		n.name, n.place = n.hostPath, func(host string) (ref.Name, bool) { return n.below(hostComponent(host)), true }
	case c.Scheme == "path":
		n.name, n.place = n.samePath, func(string) (ref.Name, bool) { return n.prefix, true }
	case scheme == "components" && arg != "":
		err = n.setComponents(arg)
	case scheme == "rules" && arg != "":
		err = n.setRules(arg, c.ReadFile)
	case scheme == "template" && arg != "":
		err = n.setTemplate(arg)
	default:
		err = fmt.Errorf("%q is no naming: use %s", c.Scheme, strings.Join(Namings(), ", "))
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

// Target returns what an image is called at the target: its repository there,
// its tag ("latest" where it has neither tag nor digest, a tag to keep it where
// it has a digest alone) and its digest. An error says why the image cannot
// have that name.
func (n *Naming) Target(r ref.Ref) (ref.Ref, error) {
	r = r.WithDefaultTag()
	name, err := n.name(r)
	if err != nil {
		return ref.Ref{}, err
	}
	if err := n.fits(name); err != nil {
		return ref.Ref{}, err
	}
	t := ref.Ref{Name: name, Tag: r.Tag, Digest: r.Digest}
	if t.Tag == "" {
		t.Tag, err = n.keep.tag(r.Digest)
	}
	return t, err
}

// Prefix returns what all names are below.
func (n *Naming) Prefix() ref.Name { return n.prefix }

// Place returns where all repositories of a host are at the target, their
// paths unchanged. It is false where the scheme changes paths.
func (n *Naming) Place(host string) (ref.Name, bool) { return n.place(host) }

// fits checks a repository's name, and what its registry says to it.
func (n *Naming) fits(name ref.Name) error {
	if !ref.ValidPath(name.Path) {
		if len(name.Path) > ref.MaxPath {
			return fmt.Errorf("%s: the repository is %d bytes long, %d are allowed", name, len(name.Path), ref.MaxPath)
		}
		return fmt.Errorf("%s is no repository's name", name)
	}
	return checkLimits(name, n.prefix)
}

// below returns the repository of that path below the prefix.
func (n *Naming) below(path string) ref.Name {
	if n.prefix.Path == "" {
		return ref.Name{Host: n.prefix.Host, Path: path}
	}
	return ref.Name{Host: n.prefix.Host, Path: n.prefix.Path + "/" + path}
}

// ParsePrefix reads where images go: a registry with an optional path in it,
// "registry.example.com/team", "localhost:5000", "[::1]:5000/x". Its Path is
// empty where there is none. One slash at the end is dropped, and so is
// "docker://" at the front.
//
// The registry has to be spelled out: a prefix without one would be an account
// at Docker Hub, which is hardly ever meant.
func ParsePrefix(s string) (ref.Name, error) {
	p, err := parsePrefix(strings.TrimPrefix(s, "docker://"))
	if err != nil {
		return ref.Name{}, fmt.Errorf("%w %q: %w", errPrefix, s, err)
	}
	return p, nil
}

var errPrefix = errors.New("invalid prefix")

func parsePrefix(s string) (ref.Name, error) {
	host, path, slash := strings.Cut(s, "/")
	if host == "index.docker.io" {
		host = ref.DockerHub
	}
	path = strings.TrimSuffix(path, "/")
	switch {
	case s == "":
		return ref.Name{}, errors.New("it is empty")
	case host != "localhost" && !strings.ContainsAny(host, ".:") && strings.ToLower(host) == host:
		return ref.Name{}, fmt.Errorf("%q is no registry: write host, host:port or host/path", host)
	case !ref.ValidHost(host):
		return ref.Name{}, fmt.Errorf("%q is no host", host)
	case slash && path != "" && !ref.ValidPath(path):
		return ref.Name{}, fmt.Errorf("%q is no path of a repository; it has no tag, no digest and no empty part", path)
	}
	return ref.Name{Host: host, Path: path}, nil
}
