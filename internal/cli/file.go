package cli

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// A file is entrepot.toml as it is written. What it means is a [config].
type file struct {
	Rules    []string       `toml:"rules"`
	Server   fileServer     `toml:"server"`
	Storage  fileStorage    `toml:"storage"`
	Auth     fileAuth       `toml:"auth"`
	Access   []fileAccess   `toml:"access"`
	Upstream []fileUpstream `toml:"upstream"`
	Hosted   fileHosted     `toml:"hosted"`
	Prefetch []filePrefetch `toml:"prefetch"`
	Archive  []fileArchive  `toml:"archive"`
}

type filePrefetch struct {
	References []string `toml:"references"`
	Semver     string   `toml:"semver"`
	Interval   scalar   `toml:"interval"`
}

type fileArchive struct {
	Paths []string `toml:"paths"`
}

type fileAccess struct {
	Who          []string `toml:"who"`
	Repositories []string `toml:"repositories"`
	Allow        []string `toml:"allow"`
}

type fileServer struct {
	Listen        string   `toml:"listen"`
	Admin         string   `toml:"admin"`
	ExternalHosts []string `toml:"external_hosts"`
	ExternalURL   string   `toml:"external_url"`
	ClientCA      string   `toml:"client_ca"`
	Drain         scalar   `toml:"drain"`
	DrainDelay    scalar   `toml:"drain_delay"`
	StallTimeout  scalar   `toml:"stall_timeout"`
	MaxConns      int      `toml:"max_connections"`
	MaxConnsAddr  int      `toml:"max_connections_per_address"`
	AccessLog     *bool    `toml:"access_log"` // nil where it was left out
	LogFormat     string   `toml:"log_format"`
	TLSCert       string   `toml:"tls_cert"`
	TLSKey        string   `toml:"tls_key"`
}

type fileStorage struct {
	URL        string `toml:"url"`
	MaxBytes   scalar `toml:"max_bytes"`
	MinFree    scalar `toml:"min_free"`
	Redirect   string `toml:"redirect"`
	GCInterval scalar `toml:"gc_interval"`
	MaxAge     scalar `toml:"max_age_since_use"`
	Scrub      scalar `toml:"scrub"`
}

type fileAuth struct {
	Htpasswd  string     `toml:"htpasswd"`
	Anonymous string     `toml:"anonymous"`
	CIDR      []string   `toml:"cidr"`
	TokenKey  string     `toml:"token_key"`
	OIDC      []fileOIDC `toml:"oidc"`
}

type fileOIDC struct {
	Issuer        string `toml:"issuer"`
	Audience      string `toml:"audience"`
	JWKSURL       string `toml:"jwks_url"`
	CA            string `toml:"ca"`
	TokenFile     string `toml:"token_file"`
	UsernameClaim string `toml:"username_claim"`
	GroupsClaim   string `toml:"groups_claim"`
	Prefix        string `toml:"prefix"`
}

type fileUpstream struct {
	Name          string        `toml:"name"`
	URL           string        `toml:"url"`
	Mirrors       []string      `toml:"mirrors"`
	Default       bool          `toml:"default"`
	Aliases       []string      `toml:"aliases"`
	AllowPrivate  bool          `toml:"allow_private"`
	Auth          string        `toml:"auth"`
	Username      string        `toml:"username"`
	PasswordFile  string        `toml:"password_file"`
	DockerConfig  string        `toml:"docker_config"`
	TagTTL        scalar        `toml:"tag_ttl"`
	ImmutableTags []string      `toml:"immutable_tags"`
	MaxStale      scalar        `toml:"max_stale"`
	On404         string        `toml:"on_404"`
	MaxBytes      scalar        `toml:"max_bytes"`
	TokenHosts    []string      `toml:"token_hosts"`
	PassRedirects bool          `toml:"pass_redirects"`
	Parallelism   *int          `toml:"fill_parallelism"` // nil where it was left out
	Revalidate    bool          `toml:"stale_while_revalidate"`
	AuthGrace     scalar        `toml:"auth_grace"`
	Confirm404    scalar        `toml:"404_confirm"`
	OfflineProof  scalar        `toml:"offline_proof_ttl"`
	SoftBudget    scalar        `toml:"soft_budget"`
	Account       []fileAccount `toml:"account"`
	Tag           []fileTag     `toml:"tag"`
}

// A fileTag is what holds for some tags only.
type fileTag struct {
	Match  []string `toml:"match"`
	TagTTL scalar   `toml:"tag_ttl"`
}

type fileAccount struct {
	Repositories []string `toml:"repositories"`
	Username     string   `toml:"username"`
	PasswordFile string   `toml:"password_file"`
	DockerConfig string   `toml:"docker_config"`
}

