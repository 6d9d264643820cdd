package imageset

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/client-go/util/jsonpath"
)

var errNoBraces = errors.New("it has no braces")

// checkJSONPath says what is wrong with a JSONPath.
func checkJSONPath(path string) error {
	if !strings.Contains(path, "{") {
		return errNoBraces
	}
	_, err := newJSONPath(path)
	return err
}

// newJSONPath parses a JSONPath with the code of kubectl, which oc-mirror has,
// too.
func newJSONPath(path string) (*jsonpath.JSONPath, error) {
	j := jsonpath.New("").AllowMissingKeys(true)
	if err := j.Parse(path); err != nil {
		return nil, err
	}
	return j, nil
}

// find returns the texts at a JSONPath of an object. Several texts in one, with
// spaces between them, count as several, as in oc-mirror.
func findJSONPath(path string, object any) ([]string, error) {
	j, err := newJSONPath(path)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	if err := j.Execute(&out, object); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return strings.Fields(out.String()), nil
}
