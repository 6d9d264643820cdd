package conf

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// WriteOptions says how [Write] writes. The zero value is right for rules that
// a program makes.
type WriteOptions struct {
	// Source is the dialect that the rules are meant in: that of the client
	// whose files they were read from. The zero value means the native one.
	Source rules.Dialect
	// Name is what files and objects are called that need a name; empty means
	// "entrepot".
	Name string
	// Widen writes a rule for a namespace as one for its whole registry, where
	// the format has rules for registries alone and the mirrors keep the
	// namespace.
	Widen bool
	// Hosts are the registries for which a rule for many of them is written,
	// where the format has no such rule.
	Hosts []string
	// References are compared beside those that are made from the rules.
	References []ref.Ref
	// ReadFile reads a certificate that the format wants in its own text; nil
	// leaves such certificates out, as a loss.
	ReadFile func(name string) ([]byte, error)
}

func (o WriteOptions) name() string {
	if o.Name == "" {
		return "entrepot"
	}
	return o.Name
}

// A File is a file that was written, in memory.
type File struct {
	Name string // a path with slashes, below the directory that the format is in
	Data []byte
}

// A Loss is something that rules say and the written files do not, or say in
// another way.
type Loss struct {
	// Feature is a word for what is lost: "namespace-match", "skip-verify".
	Feature string
	// At is where the source says it; the zero value where it is nowhere.
	At rules.Origin
	// Refuse says that it is not to be accepted in silence: [Write] leaves out
	// what it cannot say, and whoever calls it should not use the files unless
	// a person agreed. Otherwise the files do what is meant, but for what Text
	// says.
	Refuse bool
	Text   string // a phrase: what is lost
	Hint   string // what to do about it; may be empty
}

// Problem returns the loss as a problem: an error where it is to be refused,
// otherwise a warning.
func (l Loss) Problem() rules.Problem {
	p := rules.Problem{At: l.At, Text: l.Text, Hint: l.Hint}
	if l.Refuse {
		p.Level = rules.Error
	}
	return p
}

// Refused returns how many of the losses are to be refused.
func Refused(losses []Loss) int {
	n := 0
	for _, l := range losses {
		if l.Refuse {
			n++
		}
	}
	return n
}

// ErrNoWriter is what [Write] fails with for a format that is only read.
var ErrNoWriter = errors.New("the format is only read")

// Write writes rules in a format, and tells what that loses. The rules may have
// been read from another format, or be made by a program:
//
//	cfg := rules.Config{Rules: []rules.Rule{{
//		Match:     rules.MatchName("quay.io/team"),
//		Endpoints: []rules.Endpoint{{Host: "mirror.example.com", Repo: rules.Repo{StripMatched: true, Prefix: "team"}}},
//	}}}
//	files, losses, err := conf.Write(cfg, "registries.conf", conf.WriteOptions{})
//
// Losses come in the order of the rules, with those that are to be refused
// among them; the files are then what can be said. Nothing is lost in silence:
// the files are read back as their client reads them, every image that the
// rules are about is planned with both, and a difference that no loss names
// becomes one that is to be refused.
//
// It fails where there is no such format, where the format is only read
// ([ErrNoWriter]), and where the configuration is one that its client refuses.
// The result is the same for the same input.
func Write(cfg rules.Config, format string, opts WriteOptions) ([]File, []Loss, error) {
	f, err := formatOf(format)
	if err != nil {
		return nil, nil, err
	}
	wr, ok := writers()[format]
	if !ok {
		return nil, nil, fmt.Errorf("write %s: %w", format, ErrNoWriter)
	}
	if cfg.Refused != nil {
		return nil, nil, fmt.Errorf("write %s: %w", format, cfg.Refused)
	}
	if opts.Source.HubWire == "" {
		opts.Source = rules.Native()
	}
	w := &writing{format: f, limits: wr.limits, opts: opts, cfg: cfg, from: rules.New(cfg)}
	if w.target, err = rules.DialectOf(f.clients[0]); err != nil {
		return nil, nil, err
	}
	w.normalise()
	w.fit()
	files := wr.write(w)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	w.compare(files)
	return files, w.told(), nil
}

// Writers returns the names of the formats that can be written.
func Writers() []string {
	known := writers()
	return slices.DeleteFunc(Formats(), func(name string) bool { _, ok := known[name]; return !ok })
}

// WritesDirectory reports whether a format is written as a directory of files,
// rather than as one file.
func WritesDirectory(format string) bool { return format == "hosts.toml" }

// A writer writes one format.
type writer struct {
	limits limits
	// write returns the files for w.routes, which hold nothing that the format
	// cannot say.
	write func(w *writing) []File
}

// A writing is one configuration being written in one format.
type writing struct {
	format format
	limits limits
	opts   WriteOptions
	target rules.Dialect // of the client that will read the result
	cfg    rules.Config
	from   *rules.Set // of cfg
	routes []*route
	losses []loss
	// accepted are differences that are none.
	accepted []func(difference) bool
}

// A loss is a [Loss] with what it explains of the differences that are found
// when the result is read back.
type loss struct {
	Loss
	explains func(difference) bool
}

// lose notes a loss.
func (w *writing) lose(l Loss, explains func(difference) bool) {
	for i := range w.losses {
		if old := &w.losses[i]; old.Loss == l {
			first := old.explains
			old.explains = func(d difference) bool { return first(d) || explains(d) }
			return
		}
	}
	w.losses = append(w.losses, loss{l, explains})
}

// told returns the losses in the order in which they were found.
func (w *writing) told() []Loss {
	var out []Loss
	for _, l := range w.losses {
		out = append(out, l.Loss)
	}
	return out
}
