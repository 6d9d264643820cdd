package cli

import (
	"slices"
	"strings"

	"github.com/entrepot/entrepot/rules"
)

// An explainedJSON is one line of explain --json.
type explainedJSON struct {
	Reference  string        `json:"reference"` // as given
	As         string        `json:"as"`
	Normalized string        `json:"normalized"` // as the client writes it
	Rule       ruleJSON      `json:"rule"`       // all fields empty where no rule matches
	Others     []ruleJSON    `json:"others,omitempty"`
	Tries      []tryJSON     `json:"tries"`
	Skips      []skipJSON    `json:"skips"`
	Outcome    string        `json:"outcome,omitempty"` // with --probe: where it would come from
	GoesOn     []string      `json:"goesOn"`            // the failures of a place after which the next is tried
	Problems   []problemJSON `json:"problems"`
	Error      string        `json:"error"`
}

// A ruleJSON is a rule that matches.
type ruleJSON struct {
	Match  string `json:"match"`
	Format string `json:"format"`
	At     string `json:"at"`
}

// A tryJSON is a place. Which of its details are there depends on what the
// client's format can say.
type tryJSON struct {
	URL          string              `json:"url"`
	Reference    string              `json:"reference"`
	Role         string              `json:"role"`
	Original     bool                `json:"original"`
	Insecure     bool                `json:"insecure"`
	Capabilities []string            `json:"capabilities,omitempty"`
	Blocked      bool                `json:"blocked"`
	HTTPFallback bool                `json:"httpFallback,omitempty"`
	Unusable     string              `json:"unusable,omitempty"`
	CustomCA     bool                `json:"customCA,omitempty"`
	Header       map[string][]string `json:"header,omitempty"`
	NS           string              `json:"ns,omitempty"`
	HTTP         bool                `json:"http,omitempty"`
	At           string              `json:"at"`
	Probe        *probed             `json:"probe,omitempty"`
}

// A skipJSON is a place that is left out.
type skipJSON struct {
	URL          string   `json:"url"`
	Host         string   `json:"host"` // scheme://host
	Why          string   `json:"why"`
	Capabilities []string `json:"capabilities,omitempty"`
	Missing      []string `json:"missing,omitempty"`
	At           string   `json:"at"`
}

// A problemJSON is a problem of a file.
type problemJSON struct {
	At    string `json:"at"`
	Level string `json:"level"`
	Text  string `json:"text"`
	Hint  string `json:"hint"`
}

// json returns the line for e.
func (e *explained) json() explainedJSON {
	out := explainedJSON{
		Reference: e.name, As: e.view.client, Normalized: e.normalized(),
		Tries: []tryJSON{}, Skips: []skipJSON{}, Problems: []problemJSON{}, GoesOn: e.view.dialect.GoesOn.Names(),
		Outcome: e.outcome.text,
	}
	if out.GoesOn == nil {
		out.GoesOn = []string{}
	}
	if r := e.rule(); r != nil {
		out.Rule = ruleToJSON(r)
	}
	for _, r := range e.others() {
		out.Others = append(out.Others, ruleToJSON(r))
	}
	for i, t := range e.tries() {
		try := e.tryJSON(t)
		if e.probes != nil {
			try.Probe = e.probes[i]
		}
		out.Tries = append(out.Tries, try)
	}
	for _, s := range e.skips() {
		skip := skipJSON{
			URL: s.URL(), Host: firstScheme(&s.Try) + "://" + s.Host, Why: s.Why,
			Missing: s.Missing.Names(), At: s.Origin.String(),
		}
		if e.view.dialect.Shows&rules.ShowCan != 0 {
			skip.Capabilities = s.Can.Names()
		}
		out.Skips = append(out.Skips, skip)
	}
	for _, p := range slices.Concat(e.problems, e.view.problems) {
		out.Problems = append(out.Problems, problemToJSON(&p))
	}
	if e.err != nil {
		out.Error = e.err.Error()
	}
	return out
}

// tryJSON returns a place with those details that the client's format has.
func (e *explained) tryJSON(t *rules.Try) tryJSON {
	shows := e.view.dialect.Shows
	out := tryJSON{
		URL: t.URL(), Reference: e.reference(t), Role: t.Role.String(), Original: t.Original, Insecure: t.Insecure(),
		Blocked: t.Blocked, Unusable: t.Unusable, At: t.Origin.String(),
		HTTPFallback: shows&rules.ShowFallback != 0 && t.Scheme == rules.HTTPSThenHTTP,
		HTTP:         shows&rules.ShowHTTP != 0 && t.Scheme == rules.HTTP,
	}
	if shows&rules.ShowCan != 0 {
		out.Capabilities = t.Can.Names()
	}
	if shows&rules.ShowNS != 0 {
		out.NS = t.NS
	}
	if t.Transport == nil {
		return out
	}
	out.CustomCA = len(t.Transport.CA) > 0
	for _, h := range t.Transport.Header {
		if out.Header == nil {
			out.Header = map[string][]string{}
		}
		out.Header[h.Name] = h.Values
	}
	return out
}

// firstScheme returns the scheme of the first request for a place.
func firstScheme(t *rules.Try) string {
	if t.Scheme == rules.HTTP {
		return "http"
	}
	return "https"
}

func ruleToJSON(r *rules.Rule) ruleJSON {
	return ruleJSON{Match: r.Match.String(), Format: r.Origin.Format, At: r.Origin.String()}
}

func problemToJSON(p *rules.Problem) problemJSON {
	return problemJSON{At: p.At.String(), Level: p.Level.String(), Text: p.Text, Hint: p.Hint}
}

// disagreement returns how the views of a reference differ, "" where all ask
// the same places in the same order.
func disagreement(all []explained) string {
	clients := map[string][]string{} // :: places → clients that ask them
	var order []string
	for i := range all {
		key := all[i].places()
		if clients[key] == nil {
			order = append(order, key)
		}
		clients[key] = append(clients[key], all[i].view.client)
	}
	if len(order) < 2 {
		return ""
	}
	parts := make([]string, len(order))
	for i, key := range order {
		parts[i] = strings.Join(clients[key], ", ") + ": " + key
	}
	return "clients disagree; " + strings.Join(parts, "; ")
}

// places returns the places that can be asked, in words.
func (e *explained) places() string {
	var names []string
	for _, t := range e.tries() {
		switch {
		case t.Blocked || t.Unusable != "":
		case t.Original && t.Scheme != rules.HTTP:
			names = append(names, "the original")
		default:
			names = append(names, strings.TrimPrefix(t.Base(), "https://"))
		}
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", then ")
}
