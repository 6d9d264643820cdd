//go:build tools

// Package conformance pins the version of the public conformance suite.
package conformance

import _ "github.com/opencontainers/distribution-spec/conformance"
