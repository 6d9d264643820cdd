package remote

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestFault12TokensOfAMinute copies for hours from a registry whose tokens last
// a minute, each blob for longer than that: none fails or begins anew, and no
// request is sent with a token that has ended.
func TestFault12TokensOfAMinute(t *testing.T) {
	const blobs, pieces, piece = 200, 6, "0123456789"
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		granted := map[string]time.Time{} // :: token → when
		asked, refused := map[string]int{}, 0
		m := new(memNet)
		m.serve(t, "registry.test:80", func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			if r.URL.Path == "/token" {
				token := fmt.Sprint("t", len(granted))
				granted[token] = time.Now()
				mu.Unlock()
				fmt.Fprintf(w, `{"token":%q,"expires_in":60}`, token)
				return
			}
			at, ok := granted[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
			if !ok || time.Since(at) >= time.Minute {
				refused++
				mu.Unlock()
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://registry.test/token",service="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			asked[r.URL.Path]++
			mu.Unlock()
			w.Header().Set("Content-Length", fmt.Sprint(pieces*len(piece)))
			for i := range pieces {
				if i > 0 {
					time.Sleep(17 * time.Second)
				}
				io.WriteString(w, piece)
				w.(http.Flusher).Flush()
			}
		})
		c := NewClient(ClientConfig{Dial: m.dial})
		defer c.Close()
		e, err := c.Endpoint(EndpointConfig{URL: "http://registry.test", Credentials: as("team")})
		if err != nil {
			t.Fatal(err)
		}
		for i := range blobs {
			got, _, err := readBlob(e, digestOf(fmt.Sprint(i)), 0)
			if err != nil || got != strings.Repeat(piece, pieces) {
				t.Fatalf("blob %d: %d bytes, %v", i, len(got), err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if len(asked) != blobs || refused != 1 {
			t.Errorf("%d blobs, and %d refusals; want %d, and the one that asks who we are", len(asked), refused, blobs)
		}
		for path, n := range asked {
			if n != 1 {
				t.Errorf("%s was asked for %d times", path, n)
			}
		}
	})
}
