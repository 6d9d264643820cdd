package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A world is a store to which something is done, and what must be true of it
// whatever happens: facts, claimed when a call has returned nil and dropped
// before a call that changes them.
type world struct {
	ctx   context.Context
	dir   string
	cfg   Config
	s     *Store
	facts map[string]func(context.Context, *Store) error
}

func (w *world) open() (err error) {
	w.s, err = Open(w.dir, w.cfg)
	return err
}

func (w *world) hasBlob(n ref.Name, content string) {
	d := digestOf(content)
	w.facts["blob "+content] = func(ctx context.Context, s *Store) error {
		b, err := s.Vault().Blob(ctx, n, d, 0)
		if err != nil {
			return err
		}
		defer b.Body.Close()
		return same(b.Body, content)
	}
}

func (w *world) hasManifest(r ref.Ref, m oci.Manifest) {
	w.facts[r.String()] = func(ctx context.Context, s *Store) error {
		got, err := s.Vault().Manifest(ctx, r)
		if err == nil && (!bytes.Equal(got.Raw, m.Raw) || got.MediaType != m.MediaType) {
			err = errors.New("other bytes")
		}
		return err
	}
}

func (w *world) lacks(name string, get func(context.Context, *Store) error) {
	w.facts[name] = func(ctx context.Context, s *Store) error {
		if err := get(ctx, s); !errors.Is(err, oci.ErrNotFound) {
			return fmt.Errorf("got %w, want ErrNotFound", err)
		}
		return nil
	}
}

func digestOf(content string) oci.Digest { return oci.FromBytes([]byte(content), "") }

func same(r io.Reader, want string) error {
	got, err := io.ReadAll(r)
	if err == nil && string(got) != want {
		err = fmt.Errorf("got %d other bytes", len(got))
	}
	return err
}

func (w *world) push(n ref.Name, content string) (oci.Descriptor, error) {
	d := oci.Descriptor{MediaType: blobType, Digest: digestOf(content), Size: int64(len(content))}
	err := w.s.Vault().PutBlob(w.ctx, n, d, source([]byte(content)))
	if err == nil {
		w.hasBlob(n, content)
	}
	return d, err
}

func (w *world) pushManifest(n ref.Name, m oci.Manifest, tags ...string) error {
	for _, tag := range tags {
		delete(w.facts, n.WithTag(tag).String())
	}
	if err := w.s.Vault().PutManifest(w.ctx, n, m, tags...); err != nil {
		return err
	}
	w.hasManifest(n.WithDigest(m.Digest), m)
	for _, tag := range tags {
		w.hasManifest(n.WithTag(tag), m)
	}
	return nil
}

// image pushes a config and a layer, and the manifest of both.
func (w *world) image(n ref.Name, name string, tags ...string) (oci.Manifest, error) {
	config, err := w.push(n, "config of "+name)
	if err != nil {
		return oci.Manifest{}, err
	}
	layer, err := w.push(n, "layer of "+name)
	if err != nil {
		return oci.Manifest{}, err
	}
	m := imageOf("", config, layer)
	return m, w.pushManifest(n, m, tags...)
}

// scenarios are what can be cut short anywhere.
var scenarios = map[string]func(*world) error{
	"cache commit": func(w *world) error { return w.fill("content of a layer", 0) },
	"resumed fill": func(w *world) error {
		if err := w.fill("content of a layer", 7); err != nil {
			return err
		}
		return w.fill("content of a layer", 0)
	},
	"cache records": cacheRecords,
	"push blob": func(w *world) error {
		if _, err := w.push(app, "a blob"); err != nil {
			return err
		}
		_, err := w.push(ref.Name{Path: "other"}, "a blob")
		return err
	},
	"upload": func(w *world) error { return w.upload("first", " second") },
	"push manifest and tags": func(w *world) error {
		if _, err := w.image(app, "one", "latest", "v1"); err != nil {
			return err
		}
		_, err := w.image(app, "two", "latest")
		return err
	},
	"index and referrer": indexAndReferrer,
	"mount": func(w *world) error {
		d, err := w.push(app, "a blob")
		if err != nil {
			return err
		}
		other := ref.Name{Path: "other/app"}
		if err := w.s.Vault().Mount(w.ctx, other, app, d.Digest); err != nil {
			return err
		}
		w.hasBlob(other, "a blob")
		return nil
	},
	"delete":  deleteAll,
	"collect": collectTwice,
}

