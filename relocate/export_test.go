package relocate

// SetHuge sets from which size a blob is huge, how much of it is read in one
// stream at first, and how fast that has to be to stay alone; 0 leaves a thing
// as it is.
func SetHuge(c *Config, size, probe, fast int64) { c.huge, c.probe, c.fast = size, probe, fast }
