package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/entrepot/entrepot/oci"
)

// A config is an image's configuration, of which some members are known. The others
// stay as they are (image-spec 1.1, "OCI Image Configuration").
type config struct {
	all   map[string]json.RawMessage
	inner map[string]json.RawMessage // all["config"]
	imageConfig
	Created json.RawMessage   `json:"created"`
	History []json.RawMessage `json:"history"`
	RootFS  struct {
		Type    string       `json:"type"`
		DiffIDs []oci.Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

func parseConfig(raw []byte) (*config, error) {
	c := new(config)
	if err := errors.Join(json.Unmarshal(raw, &c.all), json.Unmarshal(raw, c)); err != nil {
		return nil, err
	}
	if c.all == nil {
		return nil, errors.New("not an object")
	}
	if raw, ok := c.all["config"]; ok {
		if err := json.Unmarshal(raw, &c.inner); err != nil {
			return nil, err
		}
	}
	if c.inner == nil {
		c.inner = map[string]json.RawMessage{}
	}
	return c, nil
}

// filtered returns the configuration of the image with further layers, for a
// filtered catalog. There is no time in it but the image's own.
func (c *config) filtered(from oci.Digest, diffs []oci.Digest) ([]byte, error) {
	labels := map[string]string{FilteredFrom: string(from)}
	for name, value := range c.Config.Labels {
		if name != FilteredFrom {
			labels[name] = value
		}
	}
	c.RootFS.DiffIDs = append(slices.Clone(c.RootFS.DiffIDs), diffs...)
	err := errors.Join(put(c.inner, "Labels", labels), put(c.all, "rootfs", c.RootFS), c.serveWithoutCache())
	if len(c.History) > 0 {
		err = errors.Join(err, c.record("remove the catalog and opm's cache of it"), c.record("add the filtered catalog"))
	}
	if err = errors.Join(err, put(c.all, "config", c.inner)); err != nil {
		return nil, err
	}
	return json.Marshal(c.all)
}

// record adds a line to the history, which has one for every layer, or none at all.
func (c *config) record(what string) error {
	line := map[string]any{"created_by": "entrepot: " + what}
	if c.Created != nil {
		line["created"] = c.Created
	}
	raw, err := json.Marshal(line)
	if err != nil {
		return err
	}
	c.History = append(c.History, raw)
	return put(c.all, "history", c.History)
}

// serveWithoutCache takes the flags about a cache out of the command.
func (c *config) serveWithoutCache() error {
	var errs []error
	for name, had := range map[string][]string{"Entrypoint": c.Config.Entrypoint, "Cmd": c.Config.Cmd} {
		if rest, _ := withoutCache(had); len(rest) < len(had) {
			errs = append(errs, put(c.inner, name, rest))
		}
	}
	return errors.Join(errs...)
}

// put sets a member.
func put(into map[string]json.RawMessage, key string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	into[key] = raw
	return nil
}
