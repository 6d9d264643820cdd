package openshift

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// Directories of [relocate.Set.Extras] that are read here. Others are somebody
// else's.
const (
	signatureDir = "release-signatures/"
	templateDir  = "catalog-source-templates/"
)

// SignatureFile returns the name of the extra that holds a signature of a
// release image: the n-th, from 1.
func SignatureFile(release ref.Digest, n int) string {
	return fmt.Sprintf("%s%s-%s-%d", signatureDir, release.Algorithm(), release.Encoded(), n)
}

// TemplateFile returns the name of the extra that holds the template for the
// CatalogSource of a catalog, by the catalog's original name.
func TemplateFile(catalog ref.Ref) string { return templateDir + catalog.String() }

// Extras are what the files of a set are for.
type extras struct {
	signatures map[string][]byte    // :: key in the ConfigMap → the signature
	templates  map[string]*Template // :: original name of the catalog → template
}

// readExtras reads the extras of a set.
func readExtras(files []relocate.File) (extras, error) {
	e := extras{signatures: make(map[string][]byte), templates: make(map[string]*Template)}
	for _, f := range files {
		if key, ok := strings.CutPrefix(f.Name, signatureDir); ok {
			if !isSignature(key) {
				return e, fmt.Errorf("%s: a signature is called sha256-DIGEST-NUMBER", f.Name)
			}
			if len(f.Data) == 0 {
				return e, fmt.Errorf("%s: the signature is empty", f.Name)
			}
			e.signatures[key] = f.Data
		}
		if name, ok := strings.CutPrefix(f.Name, templateDir); ok {
			t, err := ParseTemplate(f.Name, f.Data)
			if err != nil {
				return e, err
			}
			e.templates[name] = t
		}
	}
	return e, nil
}

// isSignature reports whether a key has the form of [SignatureFile].
func isSignature(key string) bool {
	algorithm, rest, _ := strings.Cut(key, "-")
	hash, n, _ := strings.Cut(rest, "-")
	_, err := ref.ParseDigest(algorithm + ":" + hash)
	return err == nil && n != "" && n[0] != '0' && strings.Trim(n, "0123456789") == ""
}

// The ConfigMap is written twice, as oc-mirror does.
const (
	signatureYAML = "signature-configmap.yaml"
	signatureJSON = "signature-configmap.json"
)

// maxConfigMap is how much data a ConfigMap may have (Kubernetes).
const maxConfigMap = 1 << 20

// signatures writes the ConfigMap from which a cluster verifies the releases
// that it is updated to.
func (w *writer) signatures() {
	if len(w.extras.signatures) == 0 {
		return
	}
	data, size := object{}, 0
	for key, s := range w.extras.signatures {
		data[key] = base64.StdEncoding.EncodeToString(s)
		size += len(key) + len(s)
	}
	if size > maxConfigMap {
		w.refuse(fmt.Sprintf("the signatures have %d bytes, and a ConfigMap %d at most", size, maxConfigMap), "take fewer releases")
		return
	}
	meta := metadata("mirrored-release-signatures")
	meta["namespace"] = "openshift-config-managed"
	meta["labels"] = object{"release.openshift.io/verification-signatures": ""}
	o := object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "binaryData": data}
	w.object(signatureYAML, o)
	asJSON, err := marshalJSON(o)
	if err != nil {
		w.err = cmp.Or(w.err, err)
	}
	w.files = append(w.files, relocate.File{Name: signatureJSON, Data: asJSON}) // JSON has no comments
}
