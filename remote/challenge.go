package remote

import (
	"net/http"
	"strings"
)

// A challenge is one way in which a server wants to be authorised.
type challenge struct {
	scheme string            // lower case: "bearer", "basic"
	params map[string]string // :: name in lower case → value; the first where one is repeated
}

// maxChallenges bounds what is read of a server's challenges.
const maxChallenges = 16

// parseChallenges reads WWW-Authenticate headers, each of which may hold
// several challenges (RFC 9110, 11.6.1). What cannot be read is skipped.
func parseChallenges(h http.Header) []challenge {
	var all []challenge
	for _, s := range h.Values("WWW-Authenticate") {
		for s != "" && len(all) < maxChallenges {
			var c challenge
			if c, s = parseChallenge(s); c.scheme != "" {
				all = append(all, c)
			}
		}
	}
	return all
}

// parseChallenge reads the challenge at the start of s and returns what
// follows it, which is always shorter than s.
func parseChallenge(s string) (challenge, string) {
	s = strings.TrimLeft(s, " \t,")
	n := tokenLen(s)
	if n == 0 {
		return challenge{}, ""
	}
	c := challenge{scheme: strings.ToLower(s[:n]), params: make(map[string]string)}
	s = s[n:]
	if s != "" && s[0] != ' ' && s[0] != '\t' && s[0] != ',' {
		return challenge{}, skipItem(s) // a parameter without a scheme
	}
	p := params{s: s}
	for {
		// "Basic realm=x, Bearer realm=y": a name without "=" behind it is the
		// next scheme.
		name, value, ok := p.next(',')
		if !ok {
			break
		}
		if _, twice := c.params[name]; !twice {
			c.params[name] = value
		}
	}
	rest := strings.TrimLeft(p.s, " \t")
	if rest == "" || rest[0] == ',' {
		return c, rest
	}
	// A token68 (RFC 9110, 11.2), which no scheme that we know has, or
	// something malformed.
	return c, skipItem(rest)
}

// skipItem returns what follows the next comma.
func skipItem(s string) string {
	_, rest, _ := strings.Cut(s, ",")
	return rest
}
