package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/imageset"
	"github.com/entrepot/entrepot/rules"
)

// updateGraphs are where update graphs are read: what --graph says.
type updateGraphs struct {
	flags  *transferFlags
	source string // a file, a directory or an address of the graphs; "" for none
	bundle string // a file or an address of the graph's data; "" for none
	arch   string // the architecture that a file was read for; "" for none yet
}

// graphs reads the values of --graph: one that has graphs, and one that has the
// data from which the image of the graph is made.
func (t *transferFlags) graphs(values []string) (*updateGraphs, error) {
	g := &updateGraphs{flags: t}
	for _, v := range values {
		to, err := g.place(v)
		if err != nil {
			return nil, usageError(fmt.Errorf("--graph: %w", err), "")
		}
		if *to != "" {
			return nil, usageError(fmt.Errorf("--graph: %s and %s are the same kind of thing", *to, v), "give one graph, and for the image of it one archive of graph data")
		}
		*to = v
	}
	return g, nil
}

// place tells graphs from the data of the image, which is a compressed archive.
func (g *updateGraphs) place(v string) (*string, error) {
	if u, ok := webAddress(v); ok {
		if strings.HasSuffix(u.Path, "/graph-data") || strings.HasSuffix(u.Path, ".tar.gz") || strings.HasSuffix(u.Path, ".tgz") {
			return &g.bundle, nil
		}
		return &g.source, nil
	}
	f, err := os.Open(v)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 2)
	if _, err := io.ReadFull(f, head); err == nil && bytes.Equal(head, []byte{0x1f, 0x8b}) {
		return &g.bundle, nil
	}
	return &g.source, nil
}

// webAddress reports whether a text is an address of HTTP(S).
func webAddress(text string) (*url.URL, bool) {
	u, err := url.Parse(text)
	return u, err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
}

// graph reads the graph of a channel.
func (g *updateGraphs) graph(ctx context.Context, q imageset.Query) ([]byte, error) {
	if g.source == "" {
		return nil, imageset.ErrNoGraph
	}
	if u, ok := webAddress(g.source); ok {
		query := u.Query()
		query.Set("channel", q.Channel)
		query.Set("arch", q.Arch)
		u.RawQuery = query.Encode()
		return g.flags.fetchURL(ctx, u.String())
	}
	if isDir(g.source) {
		return g.file(q)
	}
	if g.arch != "" && g.arch != q.Arch {
		return nil, fmt.Errorf("the file %s is of one architecture, and %s and %s are wanted: give a directory of ARCH-CHANNEL.json", g.source, g.arch, q.Arch)
	}
	g.arch = q.Arch
	return os.ReadFile(g.source)
}

// file reads a graph from a directory, in which it is called as oc-mirror does.
func (g *updateGraphs) file(q imageset.Query) ([]byte, error) {
	names := []string{q.Arch + "-" + q.Channel + ".json", q.Channel + ".json"}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(g.source, name))
		if !errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
	}
	return nil, fmt.Errorf("%s has neither %s", g.source, strings.Join(names, " nor "))
}

// data reads the data of the update graph.
func (g *updateGraphs) data(ctx context.Context) ([]byte, error) {
	switch _, web := webAddress(g.bundle); {
	case g.bundle == "":
		return nil, imageset.ErrNoGraphData
	case web:
		return g.flags.fetchURL(ctx, g.bundle)
	}
	return os.ReadFile(g.bundle)
}

// A statusError says that an address answers something else than content.
type statusError struct {
	at   string // without a password
	code int
}

func (e statusError) Error() string {
	return fmt.Sprintf("get %s: %d %s", e.at, e.code, http.StatusText(e.code))
}

// fetchURL reads what is at an address, with the authorities and hosts of the
// flags. An answer other than 200 is an error.
func (t *transferFlags) fetchURL(ctx context.Context, address string) (_ []byte, err error) {
	u, ok := webAddress(address)
	if !ok {
		return nil, errors.New("this is no address")
	}
	if slices.Contains(t.plainHTTP, u.Host) {
		u.Scheme = "http"
	}
	way := t.networkFlags.apply(rules.Try{Host: u.Host})
	tlsConfig, err := tlsOf(way.Transport)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsConfig, DisableKeepAlives: true, ForceAttemptHTTP2: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "entrepot/"+readVersion().Version)
	req.Header.Set("Accept", "application/json, application/yaml, */*")
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() // what it could say is of no use
	if resp.StatusCode != http.StatusOK {
		return nil, statusError{u.Redacted(), resp.StatusCode}
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, document.MaxSize+1))
	if err == nil && len(data) > document.MaxSize {
		err = fmt.Errorf("it is larger than %d MiB", document.MaxSize>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", u.Redacted(), err)
	}
	return data, nil
}
