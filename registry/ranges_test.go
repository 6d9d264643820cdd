package registry

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A client that waits for a range of a blob that is being fetched has the
// headers at once (containerd PR#13164: it gives up after 30 s without).
func TestRangeHeadersAtOnce(t *testing.T) {
	come := make(chan struct{})
	content := make([]byte, 100)
	h, _, target, _ := blobHandler(t, content, func(b []byte, _ int64) io.ReadCloser {
		return struct {
			io.ReadSeeker
			io.Closer
		}{late{bytes.NewReader(b), come}, io.NopCloser(nil)}
	})
	srv := httptest.NewServer(h)
	defer srv.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Range", "bytes=10-")
	res, err := srv.Client().Do(req) // would wait for ever
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	close(come)
	got, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusPartialContent || len(got) != 90 || err != nil {
		t.Errorf("answered %d with %d bytes, %v", res.StatusCode, len(got), err)
	}
}

// late reads only when the bytes have come.
type late struct {
	*bytes.Reader
	come chan struct{}
}

func (l late) Read(p []byte) (int, error) {
	<-l.come
	return l.Reader.Read(p)
}

func (late) WriteTo(io.Writer) (int64, error) { panic("not a whole body") }
