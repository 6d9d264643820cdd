package access

import (
	"cmp"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// maxForm limits the body of a question for a token, in bytes.
const maxForm = 64 << 10

// A TokenServer gives tokens to callers who have logged in, or who need not:
// GET with Basic credentials (the Docker registry's token protocol), and POST
// with a password (its OAuth 2 form). It is safe for concurrent use.
type TokenServer struct {
	Door   *Door
	Policy Policy
	// Resolve returns the repository that a client calls by a name; false
	// where that is none.
	Resolve func(name string) (ref.Name, bool)
}

// ServeHTTP answers one question for a token.
func (s TokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	if !s.Door.Connects(r.RemoteAddr) {
		s.fail(w, &oci.Error{Kind: oci.ErrDenied, Code: oci.CodeDenied, Message: "this address may not connect"})
		return
	}
	if s.Door.tokens == nil { // a reload has just taken them away
		s.fail(w, &oci.Error{Kind: oci.ErrNotFound, Code: oci.CodeNameUnknown, Message: "there are no tokens here"})
		return
	}
	c, asked, err := s.question(w, r)
	if err == nil && c.Anonymous() && s.Policy.Nothing() {
		err = wrong("credentials are needed", nil)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	c.Limits = grants(s.Policy, c, asked, s.Resolve)
	token, life, err := s.Door.tokens.make(c)
	if err != nil {
		s.fail(w, err)
		return
	}
	s.send(w, http.StatusOK, struct {
		Token    string    `json:"token"`
		Access   string    `json:"access_token"`
		Expires  int       `json:"expires_in"`
		IssuedAt time.Time `json:"issued_at"`
	}{token, token, int(life / time.Second), time.Now().UTC().Truncate(time.Second)})
}

// question returns who asks, and for what.
func (s TokenServer) question(w http.ResponseWriter, r *http.Request) (Caller, []scope, error) {
	var form url.Values
	var c Caller
	var err error
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		form = r.URL.Query()
		c, err = s.Door.Caller(r)
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			return Caller{}, nil, invalid("the form is malformed")
		}
		form = r.PostForm
		c, err = s.Door.formCaller(r, form)
	default:
		return Caller{}, nil, &oci.Error{Kind: oci.ErrUnsupported, Code: oci.CodeUnsupported, Message: "use GET or POST"}
	}
	if err != nil {
		return Caller{}, nil, err
	}
	if c.Limits != nil { // a token would live for ever by its own children
		return Caller{}, nil, wrong("a token of ours is no credential for another", nil)
	}
	asked, err := parseScopes(form["scope"])
	if err != nil {
		return Caller{}, nil, invalid(err.Error())
	}
	return c, asked, nil
}

// formCaller finds out who sent a form with a password.
func (d *Door) formCaller(r *http.Request, form url.Values) (Caller, error) {
	if grant := form.Get("grant_type"); grant != "password" {
		return Caller{}, invalid("the only grant_type is password")
	}
	return d.login(r.Context(), form.Get("username"), oci.NewSecret(form.Get("password")), address(r.RemoteAddr))
}

func invalid(message string) error {
	return &oci.Error{Kind: oci.ErrInvalid, Code: oci.CodeUnsupported, Message: message}
}

// fail answers an error, as the registry does.
func (s TokenServer) fail(w http.ResponseWriter, err error) {
	status, code, message := http.StatusInternalServerError, oci.CodeUnsupported, "internal error"
	if e, ok := errors.AsType[*oci.Error](err); ok {
		code, message = cmp.Or(e.Code, code), e.Message
		switch {
		case e.Kind == oci.ErrUnauthorized:
			status = http.StatusUnauthorized
			w.Header().Set("Www-Authenticate", `Basic realm="entrepot"`)
		case e.Code == oci.CodeTooManyRequests:
			status = http.StatusTooManyRequests
			w.Header().Set("Retry-After", retryAfter(e.RetryAfter))
		case e.Kind == oci.ErrDenied:
			status = http.StatusForbidden
		case e.Kind == oci.ErrUnsupported:
			status = http.StatusMethodNotAllowed
			w.Header().Set("Allow", "GET, POST")
		case e.Kind == oci.ErrNotFound:
			status = http.StatusNotFound
		case e.Kind == oci.ErrInvalid:
			status = http.StatusBadRequest
		case e.Kind == oci.ErrUnavailable:
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", retryAfter(e.RetryAfter))
		}
	} else {
		s.Door.log.Error("make token", slog.Any("err", err))
	}
	type one struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	s.send(w, status, struct {
		Errors []one `json:"errors"`
	}{[]one{{code, message}}})
}

// retryAfter is a time in whole seconds, and at least one.
func retryAfter(d time.Duration) string {
	return strconv.Itoa(int(max(d+time.Second-1, time.Second) / time.Second))
}

func (s TokenServer) send(w http.ResponseWriter, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil { // strings and numbers only
		s.Door.log.Error("answer", slog.Any("err", err))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	w.WriteHeader(status)
	w.Write(raw) // who left needs no answer
}