// fill downloads content into the cache; with stop it breaks after so many
// bytes.
func (w *world) fill(content string, stop int) error {
	d := digestOf(content)
	sp, err := w.s.Cache().Spool(d, int64(len(content)))
	if err != nil {
		return err
	}
	defer sp.Release()
	rest := content[sp.Size():]
	if stop > 0 {
		if _, err := sp.Write([]byte(rest[:stop])); err != nil {
			return err
		}
		return sp.Keep()
	}
	for len(rest) > 0 {
		n, err := sp.Write([]byte(rest[:min(5, len(rest))]))
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	if err := sp.Commit(w.ctx); err != nil {
		return err
	}
	w.facts["cached "+content] = func(_ context.Context, s *Store) error {
		f, _, err := s.Cache().Open(d)
		if err != nil {
			return err
		}
		defer f.Close()
		return same(f, content)
	}
	return nil
}

func cacheRecords(w *world) error {
	hub := ref.Name{Host: "docker.io", Path: "library/alpine"}
	c := w.s.Cache()
	for _, name := range []string{"old", "new"} {
		m := indexOf(oci.Descriptor{MediaType: oci.TypeImageManifest, Digest: digestOf(name)})
		if err := c.PutManifest(w.ctx, "docker.io", hub, m); err != nil {
			return err
		}
		w.facts["cached manifest "+name] = func(_ context.Context, s *Store) error {
			got, err := s.Cache().Manifest("docker.io", hub, m.Digest)
			if err == nil && !bytes.Equal(got.Raw, m.Raw) {
				err = errors.New("other bytes")
			}
			return err
		}
		if err := c.PutTag("docker.io", hub, "latest", TagRecord{Digest: m.Digest, MediaType: m.MediaType}); err != nil {
			return err
		}
		// A tag of the cache may get lost, but never damaged or replaced by
		// something that was never said.
		w.facts["cached tag"] = func(_ context.Context, s *Store) error {
			r, err := s.Cache().Tag("docker.io", hub, "latest")
			if errors.Is(err, oci.ErrNotFound) {
				return nil
			}
			if err == nil && r.MediaType != m.MediaType {
				err = fmt.Errorf("a wrong record: %+v", r)
			}
			return err
		}
		if err := c.Link("docker.io", hub, m.Digest); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) upload(chunks ...string) error {
	v := w.s.Vault()
	u, err := v.NewUpload(w.ctx, app, "")
	if err != nil {
		return err
	}
	whole := strings.Join(chunks, "")
	// A power cut may take a session or a part of it, but what it says it has
	// is what was sent.
	w.facts["session"] = func(ctx context.Context, s *Store) error {
		u, err := s.Vault().Upload(ctx, app, u.ID())
		if errors.Is(err, oci.ErrNotFound) {
			return nil
		}
		if err == nil {
			_, err = u.Append(ctx, -1, strings.NewReader(whole[u.Size():]))
		}
		if err == nil {
			_, err = u.Commit(ctx, digestOf(whole))
		}
		return err
	}
	content := ""
	for _, chunk := range chunks {
		if _, err := u.Append(w.ctx, int64(len(content)), strings.NewReader(chunk)); err != nil {
			return err
		}
		content += chunk
	}
	delete(w.facts, "session")
	if _, err := u.Commit(w.ctx, digestOf(content)); err != nil {
		return err
	}
	w.hasBlob(app, content)
	return nil
}

func indexAndReferrer(w *world) error {
	m, err := w.image(app, "one")
	if err != nil {
		return err
	}
	index := indexOf(m.Descriptor())
	if err := w.pushManifest(app, index, "latest"); err != nil {
		return err
	}
	config, err := w.push(app, "{}")
	if err != nil {
		return err
	}
	signature := imageOf(`,"subject":`+descriptor(index.Descriptor()), config)
	if err := w.pushManifest(app, signature); err != nil {
		return err
	}
	w.facts["referrers"] = func(ctx context.Context, s *Store) error {
		list, err := s.Vault().Referrers(ctx, app, index.Digest, "")
		if err == nil && (len(list) != 1 || list[0].Digest != signature.Digest) {
			err = fmt.Errorf("got %v", list)
		}
		return err
	}
	return nil
}

func deleteAll(w *world) error {
	m, err := w.image(app, "one", "a", "b", "c")
	if err != nil {
		return err
	}
	v := w.s.Vault()
	delete(w.facts, app.WithTag("a").String())
	if err := v.DeleteTag(w.ctx, app, "a"); err != nil {
		return err
	}
	absent := func(r ref.Ref) {
		w.lacks(r.String(), func(ctx context.Context, s *Store) error {
			_, err := s.Vault().Manifest(ctx, r)
			return err
		})
	}
	absent(app.WithTag("a"))
	gone := []ref.Ref{app.WithTag("b"), app.WithTag("c"), app.WithDigest(m.Digest)}
	for _, r := range gone {
		delete(w.facts, r.String())
	}
	if err := v.DeleteManifest(w.ctx, app, m.Digest); err != nil {
		return err
	}
	for _, r := range gone {
		absent(r)
	}
	delete(w.facts, "blob layer of one")
	d := digestOf("layer of one")
	if err := v.DeleteBlob(w.ctx, app, d); err != nil {
		return err
	}
	w.lacks("blob layer of one", func(ctx context.Context, s *Store) error {
		_, err := s.Vault().Stat(ctx, app, d)
		return err
	})
	return nil
}

// TestCrash cuts every scenario before each of its steps, the opening and the
// closing of the store among them, by a kill and by power cuts of several
// kinds. What is left must be whole: every invariant holds, every acknowledged
// fact is true, and the same can be done again at once.
func TestCrash(t *testing.T) {
	for name, do := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := quickDir(t)
			wit := newWitness(t, dir)
			w := &world{ctx: t.Context(), dir: dir, cfg: Config{before: wit.before, boot: "boot 1"},
				facts: map[string]func(context.Context, *Store) error{}}
			steps := 0
			wit.each = func(s step) error {
				steps++
				for _, f := range fates(uint64(steps)) {
					left := quickDir(t)
					wit.leave(f, left)
					if err := survive(t.Context(), left, f.boot, w.facts, do); err != nil {
						t.Errorf("%s before step %d, %s %s:\n%v", f.name, steps, s.op, strings.TrimPrefix(s.path, dir), err)
					}
					if err := os.RemoveAll(left); err != nil {
						t.Error(err)
					}
				}
				return nil
			}
			if err := w.open(); err != nil {
				t.Fatal(err)
			}
			if err := do(w); err != nil {
				t.Fatal(err)
			}
			if err := w.s.Close(); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d steps", steps)
		})
	}
}

