package remote

import (
	"net/http"
	"strings"
)

// nextLink returns the target of the link with rel="next", "" where there is
// none (RFC 8288).
func nextLink(h http.Header) string {
	for _, value := range h.Values("Link") {
		if target := parseNextLink(value); target != "" {
			return target
		}
	}
	return ""
}

// parseNextLink reads one Link header, which may hold several links.
func parseNextLink(s string) string {
	for {
		_, rest, ok := strings.Cut(s, "<")
		if !ok {
			return ""
		}
		target, rest, ok := strings.Cut(rest, ">")
		if !ok {
			return ""
		}
		p := params{s: rest}
		next := false
		for {
			name, value, ok := p.next(';')
			if !ok {
				break
			}
			if name == "rel" && hasWord(value, "next") {
				next = true
			}
		}
		if next {
			return target
		}
		s = p.s
	}
}

// hasWord reports whether a space-separated list holds a word, in any case.
func hasWord(list, word string) bool {
	for w := range strings.FieldsSeq(list) {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

// params reads the parameters of Link and WWW-Authenticate headers:
// name=token or name="quoted string", with a separator between them (RFC 9110,
// 5.6.6 and 11.2).
type params struct{ s string }

// next returns the next parameter, its name in lower case. sep stands before a
// parameter (it may stand before the first). At the end, or where something
// else follows, ok is false and p.s is what is left.
func (p *params) next(sep byte) (name, value string, ok bool) {
	rest := strings.TrimLeft(p.s, " \t")
	for rest != "" && rest[0] == sep {
		rest = strings.TrimLeft(rest[1:], " \t")
	}
	n := tokenLen(rest)
	if n == 0 {
		return "", "", false
	}
	name = strings.ToLower(rest[:n])
	rest = strings.TrimLeft(rest[n:], " \t")
	if rest == "" || rest[0] != '=' {
		if sep == ';' { // a parameter of a link may have no value
			p.s = rest
			return name, "", true
		}
		return "", "", false
	}
	rest = strings.TrimLeft(rest[1:], " \t")
	if rest != "" && rest[0] == '"' {
		value, rest, ok = unquote(rest)
		if !ok {
			return "", "", false
		}
	} else {
		n := tokenLen(rest)
		if value, rest = rest[:n], rest[n:]; n == 0 {
			return "", "", false
		}
	}
	p.s = rest
	return name, value, true
}

// unquote reads the quoted string at the start of s.
func unquote(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// tokenLen returns the length of the token at the start of s (RFC 9110,
// 5.6.2).
func tokenLen(s string) int {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return i
		}
	}
	return len(s)
}
