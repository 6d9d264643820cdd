package document

import (
	"fmt"
	"strings"
)

// expand replaces the variables of a text: $NAME, ${NAME}, and ${NAME:-word} and
// its kin, as a shell does. value returns what a variable has; escape is the
// byte that has the dollar after it stand for itself.
func expand(text string, escape byte, value func(name string) (string, bool)) (string, error) {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == escape && i+1 < len(text) && text[i+1] == '$':
			out.WriteByte('$')
			i++
		case text[i] != '$':
			out.WriteByte(text[i])
		default:
			got, n, err := variable(text[i+1:], escape, value)
			if err != nil {
				return "", err
			}
			out.WriteString(got)
			i += n
		}
	}
	return out.String(), nil
}

// variable expands the variable that a text starts with, after its dollar, and
// returns its length.
func variable(text string, escape byte, value func(string) (string, bool)) (string, int, error) {
	braced := strings.HasPrefix(text, "{")
	name := text
	if braced {
		name = text[1:]
	}
	n := 0
	for n < len(name) && (name[n] == '_' || isLetter(name[n]) || n > 0 && isDigit(name[n])) {
		n++
	}
	rest := name[n:]
	name = name[:n]
	if name == "" {
		return "", 0, fmt.Errorf("the dollar in %q begins no variable", text)
	}
	got, set := value(name)
	if !braced {
		if !set {
			return "", 0, unset(name)
		}
		return got, n, nil
	}
	end := closing(rest)
	if end < 0 {
		return "", 0, fmt.Errorf("the brace of ${%s is not closed", name)
	}
	got, err := operate(name, got, set, rest[:end], escape, value)
	return got, 1 + n + end + 1, err
}

// operate applies what stands after the name in braces.
func operate(name, got string, set bool, op string, escape byte, value func(string) (string, bool)) (string, error) {
	if op == "" {
		if !set {
			return "", unset(name)
		}
		return got, nil
	}
	word, colon := strings.CutPrefix(op, ":")
	there := set && (!colon || got != "")
	if word == "" {
		return "", fmt.Errorf("${%s%s} is not understood", name, op)
	}
	switch word[0] {
	case '-':
		if there {
			return got, nil
		}
		return expand(word[1:], escape, value)
	case '+':
		if there {
			return expand(word[1:], escape, value)
		}
		return "", nil
	case '?':
		if there {
			return got, nil
		}
		return "", fmt.Errorf("the variable %s has no value: %s", name, word[1:])
	}
	return "", fmt.Errorf("${%s%s} is not understood", name, op)
}

// aroundDefault returns what stands around a reference that is the default of a
// variable, as in "${IMAGE:-alpine:3}": the variable stays. Both are empty for
// any other text.
func aroundDefault(text, reference string) (before, after string) {
	name, word, ok := strings.Cut(text, "-")
	if ok && strings.HasPrefix(name, "${") && word == reference+"}" {
		return name + "-", "}"
	}
	return "", ""
}

// closing returns where the brace of a variable ends, -1 where it does not.
func closing(text string) int {
	depth := 0
	for i := range len(text) {
		switch {
		case text[i] == '{':
			depth++
		case text[i] == '}' && depth == 0:
			return i
		case text[i] == '}':
			depth--
		}
	}
	return -1
}

func unset(name string) error { return fmt.Errorf("the variable %s has no value in the file", name) }

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
