package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// An archiveTable is one [[archive]] table.
type archiveTable struct {
	paths []string
	lines []int   // of the paths
	at    problem // where the table names them, without a text
}

// archives reads the tables. Their files are looked at when the server starts.
func (c *checker) archives(tables []fileArchive) []archiveTable {
	var all []archiveTable
	for i, f := range tables {
		key := fmt.Sprintf("archive[%d].paths", i)
		if len(f.Paths) == 0 {
			c.add(key, `write paths = ["images.tar"], with all volumes of the archive`, "no file is named")
		}
		a := archiveTable{paths: f.Paths, at: problem{file: c.file, line: c.lines.at(key)}}
		for j := range f.Paths {
			a.lines = append(a.lines, c.lines.at(fmt.Sprintf("%s[%d]", key, j)))
		}
		all = append(all, a)
	}
	return all
}

// problems are files that cannot be an archive, each at its own line.
func (t archiveTable) problems() (all problems) {
	for i, path := range t.paths {
		p := t.at
		p.line = t.lines[i]
		if info, err := os.Stat(path); err != nil {
			p.text = "archive.paths: " + err.Error()
		} else if !info.Mode().IsRegular() {
			p.text, p.hint = "archive.paths: "+path+" is no file", "an archive is served from its tar, as it is"
		} else {
			continue
		}
		all = append(all, p)
	}
	return all
}

// shelves are the images of archives that are served, by the names that these have for them. The
// zero value holds none.
type shelves struct {
	open  []*layout.Archive
	shelf map[ref.Name]*archivedRepo // :: repository → where it is
}

// An archivedRepo is a repository in an archive.
type archivedRepo struct {
	*layout.Archive
	name ref.Name
	at   problem // where its archive is written
	once sync.Once
	has  map[oci.Digest]bool // :: manifest or blob that the repository has → true; see look
}

var (
	_ oci.Reader          = (*shelves)(nil)
	_ oci.Lister          = (*shelves)(nil)
	_ oci.ReferrersLister = (*shelves)(nil)
)

// openShelves opens the archives of a configuration. The error is [problems].
func openShelves(tables []archiveTable) (*shelves, error) {
	a := &shelves{shelf: make(map[ref.Name]*archivedRepo)}
	var wrong problems
	for _, t := range tables {
		if bad := t.problems(); len(bad) > 0 {
			wrong = append(wrong, bad...)
			continue
		}
		err := a.add(t)
		if f, ok := errors.AsType[*fault](err); ok {
			t.at.hint = f.hint
		}
		if err != nil {
			t.at.text = "archive.paths: " + err.Error()
			wrong = append(wrong, t.at)
		}
	}
	if len(wrong) > 0 {
		a.close() // only read from
		return nil, wrong
	}
	return a, nil
}

// add opens one archive.
func (a *shelves) add(t archiveTable) error {
	opened, err := layout.OpenArchive(t.paths...)
	if err != nil {
		return err
	}
	a.open = append(a.open, opened)
	if n := len(opened.Set().Base); n > 0 {
		return failure(fmt.Errorf("it was made without %s that its destination had, so that its images are not whole", count(n, "blob")),
			"load it at that destination, or save it again without --have and --since")
	}
	found := false
	for _, e := range opened.Entries() {
		n := e.Ref.Name
		if n == (ref.Name{}) {
			continue
		}
		found = true
		other := a.shelf[n]
		if other != nil && other.Archive != opened {
			return failure(fmt.Errorf("%s is in the archive of line %d already", n, other.at.line), "a repository belongs to one archive as a whole")
		}
		if other == nil {
			a.shelf[n] = &archivedRepo{Archive: opened, name: n, at: t.at}
		}
	}
	if !found {
		return failure(errors.New("it names no image with its registry"), "'entrepot save' writes such names; what is not named can be copied with 'entrepot copy'")
	}
	return nil
}

// names returns the repositories, sorted.
func (a *shelves) names() []ref.Name {
	var all []ref.Name
	for n := range a.shelf {
		all = append(all, n)
	}
	slices.SortFunc(all, func(x, y ref.Name) int { return strings.Compare(x.String(), y.String()) })
	return all
}

