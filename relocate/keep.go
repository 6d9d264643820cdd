package relocate

import (
	"fmt"
	"regexp"
	"strings"
	"text/template"

	"github.com/entrepot/entrepot/ref"
)

// DefaultKeepTag is the template of the tags for images that are named by their
// digest alone. Without a tag a registry's garbage collection, or its retention
// policy, would delete them.
const DefaultKeepTag = `d-{{slice .Hex 0 32}}`

// A keeper makes the tags that keep images.
type keeper struct{ text *template.Template }

// keepSource is what a keeper's template sees.
type keepSource struct {
	Algorithm string // "sha256"
	Hex       string // of the digest, 64 or 128 digits
}

func newKeeper(text string) (*keeper, error) {
	if text == "" {
		text = DefaultKeepTag
	}
	t, err := template.New("keep tag").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("template of tags to keep images: %w", err)
	}
	k := &keeper{text: t}
	_, err = k.tag(ref.Digest("sha256:" + strings.Repeat("0123456789abcdef", 4)))
	if err != nil {
		return nil, err
	}
	return k, nil
}

// taken matches the tags that have a meaning of their own: "sha256-…" is where
// the referrers of a manifest are looked up at a registry without the referrers
// API (distribution-spec 1.1, "Referrers Tag Schema"), with a suffix it is one
// of cosign's or imgpkg's.
var taken = regexp.MustCompile(`^sha(256|512)-[0-9a-f]+(\..*)?$`)

func (k *keeper) tag(d ref.Digest) (string, error) {
	var b strings.Builder
	alg, hex, _ := strings.Cut(string(d), ":")
	if err := k.text.Execute(&b, keepSource{Algorithm: alg, Hex: hex}); err != nil {
		return "", fmt.Errorf("template of tags to keep images: %w", err)
	}
	tag := b.String()
	switch {
	case !ref.ValidTag(tag):
		return "", fmt.Errorf("template of tags to keep images: it makes %q, which is no tag", tag)
	case taken.MatchString(tag):
		return "", fmt.Errorf("template of tags to keep images: it makes %q, and such tags are for an image's referrers and signatures", tag)
	}
	return tag, nil
}
