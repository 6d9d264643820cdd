// Package store keeps content on disk: blobs by their digest, and the small
// records that give them names.
//
// A [Store] has two pools with different promises. The [Cache] holds what can
// be fetched again: anything in it may vanish, and what is missing is a miss,
// never an error. The [Vault] holds what was pushed: nothing in it vanishes
// until it is deleted, and whatever it acknowledged survives a power cut.
//
//	s, err := store.Open(dir, store.Config{})
//	defer s.Close()
//	sp, err := s.Cache().Spool(d, size)   // a download on its way
//	_, err = io.Copy(sp, body)
//	err = sp.Commit(ctx)                  // verified, synced, visible
//	f, size, err := s.Cache().Open(d)     // an *os.File, for sendfile
//
// # Nouns
//
// A [Bucket] is a flat space of objects under keys, and the only truth: there
// is no database, and every index can be rebuilt from the bucket. A [Key] is
// made from typed names only. A scope is an upstream together with the
// identity that we have there; no scope ever answers for another one. A link
// is the right of a repository to read a blob; bytes alone give none. A
// [Spool] is a file on its way into a pool. An incarnation is one copy of a
// blob in the vault, under a name that is never used again. A pin is the
// record of a manifest in a repository, with the incarnations of everything
// that it needs.
//
// # Directory layout
//
//	FORMAT                                "entrepot store 1" and an id
//	LOCK, RUN                             flock; dirty flag, holding the boot's id
//	tmp/<alg>-<hex>.<rand>{,.st}          spools; .st lets a later fill go on
//	tmp/~<rand>                           records that are being written
//	up/<id>/{data,state}                  upload sessions
//
//	c/b/<alg>/<hh>/<hex>                  cache: blob (mode 0444, mtime = last use)
//	c/m/<hh>/<40 hex>.<16 of the digest>   cache: link, empty; the name is a hash
//	c/i/<scope>/<repo>/_m/<alg>-<hex>     cache: manifest record {mediaType, size}
//	c/t/<scope>/<repo>/_t/<tag>           cache: tag record
//
//	v/b/<alg>/<hh>/<hex>.<inc>            vault: incarnation of a blob
//	v/c/<alg>/<hh>/<hex>.<inc>            vault: marker of a condemned incarnation
//	v/l/<repo>/_l/<alg>-<hex>/<inc>.<rand>  vault: link, empty
//	v/m/<repo>/_m/<alg>-<hex>/<rand>      vault: pin
//	v/t/<repo>/_t/<tag>                   vault: tag register {digest, rand, pushedAt}
//	v/r/<repo>/_r/<subject>/<alg>-<hex>   vault: referrers index, empty
//	q/                                    quarantine: blobs that were found damaged
//
// <hh> is the first byte of the hash. Upper case is written "!x", the colon
// of a port "+", so that names survive file systems that ignore case. No
// component of a repository starts with "_", so records never collide with
// repositories.
//
// # Invariants
//
// A name below c/b or v/b holds bytes whose digest is that name. Nothing but
// tags is ever overwritten. A manifest that the vault acknowledged can be read
// with everything it pins until its pin is deleted. What the RAM caches hold
// can be lost at any time. No clock is trusted for safety.
package store