// holds says which repositories are from an archive, up to three of them.
func (a *shelves) holds(t archiveTable) string {
	var some []string
	for _, n := range a.names() {
		if at := a.shelf[n].at; at.line == t.at.line {
			some = append(some, n.String())
		}
	}
	if len(some) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(some[:3], ", "), len(some)-3)
	}
	return strings.Join(some, ", ")
}

// close closes the files.
func (a *shelves) close() error {
	var errs []error
	for _, one := range a.open {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

// of returns the repository that has a digest; "" stands for any.
func (a *shelves) of(ctx context.Context, n ref.Name, d oci.Digest, code string) (*archivedRepo, error) {
	s := a.shelf[n]
	if s == nil {
		return nil, oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "no archive has this repository")
	}
	o := oci.OutcomeOf(ctx)
	o.Result, o.From = oci.Hit, "archive"
	if d != "" {
		if s.once.Do(s.look); !s.has[d] {
			return nil, oci.Errorf(oci.ErrNotFound, code, "the archive has no %s in this repository", d)
		}
	}
	return s, nil
}

// look finds out what the repository has: what its names lead to, and what
// refers to that. An archive has one pool of content, and a digest is no
// permission to read what another repository has.
func (s *archivedRepo) look() {
	s.has = make(map[oci.Digest]bool)
	seen := make(map[oci.Digest]bool)
	var next []oci.Digest
	for _, e := range s.Entries() {
		if e.Ref.Name == s.name {
			next = append(next, e.Descriptor.Digest)
		}
	}
	ctx := context.Background()
	for len(next) > 0 {
		d := next[0]
		next = next[1:]
		if seen[d] {
			continue
		}
		seen[d] = true
		m, err := s.Archive.Manifest(ctx, s.name.WithDigest(d))
		if err != nil {
			continue // a platform that was not copied
		}
		s.has[d] = true
		links, err := m.Links()
		if err != nil {
			continue // of a kind that leads nowhere we know
		}
		for _, b := range links.Blobs() {
			s.has[b.Digest] = true
		}
		refers, _ := s.Archive.Subjects(ctx, s.name, d) // what cannot be read refers to nothing
		for _, one := range append(links.Manifests, refers...) {
			next = append(next, one.Digest)
		}
	}
}

// Resolve returns the descriptor of a manifest of a repository.
func (a *shelves) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	m, err := a.Manifest(ctx, r)
	return m.Descriptor(), err
}

// Manifest returns a manifest of a repository.
func (a *shelves) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	s, err := a.of(ctx, r.Name, r.Digest, oci.CodeManifestUnknown)
	if err != nil {
		return oci.Manifest{}, err
	}
	m, err := s.Archive.Manifest(ctx, r)
	if errors.Is(err, oci.ErrNotFound) { // which names all that there is
		err = &oci.Error{Kind: oci.ErrNotFound, Code: oci.CodeManifestUnknown, Message: "the archive has no such image in this repository", Err: err}
	}
	return m, err
}

// Stat returns the size of a blob of a repository.
func (a *shelves) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	s, err := a.of(ctx, n, d, oci.CodeBlobUnknown)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return s.Archive.Stat(ctx, n, d)
}

// Blob opens a blob of a repository. Its body writes itself.
func (a *shelves) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	s, err := a.of(ctx, n, d, oci.CodeBlobUnknown)
	if err != nil {
		return oci.Blob{}, err
	}
	return s.Archive.Blob(ctx, n, d, off)
}

// Tags lists the tags of a repository.
func (a *shelves) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	s, err := a.of(ctx, n, "", "")
	if err != nil {
		return func(yield func(string, error) bool) { yield("", err) }
	}
	return s.Archive.Tags(ctx, n, after)
}

// Referrers returns what refers to a manifest, in its repository.
func (a *shelves) Referrers(ctx context.Context, n ref.Name, d oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	s, err := a.of(ctx, n, d, oci.CodeManifestUnknown)
	if err != nil {
		return nil, err
	}
	return s.Archive.Referrers(ctx, n, d, artifactType)
}
