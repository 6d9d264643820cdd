package proxy

import (
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A repo is a repository as one scope sees it, and in it one caller where the
// callers log in to the upstream themselves. What is stored is the scope's.
type repo struct {
	scope string
	name  ref.Name
	who   string // a hash of the caller's login; "" where logins are not his
}

// A tagKey names a tag in a repository.
type tagKey struct {
	repo
	tag string
}

// A manifestKey names a manifest in a repository.
type manifestKey struct {
	repo
	digest oci.Digest
}

// A blobKey names a blob in a repository.
type blobKey struct {
	repo
	digest oci.Digest
}

// A negativeKey names what an upstream does not have, or does not give.
type negativeKey struct {
	kind negativeKind
	repo
	id string // tag or digest
}

type negativeKind byte

const (
	noTag negativeKind = iota
	noManifest
	noBlob
	badBlob // in any repository of the scope
	noEntry // into the repository
)

func (k tagKey) negative() negativeKey      { return negativeKey{noTag, k.repo, k.tag} }
func (k manifestKey) negative() negativeKey { return negativeKey{noManifest, k.repo, string(k.digest)} }
func (k blobKey) negative() negativeKey     { return negativeKey{noBlob, k.repo, string(k.digest)} }

// bad names the blob as content that the scope's upstream has got wrong.
func (k blobKey) bad() negativeKey {
	return negativeKey{badBlob, repo{scope: k.scope}, string(k.digest)}
}

// entry names the repository as one that does not let the caller in.
func (r repo) entry() negativeKey { return negativeKey{kind: noEntry, repo: r} }

func (r repo) clone() repo {
	return repo{strings.Clone(r.scope), ref.Name{Host: strings.Clone(r.name.Host), Path: strings.Clone(r.name.Path)}, strings.Clone(r.who)}
}

func (k tagKey) clone() tagKey { return tagKey{k.repo.clone(), strings.Clone(k.tag)} }

func (k manifestKey) clone() manifestKey {
	return manifestKey{k.repo.clone(), oci.Digest(strings.Clone(string(k.digest)))}
}

func (k blobKey) clone() blobKey {
	return blobKey{k.repo.clone(), oci.Digest(strings.Clone(string(k.digest)))}
}

func (k negativeKey) clone() negativeKey {
	return negativeKey{k.kind, k.repo.clone(), strings.Clone(k.id)}
}