// survive opens what a crash left, checks it, and does the same again.
func survive(ctx context.Context, dir, boot string, facts map[string]func(context.Context, *Store) error, do func(*world) error) error {
	if err := check(dir); err != nil {
		return fmt.Errorf("as it was left: %w", err)
	}
	w := &world{ctx: ctx, dir: dir, cfg: Config{before: quick, boot: boot}, facts: map[string]func(context.Context, *Store) error{}}
	if err := w.open(); err != nil {
		return err
	}
	defer w.s.Close()
	if err := holdFacts(ctx, w.s, facts); err != nil {
		return err
	}
	if err := tidy(dir); err != nil {
		return err
	}
	if err := do(w); err != nil {
		return fmt.Errorf("do it again: %w", err)
	}
	return errors.Join(holdFacts(ctx, w.s, w.facts), check(dir))
}

// holdFacts returns which facts are not true.
func holdFacts(ctx context.Context, s *Store, facts map[string]func(context.Context, *Store) error) error {
	var bad []error
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		if err := facts[name](ctx, s); err != nil {
			bad = append(bad, fmt.Errorf("fact %q: %w", name, err))
		}
	}
	return errors.Join(bad...)
}

// tidy returns an error where recovery has left more in tmp than spools that a
// fill can go on with.
func tidy(dir string) error {
	list, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil {
		return err
	}
	for _, e := range list {
		if name, _ := strings.CutSuffix(e.Name(), ".st"); !exists(filepath.Join(dir, "tmp", name)) || !exists(filepath.Join(dir, "tmp", name+".st")) {
			return fmt.Errorf("left in tmp: %s", e.Name())
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// TestNthError lets each step of every scenario fail once, on a disk that is
// broken and on one that is full. Whatever was acknowledged before holds, in
// the same process and after the next start; nothing wrong is visible.
func TestNthError(t *testing.T) {
	for name, do := range scenarios {
		for _, fault := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
			t.Run(fmt.Sprintf("%s/%d", name, fault), func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					if !failAt(t, do, n, fault) {
						t.Logf("%d steps", n-1)
						return
					}
				}
			})
		}
	}
}

// failAt reports whether there was a step n.
func failAt(t *testing.T, do func(*world) error, n int, fault error) bool {
	failed := ""
	steps := 0
	before := func(s step) (bool, error) {
		steps++
		if steps == n {
			failed = s.op + " " + s.path
			return false, fault
		}
		return quick(s)
	}
	w := &world{ctx: t.Context(), dir: quickDir(t), cfg: Config{before: before, boot: "boot 1"},
		facts: map[string]func(context.Context, *Store) error{}}
	if err := w.open(); err == nil {
		// Without an error the step's failure was of no consequence, which
		// the facts have to bear out.
		if err := do(w); err != nil && !errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("step %d, %s: got %v, want ErrUnavailable", n, failed, err)
		}
		if err := errors.Join(holdFacts(t.Context(), w.s, w.facts), check(w.dir)); err != nil {
			t.Errorf("step %d, %s, in the same process: %v", n, failed, err)
		}
		_ = w.s.Close() // it may be the one that fails
	}
	if err := survive(t.Context(), w.dir, "boot 2", w.facts, do); err != nil {
		t.Errorf("step %d, %s, after a restart: %v", n, failed, err)
	}
	return steps >= n
}
