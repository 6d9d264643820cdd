//go:build race

package proxy

// raced says that the race detector runs, which makes reading slow.
const raced = true
