package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/entrepot/entrepot/rules"
)

// A printer prints what explain found out.
type printer struct {
	out  io.Writer
	json bool
	some bool // something is printed already
	// unruled says that no rule was for one of the images: then it helps to
	// know what the files are not for.
	unruled bool
}

// reference prints what all views say about one reference, and where they
// disagree.
func (p *printer) reference(name string, all []explained) error {
	for i := range all {
		p.unruled = p.unruled || all[i].rule() == nil
		if p.json {
			if err := p.writeJSON(all[i].json()); err != nil {
				return err
			}
		}
	}
	if err := p.tables(all); err != nil {
		return err
	}
	text := disagreement(all)
	if text == "" {
		return nil
	}
	if p.json {
		return p.writeJSON(explainedJSON{
			Reference: name, Tries: []tryJSON{}, Skips: []skipJSON{}, GoesOn: []string{},
			Problems: []problemJSON{{Level: rules.Warning.String(), Text: text}},
		})
	}
	_, err := fmt.Fprintf(p.out, "\nwarning: %s\n", text)
	return err
}

// problems prints what is wrong in the files, once.
func (p *printer) problems(views []*view) error {
	if p.json {
		return nil // they are in every line
	}
	var all []rules.Problem
	for _, v := range views {
		all = appendNew(all, slices.DeleteFunc(slices.Clone(v.problems), func(q rules.Problem) bool { return q.General && !p.unruled }))
	}
	if len(all) > 0 {
		fmt.Fprintln(p.out)
	}
	return p.list(all)
}

// list prints problems, one a line and the hint below it.
func (p *printer) list(all []rules.Problem) error {
	for i := range all {
		if _, err := io.WriteString(p.out, problemText(&all[i])); err != nil {
			return err
		}
	}
	return nil
}

func problemText(p *rules.Problem) string {
	at := p.At.String()
	if at != "" {
		at += ": "
	}
	text := at + p.Level.String() + ": " + p.Text + "\n"
	if p.Hint != "" {
		text += "    hint: " + p.Hint + "\n"
	}
	return text
}

// appendNew appends those problems that are not in the list yet, whatever their
// level.
func appendNew(list, more []rules.Problem) []rules.Problem {
	seen := map[string]bool{} // :: place and text → it is in the list
	for i := range list {
		seen[list[i].Error()] = true
	}
	for i := range more {
		if key := more[i].Error(); !seen[key] {
			seen[key] = true
			list = append(list, more[i])
		}
	}
	return list
}

// tables prints what the views say about one reference: those that say the same
// together.
func (p *printer) tables(all []explained) error {
	if p.json {
		return nil
	}
	var order []string
	who := map[string][]string{} // :: table → clients
	for i := range all {
		body := all[i].table()
		if who[body] == nil {
			order = append(order, body)
		}
		who[body] = append(who[body], all[i].view.client)
	}
	for _, body := range order {
		as := ", as " + strings.Join(who[body], ", ") + "\n"
		if who[body][0] == native {
			as = ", read strictly\n"
		}
		if p.some {
			body = "\n" + body
		}
		p.some = true
		if _, err := io.WriteString(p.out, strings.Replace(body, headingEnd, as, 1)); err != nil {
			return err
		}
	}
	return nil
}

// headingEnd stands for the clients that a table is for.
const headingEnd = "\x00"

// table returns what a view says about a reference, but for the client's name.
func (e *explained) table() string {
	var b strings.Builder
	e.heading(&b)
	e.rows(&b)
	if len(e.tries()) > 1 {
		fmt.Fprintf(&b, "  %s\n", afterFailure(e.view.dialect.GoesOn))
	}
	if e.outcome.text != "" {
		fmt.Fprintf(&b, "  %s\n", e.outcome.text)
	}
	if e.err != nil && e.err.Error() != e.outcome.text {
		fmt.Fprintf(&b, "  nothing can serve it: %v\n", e.err)
	}
	for i := range e.problems {
		fmt.Fprintf(&b, "  %s", problemText(&e.problems[i]))
	}
	return trimLines(b.String())
}

// rows prints the places, and below each what it answered.
func (e *explained) rows(b *strings.Builder) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for i, t := range e.tries() {
		fmt.Fprintf(w, "  %d\t%s\t%s\t%s\t%s\n", i+1, roleOf(t), e.address(t), transport(t), t.Origin)
	}
	for _, s := range e.skips() {
		fmt.Fprintf(w, "  -\tskipped\t%s\t%s\t%s\n", e.address(&s.Try), s.Why, s.Origin)
	}
	w.Flush() // into memory: it does not fail
	i := 0
	for line := range strings.Lines(table.String()) {
		b.WriteString(line)
		if i < len(e.probes) && e.probes[i] != nil {
			fmt.Fprintf(b, "     %s\n", e.probes[i])
		}
		i++
	}
}

