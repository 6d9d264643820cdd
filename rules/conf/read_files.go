package conf

import "github.com/entrepot/entrepot/rules"

// ReadFiles reads files that [Write] gave, as a client does, without a file
// system between.
func ReadFiles(files []File, format string, d rules.Dialect) (rules.Config, error) {
	f, err := formatOf(format)
	if err != nil {
		return rules.Config{}, err
	}
	return readBack(files, f, d)
}