type fileHosted struct {
	Repositories *[]string `toml:"repositories"` // nil where it was left out, which is not the same as none
	Sparse       bool      `toml:"sparse"`
}

// A problem is something wrong in the configuration file.
type problem struct {
	file string
	line int
	text string
	hint string // "" for none
}

func (p problem) Error() string {
	if p.line == 0 { // the file as a whole
		return p.file + ": " + p.text
	}
	return fmt.Sprintf("%s:%d: %s", p.file, p.line, p.text)
}

// Problems are all that is wrong in a file, in the order of its lines.
type problems []problem

func (p problems) Error() string {
	texts := make([]string, len(p))
	for i := range p {
		texts[i] = p[i].Error()
	}
	return strings.Join(texts, "\n")
}

// parseFile decodes a file strictly. The error is [problems].
func parseFile(name string, data []byte) (file, lines, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var f file
	d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	err := d.Decode(&f)
	if err == nil {
		return f, findLines(data), nil
	}
	if missing, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		var all problems
		for _, e := range missing.Errors {
			all = append(all, unknownKey(name, &e))
		}
		return file{}, nil, all
	}
	p := problem{file: name, line: 1, text: err.Error()}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		p = decodeProblem(name, e)
	}
	return file{}, nil, problems{p}
}

// decodeProblem says what the decoder found, in words that do not speak of Go.
func decodeProblem(name string, e *toml.DecodeError) problem {
	line, _ := e.Position()
	p := problem{file: name, line: line, text: strings.TrimPrefix(e.Error(), "toml: ")}
	if want := wanted(fieldOf(e.Key())); want != "" && strings.HasPrefix(p.text, "cannot decode") {
		p.text = fmt.Sprintf("%s has to be %s", strings.Join(e.Key(), "."), want)
	}
	return p
}

func unknownKey(name string, e *toml.DecodeError) problem {
	line, _ := e.Position()
	key := e.Key()
	last, table := key[len(key)-1], key[:len(key)-1]
	p := problem{file: name, line: line, text: fmt.Sprintf("unknown key %q", last)}
	if len(table) > 0 {
		p.text = fmt.Sprintf("unknown key %q in %s", last, tableName(table))
	}
	// Misspelled, or in the wrong table?
	known := keysOf(fieldOf(table))
	if near := nearest(last, known); near != "" {
		p.hint = fmt.Sprintf("did you mean %q?", near)
		return p
	}
	for _, t := range [][]string{{}, {"server"}, {"storage"}, {"auth"}, {"upstream"}, {"access"}, {"hosted"}, {"archive"}} {
		if slices.Contains(keysOf(fieldOf(t)), last) && !slices.Equal(t, table) {
			p.hint = fmt.Sprintf("%q belongs %s", last, whereIs(t))
			return p
		}
	}
	slices.Sort(known)
	p.hint = "known are " + strings.Join(known, ", ")
	return p
}

func whereIs(table []string) string {
	if len(table) == 0 {
		return "at the top of the file"
	}
	return "in " + tableName(table)
}

// tableName writes a table as the file does.
func tableName(key []string) string {
	name := strings.Join(key, ".")
	if t := fieldOf(key); t != nil && t.Kind() == reflect.Slice {
		return "[[" + name + "]]"
	}
	return "[" + name + "]"
}

// fieldOf returns the type of what a key leads to, nil where it is unknown.
func fieldOf(key []string) reflect.Type {
	t := reflect.TypeFor[file]()
	for _, k := range key {
		if t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return nil
		}
		i := slices.IndexFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return f.Tag.Get("toml") == k })
		if i < 0 {
			return nil
		}
		t = t.Field(i).Type
	}
	return t
}

// keysOf returns the keys of a table's type.
func keysOf(t reflect.Type) []string {
	if t != nil && t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for _, f := range reflect.VisibleFields(t) {
		keys = append(keys, f.Tag.Get("toml"))
	}
	return keys
}

// wanted says in words which value a type takes, "" for one that is unknown.
func wanted(t reflect.Type) string {
	switch {
	case t == nil:
		return ""
	case t == reflect.TypeFor[scalar]():
		return "a text in quotes"
	case t.Kind() == reflect.String:
		return "a text in quotes"
	case t.Kind() == reflect.Bool, t == reflect.TypeFor[*bool]():
		return "true or false"
	case t.Kind() == reflect.Int:
		return "a whole number"
	case t == reflect.TypeFor[[]string](), t == reflect.TypeFor[*[]string]():
		return "a list of texts in brackets"
	case t.Kind() == reflect.Slice:
		return "a table with two brackets, [[…]]"
	}
	return "a table, […]"
}
