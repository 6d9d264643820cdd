package remote

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/entrepot/entrepot/oci"
)

// An authorizer knows how one endpoint wants to be authorised. It learns that
// from the first 401; from then on a token is fetched before the request.
type authorizer struct {
	e      *Endpoint
	tokens tokens

	mu      sync.Mutex // guards what follows
	basic   bool       // name and password with each request
	service *service   // a token with each request; nil where none is known
}

// known returns what was learnt so far.
func (a *authorizer) known() (basic bool, s *service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.basic, a.service
}

func (a *authorizer) learn(basic bool, s *service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.basic, a.service = basic, s
}

// A login is who an exchange is done as, as far as it is known before the
// request. The zero value is nobody.
type login struct {
	who     Credential
	basic   bool     // name and password
	service *service // a token; nil for none
}

// login returns how a request for an exchange goes out: as nobody as long as
// the registry has not asked for more, so that no credential is fetched in vain.
func (a *authorizer) login(ctx context.Context, x exchange) (login, error) {
	basic, s := a.known()
	if !basic && s == nil {
		return login{}, nil
	}
	c, err := a.credential(ctx, x)
	return login{c, basic, s}, err
}

// header returns the Authorization of a login, "" for none. It goes to the
// endpoint's own origin alone; see Endpoint.follow.
func (a *authorizer) header(ctx context.Context, as login, x exchange) (string, error) {
	switch {
	case as.basic:
		return as.who.basic(), nil
	case as.service == nil:
		return "", nil
	}
	return a.bearer(ctx, *as.service, as.who, x, nil)
}

// challenged reads an answer of 401 and returns another Authorization than the
// one that was sent, "" where there is none, and whose it is. An error says why
// the way that the registry names is not taken.
func (a *authorizer) challenged(ctx context.Context, x exchange, res *http.Response, sent string) (auth string, who Credential, err error) {
	var refused error
	var basic bool
	for _, ch := range parseChallenges(res.Header) {
		switch {
		case ch.scheme == "basic":
			basic = true
		case ch.scheme == "bearer" && ch.params["realm"] != "":
			realm, err := a.e.realm(res.Request.URL, ch.params["realm"])
			if err != nil {
				refused = err
				a.e.client.log.Warn("upstream names a token service that is not allowed", "endpoint", a.e.cfg.Label, "err", err)
				continue
			}
			s := &service{realm: realm, name: ch.params["service"]}
			a.learn(false, s)
			return a.again(ctx, *s, x, strings.Fields(ch.params["scope"]), sent)
		}
	}
	if !basic {
		return "", who, refused
	}
	c, err := a.fresh(ctx, x, sent)
	if err != nil {
		return "", who, err
	}
	if again := c.basic(); again != "" && again != sent {
		a.learn(true, nil)
		return again, c, nil
	}
	return "", who, refused
}

// again gets a token after a 401, another one than that which was sent.
func (a *authorizer) again(ctx context.Context, s service, x exchange, scopes []string, sent string) (string, Credential, error) {
	c, err := a.credential(ctx, x)
	if err != nil {
		return "", c, err
	}
	if value, ok := strings.CutPrefix(sent, "Bearer "); ok {
		if !c.RegistryToken.Empty() {
			return "", c, nil // there is no other
		}
		a.tokens.drop(tokenKey{c, scopeKey(x.scopes)}, value)
	}
	auth, err := a.bearer(ctx, s, c, x, scopes)
	if err != nil {
		return "", c, fmt.Errorf("get a token: %w", err)
	}
	return auth, c, nil
}

// bearer returns a token as an Authorization.
func (a *authorizer) bearer(ctx context.Context, s service, c Credential, x exchange, scopes []string) (string, error) {
	if !c.RegistryToken.Empty() {
		return "Bearer " + c.RegistryToken.Reveal(), nil
	}
	fetch := func(ctx context.Context, c Credential, scopes []string) (token, error) {
		return a.e.fetch(ctx, s, c, scopes)
	}
	value, err := a.tokens.get(ctx, a.e.client, tokenKey{c, scopeKey(x.scopes)}, wanted(x.scopes, scopes), fetch)
	if err != nil {
		return "", err
	}
	return "Bearer " + value.Reveal(), nil
}

// wanted returns the scopes to ask a token for: in the registry's own wording
// where it has one, with ours added for what it left out of several. nil means
// that it said nothing.
func wanted(ours, theirs []string) []string {
	if len(theirs) == 0 || len(ours) < 2 {
		return theirs
	}
	all := slices.Clone(theirs)
	for _, scope := range ours {
		resource := scope[:strings.LastIndexByte(scope, ':')+1]
		if !slices.ContainsFunc(theirs, func(s string) bool { return strings.HasPrefix(s, resource) }) {
			all = append(all, scope)
		}
	}
	return all
}

// scopeKey joins scopes in one order.
func scopeKey(scopes []string) string {
	if len(scopes) > 1 {
		scopes = slices.Compact(slices.Sorted(slices.Values(scopes)))
	}
	return strings.Join(scopes, " ")
}

// credential returns the credential for the repository of an exchange.
func (a *authorizer) credential(ctx context.Context, x exchange) (Credential, error) {
	source := a.source(x)
	if source == nil {
		return Credential{}, nil
	}
	c, err := source.Credential(ctx, hubName(a.e.base.Host), a.e.below+x.name.Path)
	if err != nil {
		return Credential{}, &oci.Error{Kind: oci.ErrUnavailable, Message: "the credentials for the upstream cannot be had", Err: err}
	}
	return c, nil
}

// source is where the credentials for an exchange come from, nil for nowhere.
func (a *authorizer) source(x exchange) Credentials {
	if r, ok := a.e.cfg.Credentials.(*rotation); ok {
		return r.all[x.turn]
	}
	return a.e.cfg.Credentials
}

// Forget forgets the tokens that the endpoint has, what helpers said of its
// credentials, and the pauses that its registry asked accounts for: somebody has
// changed the credentials. Requests that are under way go on with what they have,
// and log in anew where that is refused.
func (e *Endpoint) Forget() {
	hosts := []string{hostPort(e.base)}
	if _, s := e.auth.known(); s != nil {
		hosts = append(hosts, hostPort(s.realm))
	}
	if f, ok := e.cfg.Credentials.(forgetter); ok {
		f.forgetAll()
	}
	e.auth.tokens.clear()
	e.client.pauses.forget(hosts...)
}

// fresh is credential after a refusal: what a helper said before is asked
// again where it was just refused.
func (a *authorizer) fresh(ctx context.Context, x exchange, sent string) (Credential, error) {
	if f, ok := a.source(x).(forgetter); ok && sent != "" {
		f.forget(hubName(a.e.base.Host), a.e.below+x.name.Path)
	}
	return a.credential(ctx, x)
}
