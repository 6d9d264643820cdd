package relocate

// SetHuge sets from which size a blob is read in several ranges.
func SetHuge(c *Config, size int64) { c.huge = size }
