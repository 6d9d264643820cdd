package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/remote"
)

// ownAccount reads what we log in to an upstream with, where no part of it has
// an account of its own. Credentials that no mode uses are a mistake that
// would show up as pulls that fail much later.
func (c *checker) ownAccount(at string, t fileUpstream) account {
	own := fileAccount{Username: t.Username, PasswordFile: t.PasswordFile, DockerConfig: t.DockerConfig}
	switch t.Auth {
	case "", "anonymous":
		if own.given() {
			c.add(firstOf(c.lines, at+"username", at+"password_file", at+"docker_config"), `add auth = "service"`, "credentials are given, but the upstream is read anonymously")
		}
		return account{}
	case "service":
	case "passthrough":
		if own.given() {
			c.add(firstOf(c.lines, at+"username", at+"password_file", at+"docker_config"), `write auth = "service" to read it with our account`, "the callers' credentials are used, not ours")
		}
		if len(t.Mirrors) > 0 {
			c.add(at+"mirrors", "leave them out", "only the upstream itself can say what its callers may read")
		}
		return account{}
	default:
		c.add(at+"auth", "", "%q is none of anonymous, service and passthrough", t.Auth)
		return account{}
	}
	if !own.given() {
		if len(t.Account) == 0 {
			c.add(at+"auth", "add username and password_file, or docker_config", "service needs credentials")
		}
		return account{}
	}
	return c.account(at, own, passwordVariable(t.Name))
}

// parts reads the [[upstream.account]] tables.
func (c *checker) parts(at string, t fileUpstream) []part {
	if len(t.Account) > 0 && t.Auth != "service" {
		c.add(at+"account", `add auth = "service"`, "accounts are given, but the upstream is not read with them")
		return nil
	}
	owners := map[string]int{} // :: pattern → the part that has it
	var parts []part
	for i, a := range t.Account {
		in := fmt.Sprintf("%saccount[%d].", at, i)
		if len(a.Repositories) == 0 {
			c.add(in+"repositories", `for example repositories = ["team/**"]; what no account is for is read with the upstream's own`, "an account needs patterns of the repositories that it is for")
		}
		var own account
		if !a.given() {
			c.add(in+"username", "add username and password_file, or docker_config", "an account needs credentials")
		} else {
			own = c.account(in, a, passwordVariable(t.Name+"_"+a.Username))
		}
		if j := samePatterns(t.Account[:i], a); j >= 0 {
			k := owners[a.Repositories[0]]
			parts[k].turns = append(parts[k].turns, own)
			continue
		}
		parts = append(parts, part{account: own, patterns: c.patterns(in+"repositories", a.Repositories, owners, len(parts))})
	}
	return parts
}

// samePatterns returns the first table of an account for exactly the same
// repositories, -1 where there is none.
func samePatterns(before []fileAccount, a fileAccount) int {
	sorted := func(a fileAccount) []string { return slices.Sorted(slices.Values(a.Repositories)) }
	return slices.IndexFunc(before, func(b fileAccount) bool { return len(a.Repositories) > 0 && slices.Equal(sorted(a), sorted(b)) })
}

// patterns reads the repositories of an account. Two accounts with one pattern
// are a mistake, unless all that they are for is the same: the second would
// never be used.
func (c *checker) patterns(key string, texts []string, owners map[string]int, owner int) []ref.Pattern {
	var all []ref.Pattern
	for j, text := range texts {
		at := fmt.Sprintf("%s[%d]", key, j)
		p, err := ref.ParsePattern(text)
		if err != nil {
			c.add(at, `write it as "team/**", "team/*" or "team/app", without the registry`, "%v", err)
			continue
		}
		if other, taken := owners[text]; taken && other != owner {
			c.add(at, "accounts that take turns have all their patterns in common", "another account of this upstream has the pattern %q", text)
		}
		owners[text] = owner
		all = append(all, p)
	}
	return all
}

func (a fileAccount) given() bool {
	return a.Username != "" || a.PasswordFile != "" || a.DockerConfig != ""
}

// account reads credentials; variable is the environment variable that holds
// the password where no file does.
func (c *checker) account(at string, a fileAccount, variable string) account {
	switch {
	case a.DockerConfig != "" && (a.Username != "" || a.PasswordFile != ""):
		c.add(at+"docker_config", "", "docker_config and username exclude each other")
	case a.DockerConfig != "":
		return account{dockerConfig: a.DockerConfig}
	case a.Username == "":
		c.add(at+"password_file", "", "password_file needs username")
	default:
		return account{username: a.Username, passwordFile: a.PasswordFile, password: c.password(at, a, variable)}
	}
	return account{}
}

// password reads the environment. A file is only tried here: it is read again
// whenever it changes.
func (c *checker) password(at string, a fileAccount, variable string) remote.Secret {
	if a.PasswordFile != "" {
		if err := tryPasswordFile(a.PasswordFile); err != nil {
			c.fail(at+"password_file", err)
		}
		return remote.Secret{}
	}
	s := c.env.Getenv(variable)
	if s == "" {
		c.add(at+"username", "", "the password is missing: set password_file or the environment variable %s", variable)
	}
	return remote.NewSecret(s)
}

// secretsOnce refuses two accounts whose passwords would come from one
// variable: one of them would be sent the other's.
func (c *checker) secretsOnce(secrets map[string]string, at string, t fileUpstream, u upstream) {
	once := func(key, variable string, a account, who string) {
		if a.username == "" || a.passwordFile != "" {
			return
		}
		if other, taken := secrets[variable]; taken && other != who {
			c.add(key, "use password_file", "%s is the password of %s already", variable, other)
		}
		secrets[variable] = who
	}
	once(at+".username", passwordVariable(t.Name), u.account, u.name)
	for i, a := range t.Account {
		once(fmt.Sprintf("%s.account[%d].username", at, i), passwordVariable(t.Name+"_"+a.Username),
			account{username: a.Username, passwordFile: a.PasswordFile}, a.Username+" at "+u.name)
	}
}

// passwordVariable is the environment variable that holds a password:
// ENTREPOT_PASSWORD_DOCKER_IO for docker.io.
func passwordVariable(name string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
	return "ENTREPOT_PASSWORD_" + strings.TrimLeft(clean, "_")
}
