package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

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

// shelves are the images of archives that are served, by the names that these have
// for them. An archive that was made against another one has its blobs there, and
// newer images for the same tags. The zero value holds none.
type shelves struct {
	all  *archives
	repo map[ref.Name]*archivedRepo // :: repository → what it has
}

// An archivedRepo is a repository in archives.
type archivedRepo struct {
	tags  map[string]oci.Digest
	roots []oci.Digest        // that are named, by tag or digest
	first int                 // the line of an archive that has it
	once  sync.Once           // guards has
	has   map[oci.Digest]bool // :: manifest or blob that the repository has → true; see look
}

var (
	_ oci.Reader          = (*shelves)(nil)
	_ oci.Lister          = (*shelves)(nil)
	_ oci.ReferrersLister = (*shelves)(nil)
)

// openShelves opens the archives of a configuration. The error is [problems].
func openShelves(tables []archiveTable) (*shelves, error) {
	a := &shelves{all: &archives{}, repo: make(map[ref.Name]*archivedRepo)}
	var wrong problems
	for _, t := range tables {
		if bad := t.problems(); len(bad) > 0 {
			wrong = append(wrong, bad...)
		} else if err := a.add(t); err != nil {
			wrong = append(wrong, t.problem(err))
		}
	}
	if len(wrong) == 0 {
		wrong = a.join(tables)
	}
	if len(wrong) > 0 {
		a.close() // only read from
		return nil, wrong
	}
	return a, nil
}

// problem is an error of an archive, at the line that names it.
func (t archiveTable) problem(err error) problem {
	p := t.at
	p.text = "archive.paths: " + err.Error()
	if f, ok := errors.AsType[*fault](err); ok {
		p.hint = f.hint
	}
	return p
}

// add opens one archive.
func (a *shelves) add(t archiveTable) error {
	one, err := openArchive(t.paths)
	if err != nil {
		return err
	}
	a.all.all = append(a.all.all, one)
	for name := range one.names() {
		if a.repo[name.Name] == nil {
			a.repo[name.Name] = &archivedRepo{tags: make(map[string]oci.Digest), first: t.at.line}
		}
	}
	if len(one.names()) == 0 {
		return failure(errors.New("it names no image with its registry"), "'entrepot save' writes such names; what is not named can be copied with 'entrepot copy'")
	}
	return nil
}

// join finds out what the names of all archives stand for, and whether they have
// all that they were made without.
func (a *shelves) join(tables []archiveTable) (wrong problems) {
	var err error
	if a.all.names, err = a.all.choose(); err != nil {
		p := tables[len(tables)-1].problem(err)
		p.hint = "serve one of them, or a newer one that was saved with --since the older"
		return problems{p}
	}
	for i, one := range a.all.all {
		missing := 0
		for _, b := range one.set.Base {
			if _, err := a.all.Stat(context.Background(), ref.Name{}, b.Digest); err != nil {
				missing++
			}
		}
		if missing > 0 {
			p := tables[i].problem(fmt.Errorf("it was made without %s that its destination had, and no archive here has them", count(missing, "blob")))
			p.hint = "name the archive that it was made against in an [[archive]] of its own, or save it again without --have and --since"
			wrong = append(wrong, p)
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(a.all.names), func(x, y ref.Ref) int { return strings.Compare(x.String(), y.String()) }) {
		s, d := a.repo[name.Name], a.all.names[name]
		s.roots = append(s.roots, d)
		if _, known := s.tags[name.Tag]; name.Tag != "" && (name.Digest == "" || !known) {
			s.tags[name.Tag] = d
		}
	}
	return wrong
}

// names returns the repositories, sorted.
func (a *shelves) names() []ref.Name {
	return slices.SortedFunc(maps.Keys(a.repo), func(x, y ref.Name) int { return strings.Compare(x.String(), y.String()) })
}

// holds says which repositories an archive is the first to have, up to three of
// them.
func (a *shelves) holds(t archiveTable) string {
	var some []string
	for _, n := range a.names() {
		if a.repo[n].first == t.at.line {
			some = append(some, n.String())
		}
	}
	switch {
	case len(some) == 0:
		return "more of the same repositories"
	case len(some) > 3:
		return fmt.Sprintf("%s and %d more", strings.Join(some[:3], ", "), len(some)-3)
	}
	return strings.Join(some, ", ")
}

// close closes the files.
func (a *shelves) close() error { return a.all.Close() }

// of returns the repository, which has to have a digest; "" stands for any.
func (a *shelves) of(ctx context.Context, n ref.Name, d oci.Digest, code string) (*archivedRepo, error) {
	s := a.repo[n]
	if s == nil {
		return nil, oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "no archive has this repository")
	}
	o := oci.OutcomeOf(ctx)
	o.Result, o.From = oci.Hit, "archive"
	if d != "" {
		if s.once.Do(func() { s.has = a.look(n, s.roots) }); !s.has[d] {
			return nil, oci.Errorf(oci.ErrNotFound, code, "the archive has no %s in this repository", d)
		}
	}
	return s, nil
}

// look finds out what a repository has: what its names lead to, and what refers
// to that. An archive has one pool of content, and a digest is no permission to
// read what another repository has.
func (a *shelves) look(n ref.Name, next []oci.Digest) map[oci.Digest]bool {
	has, seen := make(map[oci.Digest]bool), make(map[oci.Digest]bool)
	ctx := context.Background()
	for len(next) > 0 {
		d := next[0]
		next = next[1:]
		if seen[d] {
			continue
		}
		seen[d] = true
		m, err := a.all.Manifest(ctx, n.WithDigest(d))
		if err != nil {
			continue // a platform that was not copied
		}
		has[d] = true
		links, err := m.Links()
		if err != nil {
			continue // of a kind that leads nowhere we know
		}
		for _, b := range links.Blobs() {
			has[b.Digest] = true
		}
		refers, _ := a.all.Subjects(ctx, n, d) // what cannot be read refers to nothing
		for _, one := range slices.Concat(links.Manifests, refers) {
			next = append(next, one.Digest)
		}
	}
	return has
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
	if r.Digest == "" {
		d, ok := s.tags[r.Tag]
		if !ok {
			return oci.Manifest{}, oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "the archive has no tag %s in this repository", r.Tag)
		}
		r = r.Name.WithDigest(d)
	}
	return a.all.Manifest(ctx, r)
}

// Stat returns the size of a blob of a repository.
func (a *shelves) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	if _, err := a.of(ctx, n, d, oci.CodeBlobUnknown); err != nil {
		return oci.Descriptor{}, err
	}
	return a.all.Stat(ctx, n, d)
}

// Blob opens a blob of a repository. Its body writes itself.
func (a *shelves) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	if _, err := a.of(ctx, n, d, oci.CodeBlobUnknown); err != nil {
		return oci.Blob{}, err
	}
	return a.all.Blob(ctx, n, d, off)
}

// Tags lists the tags of a repository.
func (a *shelves) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		s, err := a.of(ctx, n, "", "")
		if err != nil {
			yield("", err)
			return
		}
		for _, tag := range slices.Sorted(maps.Keys(s.tags)) {
			if tag > after && !yield(tag, nil) {
				return
			}
		}
	}
}

// Referrers returns what refers to a manifest, in its repository.
func (a *shelves) Referrers(ctx context.Context, n ref.Name, d oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	if _, err := a.of(ctx, n, d, oci.CodeManifestUnknown); err != nil {
		return nil, err
	}
	all, err := a.all.Subjects(ctx, n, d)
	return slices.DeleteFunc(all, func(o oci.Descriptor) bool { return artifactType != "" && o.ArtifactType != artifactType }), err
}
