package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/entrepot/entrepot/oci"
)

// pullAll pulls the tag v1 of a repository, with all its blobs.
func pullAll(client *http.Client, repo string) error {
	resp, err := client.Get(repo + "/manifests/v1")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d, %s, %v", repo, resp.StatusCode, raw, err)
	}
	var m struct {
		Config oci.Descriptor
		Layers []oci.Descriptor
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	for _, d := range append(m.Layers, m.Config) {
		if err := read(client, repo+"/blobs/"+string(d.Digest), d.Size); err != nil {
			return err
		}
	}
	return nil
}

// read gets all of a blob.
func read(client *http.Client, url string, size int64) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || n != size {
		return fmt.Errorf("%s: status %d, %d of %d bytes, %v", url, resp.StatusCode, n, size, err)
	}
	return nil
}
