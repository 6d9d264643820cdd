// Package relocate moves a set of images to another registry: it names them
// there, proves that no two meet, copies them and writes what leads there.
//
// A [Naming] gives one image its name at the target, and [Pairs] does so for a
// whole set:
//
//	prefix, err := relocate.ParsePrefix("registry.example.com/team")
//	naming, err := relocate.NewNaming(relocate.NamingConfig{Prefix: prefix})
//	pairs, err := relocate.Pairs([]relocate.Mention{{Written: "alpine:3.20"}}, naming)
//
// Naming reaches for nothing outside: it is known before the first request what
// every image will be called, and a [ConflictError] lists whatever is in the
// way.
package relocate
