package conf

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/entrepot/entrepot/rules"
)

// A reading is one source being read for one client. Readers fill in cfg.
type reading struct {
	src  Source
	d    rules.Dialect
	cfg  rules.Config
	fold bool // keys are compared without case

	// missed is set where a client finds none of the directories that the
	// file names, because it takes the list for one directory.
	missed *rules.Problem

	// wrong holds the values of a wrong type that were met since the last call
	// of takeWrong.
	wrong []rules.Problem
}

// at returns the origin of a position in a file.
func (r *reading) at(f *file, p pos) rules.Origin {
	return rules.Origin{File: f.name, Line: p.line, Column: p.column, Format: r.src.Format}
}

// problem returns a problem of level Error at a position.
func (r *reading) problem(f *file, p pos, hint, text string, args ...any) rules.Problem {
	return rules.Problem{At: r.at(f, p), Level: rules.Error, Text: fmt.Sprintf(text, args...), Hint: hint}
}

// note keeps a problem as it is.
func (r *reading) note(p rules.Problem) { r.cfg.Problems = append(r.cfg.Problems, p) }

// warn notes what the client takes without doing what it seems to say.
func (r *reading) warn(f *file, at pos, hint, text string, args ...any) {
	p := r.problem(f, at, hint, text, args...)
	p.Level = rules.Warning
	r.note(p)
}

// general notes what a file is not for.
func (r *reading) general(f *file, at pos, hint, text string, args ...any) {
	p := r.problem(f, at, hint, text, args...)
	p.Level, p.General = rules.Warning, true
	r.note(p)
}

// silent notes what the client takes, and drops, without a word: a warning for
// the client, an error in the native reading.
func (r *reading) silent(f *file, at pos, hint, text string, args ...any) {
	p := r.problem(f, at, hint, text, args...)
	if !r.d.Strict() {
		p.Level = rules.Warning
	}
	r.note(p)
}

// refuse notes a problem because of which the client refuses the whole
// configuration.
func (r *reading) refuse(p rules.Problem) {
	p.Level = rules.Error
	r.note(p)
	if r.cfg.Refused == nil {
		r.cfg.Refused = &p
	}
}

// typeError notes a value of the wrong type for takeWrong.
func (r *reading) typeError(f *file, n *node, key, want string) {
	r.wrong = append(r.wrong, r.problem(f, n.at, "", "%s is %s and should be %s", key, n.kind, want))
}

// syntax returns a parser's error as a problem.
func (r *reading) syntax(f *file, err error) rules.Problem {
	var se *syntaxError
	if errors.As(err, &se) {
		at := se.at
		if last := bytes.Count(f.data, []byte("\n")) + 1; at.line > last {
			at = pos{last, 1} // what is missing at the end is missing in the next line for some
		}
		return r.problem(f, at, "", "%s", se.text)
	}
	return r.problem(f, pos{}, "", "%v", err)
}

// twice notes keys that are there twice, for clients that take the last one: the
// native reading refuses them.
func (r *reading) twice(f *file, keys []*syntaxError) {
	for _, k := range keys {
		if r.d.Strict() {
			r.refuse(r.problem(f, k.at, "keep one of them", "%s", redactPair(k.text)))
			continue
		}
		r.warn(f, k.at, "put both into one", "%s: only the last counts", redactPair(k.text))
	}
}

// noBOM returns a problem where a file begins with a byte order mark, for
// clients whose parser does not read it; nil where it does not.
func (r *reading) noBOM(f *file) *rules.Problem {
	if !f.bom {
		return nil
	}
	p := r.problem(f, pos{1, 1}, "save it as UTF-8 without a byte order mark", "the file begins with a byte order mark, which the client does not read")
	return &p
}

// takeWrong returns the first value of a wrong type since the last call; nil
// where there was none.
func (r *reading) takeWrong() *rules.Problem {
	if len(r.wrong) == 0 {
		return nil
	}
	p := r.wrong[0]
	r.wrong = nil
	return &p
}
