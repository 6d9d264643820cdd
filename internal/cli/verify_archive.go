package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// A verifiedArchive is what was found of one archive, and a line of --json.
type verifiedArchive struct {
	Archive  string           `json:"archive"`
	Files    []string         `json:"files"`
	Deep     bool             `json:"deep"`
	Images   int              `json:"images"`
	Blobs    int              `json:"blobs,omitempty"`    // that it holds, where it says so
	Bytes    int64            `json:"bytes,omitempty"`    // of them
	LeftOut  int              `json:"left_out,omitempty"` // blobs that the far side has to have
	Problems []archiveProblem `json:"problems"`
}

// An archiveProblem is something that is wrong with an archive.
type archiveProblem struct {
	Text  string `json:"text"`
	Class string `json:"class"`
}

func (v *verifiedArchive) add(err error) {
	for _, e := range parts(err) {
		v.Problems = append(v.Problems, archiveProblem{e.Error(), relocate.Class(e)})
	}
}

// parts returns the errors that one joins.
func parts(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if _, kind := err.(*oci.Error); err == nil || kind || !ok {
		return appendIf(nil, err)
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, parts(e)...)
	}
	return all
}

func appendIf(all []error, err error) []error {
	if err == nil {
		return all
	}
	return append(all, err)
}

// verifyArchives looks whether archives are whole.
func verifyArchives(ctx context.Context, env Env, opts verifyOptions, args []string) error {
	groups, err := volumes(args)
	if err != nil {
		return err
	}
	p := printer{out: env.Stdout, json: opts.json}
	bad := 0
	for _, paths := range groups {
		found, err := verifyArchive(ctx, paths, opts.deep)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return failure(errors.New("interrupted"), "")
		}
		for _, one := range found.Problems {
			printError(env.Stderr, fmt.Errorf("%s: %s", found.Archive, one.Text), "")
		}
		if len(found.Problems) > 0 {
			bad++
		}
		if opts.json {
			err = p.writeJSON(found)
		} else if len(found.Problems) == 0 {
			_, err = fmt.Fprintf(env.Stdout, "whole\t%s\t%s\n", found.Archive, found.describe())
		}
		if err != nil {
			return err
		}
	}
	if bad == 0 {
		return nil
	}
	return &fault{exitLossy, fmt.Errorf("%d of %s %s not whole", bad, count(len(groups), "archive"), are(len(groups))), "copy it here again, or save it again"}
}

// describe says in a few words what an archive holds.
func (v *verifiedArchive) describe() string {
	s := count(v.Images, "image")
	if v.Blobs > 0 {
		s += fmt.Sprintf(", %s in %s", size(v.Bytes), count(v.Blobs, "blob"))
	}
	if v.LeftOut > 0 {
		s += fmt.Sprintf(", %s left out", count(v.LeftOut, "blob"))
	}
	return s
}

// verifyArchive looks at one archive. The error is for what is no archive's
// fault.
func verifyArchive(ctx context.Context, paths []string, deep bool) (*verifiedArchive, error) {
	v := &verifiedArchive{Archive: paths[0], Files: paths, Deep: deep, Problems: []archiveProblem{}}
	a, err := openArchive(paths)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, failure(err, "")
	}
	if err != nil {
		v.add(err)
		v.alone(ctx)
		return v, nil
	}
	defer a.Close()
	v.Images, v.LeftOut = len(a.set.Images), len(a.set.Base)
	if a.set.Version == 0 {
		v.Images = len(a.entries)
	}
	for _, b := range a.set.Blobs {
		v.Blobs++
		v.Bytes += b.Size
	}
	switch at := a.stored.(type) {
	case *layout.Archive:
		v.add(at.Verify(ctx, deep))
	default:
		v.layout(ctx, a)
	}
	return v, nil
}

// alone looks at each volume by itself, where they do not make an archive.
func (v *verifiedArchive) alone(ctx context.Context) {
	if !v.Deep || len(v.Files) == 0 || isDir(v.Files[0]) {
		return
	}
	for _, path := range v.Files {
		if err := layout.VerifyVolume(ctx, path); err != nil && err.Error() != v.Problems[0].Text {
			v.add(err)
		}
	}
}

// layout looks at the images of a layout in a directory.
func (v *verifiedArchive) layout(ctx context.Context, a *archive) {
	var refs []ref.Ref
	for _, e := range a.entries {
		refs = append(refs, ref.Ref{Digest: e.Descriptor.Digest})
	}
	found, err := relocate.Verify(ctx, relocate.VerifyConfig{Target: a, Deep: v.Deep}, refs)
	v.add(err)
	for i, one := range found {
		if one.Error != "" {
			v.Problems = append(v.Problems, archiveProblem{string(refs[i].Digest) + ": " + one.Error, one.Class})
		}
	}
}