// heading prints what is explained, and the rule.
func (e *explained) heading(b *strings.Builder) {
	fmt.Fprintf(b, "%s", e.name)
	if n := e.normalized(); n != "" && n != e.name {
		fmt.Fprintf(b, " is %s", n)
	}
	b.WriteString(headingEnd)
	e.shortName(b)
	if r := e.rule(); r != nil {
		fmt.Fprintf(b, "  rule %s at %s\n", r.Match, r.Origin)
	} else if len(e.plans) > 0 && e.plans[0].Err == nil {
		b.WriteString("  no rule\n")
	}
	for _, r := range e.others() {
		fmt.Fprintf(b, "  not %s at %s, which is for more names\n", r.Match, r.Origin)
	}
}

// shortName says where it is written what a short name stands for.
func (e *explained) shortName(b *strings.Builder) {
	short := e.view.set.ShortNames()
	if !e.view.dialect.ShortNames || !rules.IsShort(e.name) || len(e.plans) == 0 || !short.Configured() {
		return
	}
	bare := e.name
	if i := strings.IndexAny(bare, ":@"); i >= 0 {
		bare = bare[:i]
	}
	if a, ok := short.Aliases[bare]; ok && a.Name == e.plans[0].Ref.Name {
		fmt.Fprintf(b, "  alias %s at %s\n", bare, a.Origin)
	} else if len(short.Search) > 0 {
		fmt.Fprintf(b, "  one of %d registries to search at %s\n", len(short.Search), short.SearchAt)
	}
}

// address returns where a place is: the manifest's URL, or why there is none.
func (e *explained) address(t *rules.Try) string {
	if u := t.URL(); u != "" {
		return u
	}
	return e.reference(t)
}

func roleOf(t *rules.Try) string {
	if t.Original {
		return "original"
	}
	return t.Role.String()
}

// transport says in words how a place is spoken to, or why it is not.
func transport(t *rules.Try) string {
	switch {
	case t.Blocked && t.BlockedBy != nil && t.BlockedBy.Origin != t.Origin:
		return fmt.Sprintf("blocked by the rule for %s at %s", t.BlockedBy.Match, t.BlockedBy.Origin)
	case t.Blocked:
		return "blocked"
	case t.Unusable != "":
		return "unusable: " + t.Unusable
	}
	words := []string{t.Scheme.String()}
	if t.Scheme == rules.HTTP {
		words[0] = "plain http"
	} else if t.Insecure() {
		words = append(words, "certificate not checked")
	}
	if tr := t.Transport; tr != nil {
		words = append(words, details(tr)...)
	}
	if t.Can != rules.Everything {
		words = append(words, "for "+strings.Join(t.Can.Names(), " and "))
	}
	return strings.Join(words, ", ")
}

// details says in words what is special about a transport.
func details(t *rules.Transport) []string {
	var words []string
	if len(t.CA) > 0 {
		words = append(words, "CA "+strings.Join(t.CA, " and "))
	}
	if len(t.Client) > 0 {
		words = append(words, "client certificate "+t.Client[0].Cert)
	}
	for _, h := range t.Header {
		words = append(words, "header "+h.Name)
	}
	if t.DialTimeout > 0 {
		words = append(words, "dial timeout "+t.DialTimeout.String())
	}
	if t.InlineAuth {
		words = append(words, "credentials in the file")
	}
	return words
}

// failureWords says what each failure of a place is, in the order of
// [rules.Failures.Names].
var failureWords = map[string]string{
	"unreachable": "no connection",
	"tls":         "a bad certificate",
	"auth":        "401 and 403",
	"absent":      "404",
	"broken":      "any other answer that is no manifest",
}

// afterFailure says what the client does after each kind of failure.
func afterFailure(goesOn rules.Failures) string {
	if goesOn == rules.AnyFailure {
		return "the next place is tried after any failure: no connection, a bad certificate, 401, 403, 404, anything that is no manifest"
	}
	on, stops := phrases(goesOn), phrases(rules.AnyFailure&^goesOn)
	if on == "" {
		return "no other place is tried after a failure"
	}
	return "the next place is tried after " + on + "; it ends at " + stops
}

func phrases(f rules.Failures) string {
	names := f.Names()
	for i, name := range names {
		names[i] = failureWords[name]
	}
	return strings.Join(names, ", ")
}

// trimLines drops the blanks that tables leave at the ends of lines.
func trimLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}
