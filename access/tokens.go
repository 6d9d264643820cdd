package access

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/entrepot/entrepot/ref"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// tokenLife is how long a token of ours is good for, at most. Rights are looked up
	// again at each use; this is how long a removed password goes on.
	tokenLife = 5 * time.Minute
	// skew is how far clocks may be apart.
	skew = time.Minute
	// maxToken limits a token, in bytes.
	maxToken = 16 << 10

	tokenIssuer  = "entrepot"
	tokenService = "entrepot"
)

// Tokens makes our own tokens and checks them. There is one key and one
// algorithm; nothing that a token says about keys is looked at.
type tokens struct {
	key    key
	signer jose.Signer

	before *tokens   // of the key before this one; nil where there was none
	ends   time.Time // when those of before end, all of them
}

// with returns the tokens of a key: t itself where it is the same. T may be nil.
func (t *tokens) with(k key) (*tokens, error) {
	if t != nil && t.key == k {
		return t, nil
	}
	next, err := newTokens(k)
	if err == nil && t != nil {
		next.before, next.ends = &tokens{key: t.key, signer: t.signer}, time.Now().Add(tokenLife+skew)
	}
	return next, err
}

// Claims are what a token of ours says.
type claims struct {
	jwt.Claims
	Access  []grant  `json:"access"`
	Groups  []string `json:"groups,omitempty"`
	Foreign bool     `json:"foreign,omitempty"`
	// By says how the caller logged in, so that an account that is gone can
	// be told from one that never was in the file.
	By string `json:"by,omitempty"`
}

// A grant is a right to a repository, as the name that [Path] writes.
type grant struct {
	Host   string `json:"host,omitempty"`
	Path   string `json:"path"` // "" for the catalog
	Rights Rights `json:"rights"`
}

func newTokens(k key) (*tokens, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.algorithm, Key: k.private()}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	return &tokens{key: k, signer: signer}, nil
}

// make returns a token for a caller that is good for his Limits, and how long:
// not longer than the credentials that he has shown.
func (t *tokens) make(c Caller) (string, time.Duration, error) {
	now := time.Now()
	life := tokenLife
	if left := c.until.Sub(now); !c.until.IsZero() && left < life {
		life = max(0, left)
	}
	all := claims{
		Claims: jwt.Claims{
			Issuer: tokenIssuer, Audience: jwt.Audience{tokenService}, Subject: c.User, ID: rand.Text(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(life)),
		},
		Access: []grant{}, Groups: c.Groups, Foreign: c.Foreign, By: c.by,
	}
	for _, l := range c.Limits {
		all.Access = append(all.Access, grant{l.Name.Host, l.Name.Path, l.Allow})
	}
	raw, err := jwt.Signed(t.signer).Claims(all).Serialize()
	return raw, life, err
}

var errToken = errors.New("the token is not valid, or no longer")

// caller returns who a token says its bearer is. The cause of an error is for
// logs.
func (t *tokens) caller(raw string) (Caller, error) {
	c, err := t.own(raw)
	if err != nil && t.before != nil && time.Now().Before(t.ends) {
		if c, err := t.before.own(raw); err == nil {
			return c, nil
		}
	}
	return c, err
}

// own is caller for tokens by the key itself.
func (t *tokens) own(raw string) (Caller, error) {
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{t.key.algorithm})
	if err != nil {
		return Caller{}, err
	}
	var all claims
	if err := token.Claims(t.key.public(), &all); err != nil {
		return Caller{}, err
	}
	if err := check(all.Claims, tokenIssuer, tokenService); err != nil {
		return Caller{}, err
	}
	c := Caller{User: all.Subject, Groups: all.Groups, Foreign: all.Foreign, by: all.By, Limits: []Limit{}}
	for _, g := range all.Access {
		c.Limits = append(c.Limits, Limit{ref.Name{Host: g.Host, Path: g.Path}, g.Rights})
	}
	return c, nil
}

// check holds a token's claims against what they have to be. A token without
// an end is good for nothing.
func check(c jwt.Claims, issuer, audience string) error {
	if c.Expiry == nil {
		return errors.New("it has no exp")
	}
	return c.ValidateWithLeeway(jwt.Expected{Issuer: issuer, AnyAudience: jwt.Audience{audience}, Time: time.Now()}, skew)
}
