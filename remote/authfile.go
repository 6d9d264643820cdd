package remote

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"oras.land/oras-go/v2/registry/remote/credentials"
)

const (
	helperTimeout = 30 * time.Second // for one run of a credential helper (spec/serve.md, F1)
	helperKeep    = 5 * time.Minute  // how long its answer is used; cloud helpers answer for an hour and more
)

// hubKey is where docker keeps the credentials of Docker Hub.
const hubKey = "https://index.docker.io/v1/"

// AuthFile returns the credentials of a file as docker (config.json) and
// podman (auth.json) keep it. It is read when it is first needed, and again
// when it changes.
//
// For a repository the keys host/a/b, host/a and host are tried in this order,
// first as credHelpers, then as auths; the port is part of the host. What no
// key names is asked of credsStore. Helpers run one at a time, for at most
// 30 s, and are remembered for five minutes.
func AuthFile(file string) Credentials {
	return &authFile{
		file:  watchedFile[authConfig]{path: file, parse: parseAuthConfig},
		turn:  make(chan struct{}, 1),
		known: make(map[helperKey]helperAnswer),
		run:   runHelper,
		now:   time.Now,
	}
}

type authFile struct {
	file watchedFile[authConfig]
	turn chan struct{} // held while a helper runs
	run  func(ctx context.Context, helper, server string) (Credential, error)
	now  func() time.Time

	mu    sync.Mutex                 // guards known
	known map[helperKey]helperAnswer // :: helper and server → answer
}

type helperKey struct{ helper, server string }

type helperAnswer struct {
	credential Credential
	until      time.Time
}

func (a *authFile) Credential(ctx context.Context, host, repo string) (Credential, error) {
	cfg, err := a.file.get()
	if err != nil {
		return Credential{}, err
	}
	c, ask := cfg.find(host, repo)
	if ask.helper == "" {
		return c, nil
	}
	return a.ask(ctx, ask)
}

func (a *authFile) forget(host, repo string) {
	cfg, err := a.file.get()
	if err != nil {
		return // and the next request says so
	}
	_, ask := cfg.find(host, repo)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.known, ask)
}

func (a *authFile) forgetAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.known)
}

// ask runs a helper, or returns what it said lately.
func (a *authFile) ask(ctx context.Context, k helperKey) (Credential, error) {
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return Credential{}, fmt.Errorf("wait for credential helper %q: %w", k.helper, ctx.Err())
	}
	if answer, ok := a.lately(k); ok {
		<-a.turn
		return answer, nil
	}
	done := make(chan helperResult, 1)
	// The goroutine may outlive the call: a helper that left a child behind
	// keeps its output open after it was killed. The turn stays taken, so that
	// there is never more than one.
	go func() {
		defer func() { <-a.turn }()
		c, err := a.run(ctx, k.helper, k.server)
		if err == nil {
			a.mu.Lock()
			a.known[k] = helperAnswer{c, a.now().Add(helperKeep)}
			a.mu.Unlock()
		}
		done <- helperResult{c, err}
	}()
	var got helperResult
	select {
	case got = <-done:
	case <-ctx.Done():
		got.err = ctx.Err()
	}
	if got.err != nil {
		return Credential{}, fmt.Errorf("run credential helper %q: %w", k.helper, got.err)
	}
	return got.credential, nil
}

type helperResult struct {
	credential Credential
	err        error
}

func (a *authFile) lately(k helperKey) (Credential, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	answer, ok := a.known[k]
	return answer.credential, ok && a.now().Before(answer.until)
}

// runHelper asks docker-credential-HELPER.
func runHelper(ctx context.Context, helper, server string) (Credential, error) {
	got, err := credentials.NewNativeStore(helper).Get(ctx, server)
	if err != nil {
		if text := err.Error(); strings.ContainsAny(text, "{}\n") || len(text) > maxExcerpt {
			// What it printed may be the secret itself.
			err = errors.New("it failed")
		}
		return Credential{}, err
	}
	return Credential{
		Username: got.Username, Password: NewSecret(got.Password),
		IdentityToken: NewSecret(got.RefreshToken), RegistryToken: NewSecret(got.AccessToken),
	}, nil
}

