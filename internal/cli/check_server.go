package cli

import "time"

// drain reads how long it may take to end, and how much of that requests are
// still taken.
func (c *checker) drain(f fileServer) (drain, delay time.Duration) {
	drain = c.duration("server.drain", f.Drain, defaultDrain)
	delay = c.duration("server.drain_delay", f.DrainDelay, byProbes)
	if delay > drain {
		c.add("server.drain_delay", "it is a part of drain: requests have the rest of it to end", "%v is longer than server.drain, %v", delay, drain)
	}
	return drain, delay
}

// logging reads what the log has, and how it is written.
func (c *checker) logging(cfg *config, f fileServer) {
	cfg.quietRequests = f.AccessLog != nil && !*f.AccessLog
	switch f.LogFormat {
	case "", "text":
	case "json":
		cfg.jsonLog = true
	default:
		c.add("server.log_format", "", "%q is neither text nor json", f.LogFormat)
	}
}
