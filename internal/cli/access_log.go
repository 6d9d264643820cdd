package cli

import (
	"encoding/json"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/entrepot/entrepot/registry"
)

// An accessLog writes a line for each request, in the form of the rest of the
// log. It does so by itself: slog takes as long for that as the rest of a warm
// manifest (measured in bench/).
type accessLog struct {
	out   *logWriter
	json  bool
	level slog.Level // from which on there are lines
}

// accessLog returns what logs requests, nil where they are not.
func (c config) accessLog(out *logWriter, level slog.Level) *accessLog {
	if c.quietRequests {
		return nil
	}
	return &accessLog{out: out, json: c.jsonLog, level: level}
}

// requestLog is where the registry logs requests itself, which it need not
// where there is an accessLog.
func (s *server) requestLog() *slog.Logger {
	if s.access != nil {
		return nil
	}
	return s.log
}

// maxLogged limits what a line has of each thing that clients choose, in bytes.
const maxLogged = 256

// write logs a request. Of its query it has nothing but the ns, of its headers
// nothing but the user agent, and no session of an upload, with which others
// could go on. What is empty is left out.
func (a *accessLog) write(e *registry.Event) {
	level := slog.LevelInfo
	if e.Status >= 500 {
		level = slog.LevelWarn
	}
	if level < a.level {
		return
	}
	a.out.line(level > slog.LevelInfo, func(b []byte) []byte {
		l := line{b: b, json: a.json}
		l.begin(time.Now(), level)
		l.request(e)
		return l.end()
	})
}

// A line is a line of the log that is being written.
type line struct {
	b    []byte
	json bool
}

// begin writes what each line of slog begins with.
func (l *line) begin(now time.Time, level slog.Level) {
	if l.json {
		l.b = append(l.b, `{"time":"`...)
		l.b = now.AppendFormat(l.b, time.RFC3339Nano)
		l.b = append(l.b, `","level":"`+level.String()+`","msg":"request"`...)
		return
	}
	l.b = append(l.b, "time="...)
	l.b = now.AppendFormat(l.b, "2006-01-02T15:04:05.000Z07:00")
	l.b = append(l.b, " level="+level.String()+" msg=request"...)
}

func (l *line) request(e *registry.Event) {
	l.text("id", e.ID)
	l.text("method", e.Method)
	l.text("op", e.Op)
	l.text("ns", e.Namespace)
	l.text("upstream", e.Name.Host)
	l.text("repo", e.Name.Path)
	l.text("path", e.Path)
	if e.Op != "upload" {
		l.text("ref", e.Reference)
	}
	l.number("status", int64(e.Status))
	l.number("bytes", e.Sent)
	if e.Received > 0 {
		l.number("received", e.Received)
	}
	if l.json {
		l.number("dur", int64(e.Dur))
	} else {
		l.text("dur", e.Dur.String())
	}
	l.text("result", string(e.Result))
	l.text("endpoint", e.From)
	l.text("client", e.Client)
	l.text("user", e.User)
	l.text("agent", e.Agent)
	if e.Trace.Valid() {
		l.text("trace", e.Trace.String()[3:35])
	}
	if e.Err != nil {
		l.text("err", e.Err.Error())
	}
}

func (l *line) end() []byte {
	if l.json {
		l.b = append(l.b, '}')
	}
	return append(l.b, '\n')
}

func (l *line) key(key string) {
	if l.json {
		l.b = append(l.b, `,"`+key+`":`...)
		return
	}
	l.b = append(l.b, " "+key+"="...)
}

func (l *line) number(key string, n int64) {
	l.key(key)
	l.b = strconv.AppendInt(l.b, n, 10)
}

func (l *line) text(key, value string) {
	if value == "" {
		return
	}
	value = value[:min(len(value), maxLogged)]
	l.key(key)
	switch {
	case l.json && unquoted(value, ' '):
		l.b = append(append(append(l.b, '"'), value...), '"')
	case l.json:
		quoted, _ := json.Marshal(value) // a string never fails
		l.b = append(l.b, quoted...)
	case unquoted(value, '!'):
		l.b = append(l.b, value...)
	default:
		l.b = strconv.AppendQuote(l.b, value)
	}
}

// unquoted reports whether a text can stand as it is, in quotes or without: it is
// of ASCII from the first character that may be, and has nothing that means
// something else.
func unquoted(s string, first byte) bool {
	for i := range len(s) {
		if c := s[i]; c < first || c > '~' || c == '"' || c == '\\' || c == '=' && first > ' ' {
			return false
		}
	}
	return true
}

// Lines of requests that went well are gathered, since a system call for each is
// what costs the most; a process that is killed loses them.
const (
	gatherTime  = 100 * time.Millisecond
	gatherBytes = 32 << 10
)

// A logWriter is where the log goes. What is written to it appears at once, and
// after all that was gathered. The zero value but w works; it is safe for
// concurrent use.
type logWriter struct {
	w io.Writer

	mu    sync.Mutex // guards the rest, and w
	buf   []byte
	timer *time.Timer // runs while something is gathered
}

// Write writes lines at once.
func (l *logWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.empty()
	return l.w.Write(p)
}

// line adds a line, which appears now, or soon.
func (l *logWriter) line(now bool, add func([]byte) []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh := len(l.buf) == 0
	l.buf = add(l.buf)
	switch {
	case now || len(l.buf) >= gatherBytes:
		l.empty()
	case fresh && l.timer == nil:
		l.timer = time.AfterFunc(gatherTime, l.flush)
	case fresh:
		l.timer.Reset(gatherTime)
	}
}

// flush makes everything appear.
func (l *logWriter) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.empty()
}

// empty is flush with the lock held.
func (l *logWriter) empty() {
	if len(l.buf) == 0 {
		return
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	l.w.Write(l.buf) // whoever reads no log is told nothing there
	l.buf = l.buf[:0]
}