// An authConfig is a file of credentials, with its keys in one form.
type authConfig struct {
	auths   map[string]Credential // :: host or host/path → credential
	helpers map[string]helperKey  // :: host or host/path → helper, and the key as it was written
	store   string                // the helper for everything else, "" for none
}

// An authEntry is how a credential stands in a file.
type authEntry struct {
	Auth          string `json:"auth"` // base64 of name:password; it wins over the two
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

func (a authEntry) credential() (Credential, error) {
	if a.Auth != "" {
		var err error
		if a.Username, a.Password, err = decodeAuth(a.Auth); err != nil {
			return Credential{}, err
		}
	}
	return Credential{
		Username: a.Username, Password: NewSecret(a.Password),
		IdentityToken: NewSecret(a.IdentityToken), RegistryToken: NewSecret(a.RegistryToken),
	}, nil
}

// parseAuthConfig reads docker's config.json or podman's auth.json.
func parseAuthConfig(raw []byte) (authConfig, error) {
	var doc struct {
		Auths       map[string]authEntry `json:"auths"`
		CredHelpers map[string]string    `json:"credHelpers"`
		CredsStore  string               `json:"credsStore"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return authConfig{}, errors.New("it is no JSON document of the form that docker and podman write") // the cause could quote it
	}
	cfg := authConfig{auths: make(map[string]Credential), helpers: make(map[string]helperKey), store: doc.CredsStore}
	if !validHelper(cfg.store) {
		return authConfig{}, fmt.Errorf("credsStore %q is no name of a helper", cfg.store)
	}
	for key, one := range doc.Auths {
		c, err := one.credential()
		if err != nil {
			return authConfig{}, fmt.Errorf("auths, %q: %w", key, err)
		}
		if !c.Anonymous() {
			cfg.auths[normalKey(key)] = c
		}
	}
	for key, helper := range doc.CredHelpers {
		if !validHelper(helper) {
			return authConfig{}, fmt.Errorf("credHelpers, %q: %q is no name of a helper", key, helper)
		}
		if helper != "" {
			cfg.helpers[normalKey(key)] = helperKey{helper, key}
		}
	}
	return cfg, nil
}

// validHelper refuses what would run another program than a helper from the
// PATH.
func validHelper(s string) bool { return path.Base("/"+s) == s || s == "" }

// decodeAuth reads base64 of "name:password"; docker pads the password with
// zero bytes at times.
func decodeAuth(s string) (name, password string, err error) {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", "", errors.New("auth is not base64") // the cause would quote a byte of it
	}
	name, password, ok := strings.Cut(string(raw), ":")
	if !ok {
		return "", "", errors.New(`auth is not "name:password"`)
	}
	return name, strings.Trim(password, "\x00"), nil
}

// normalKey brings the keys that are in use into the form host[:port][/path]:
// docker once wrote URLs, "https://host/v1/", which mean the host.
func normalKey(key string) string {
	if key == hubKey {
		return hubHost
	}
	if _, rest, ok := strings.Cut(key, "://"); ok {
		host, _, _ := strings.Cut(rest, "/")
		key = host
	}
	key = strings.TrimSuffix(key, "/")
	host, rest, found := strings.Cut(key, "/")
	if host = hubName(strings.ToLower(host)); found {
		return host + "/" + rest
	}
	return host
}

const hubHost = "docker.io"

// hubName returns "docker.io" for the names that Docker Hub has, and other
// hosts as they are.
func hubName(host string) string {
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return hubHost
	}
	return host
}

// find returns the credential for a repository, or the helper to ask for it.
// Nothing of another host or of another path is ever returned.
func (c authConfig) find(host, repo string) (Credential, helperKey) {
	host = hubName(strings.ToLower(host))
	key := strings.TrimSuffix(host+"/"+repo, "/")
	for {
		if h, ok := c.helpers[key]; ok {
			return Credential{}, h
		}
		if one, ok := c.auths[key]; ok {
			return one, helperKey{}
		}
		i := strings.LastIndexByte(key, '/')
		if i < 0 {
			break
		}
		key = key[:i]
	}
	if c.store == "" {
		return Credential{}, helperKey{}
	}
	if host == hubHost {
		return Credential{}, helperKey{c.store, hubKey}
	}
	return Credential{}, helperKey{c.store, host}
}
