package document

// An Access is how an input wants a registry to be reached.
type Access struct {
	// Registry is host[:port], or a repository's prefix at one.
	Registry string
	Username string
	Password Secret
	// Insecure asks for HTTPS without a check of the certificate.
	Insecure bool
	// PlainHTTP asks for plain HTTP.
	PlainHTTP bool
	At        Position
}

// A Secret is a text that must not be shown: it prints as stars. Convert it to
// a string to use it.
type Secret string

// String returns stars.
func (Secret) String() string { return "***" }

// GoString returns stars.
func (Secret) GoString() string { return "***" }

// MarshalText returns stars.
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// Access returns how the document wants registries to be reached, in the order
// of the input.
func (d *Document) Access() []Access { return d.access }
