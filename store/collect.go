package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// A Collection says how [Vault.Collect] works. The zero value works.
type Collection struct {
	Grace  time.Duration // blobs that nothing needs stay for so long; 0: 24 hours. For pushes under way: safety does not rest on it
	DryRun bool          // count, and change nothing
	Force  bool          // go on where a breaker would stop
	Jobs   int           // how many objects are marked or removed at once; 0: 8
}

func (c Collection) grace() time.Duration {
	if c.Grace <= 0 {
		return collectGrace
	}
	return c.Grace
}

func (c Collection) jobs() int {
	if c.Jobs <= 0 {
		return 8
	}
	return c.Jobs
}

// collectGrace is how long a blob of the vault stays without any manifest that
// needs it: a push may take that long from its first blob to its manifest.
const collectGrace = 24 * time.Hour

// trashAge is how long what was collected can be brought back.
const trashAge = 24 * time.Hour

// Collected says what a collection found and did.
type Collected struct {
	Pins    int64     // manifests in repositories
	Blobs   PoolUsage // all of the vault
	Garbage PoolUsage // what nothing needs any more, and is old enough
	Trashed PoolUsage // what of it was moved to the trash
	Spared  int64     // blobs that a push took up while they were looked at
	Renewed int64     // manifests whose record was written anew because it named such a blob
	Purged  PoolUsage // what left the trash for good
	Links   int64     // rights to read blobs that are gone; removed
	Damaged int64     // records that cannot be read; whatever they may need was kept
	Refused string    // why nothing is removed unless it is forced; "" where nothing speaks against it
}

// ErrRefused means that a collection would have removed so much, or found so
// little, that it is more likely that something is wrong. Nothing was removed.
var ErrRefused = errors.New("the collection was refused")

// Breakers. A listing that fails ends a collection in any case.
const (
	maxShrink  = 10     // percent of the manifests that may have gone since the last collection
	maxGarbage = 20     // percent of the bytes that one collection may remove
	maxObjects = 100000 // blobs that one collection may remove
)

// Collect removes the blobs that no manifest needs. Any number of collections
// may run at the same time, in this process and in others, beside pushes and
// deletes, and each may end anywhere:
//
//	C1 read the pins; what they do not name, and is old, is garbage
//	C2 mark each piece of garbage as condemned
//	C3 read the pins that came since; what they name is left alone
//	C4 move the blobs to the trash
//	C5 remove the marks
//
// Together with the writers' W1 to W4, at [Vault], nothing that an acknowledged
// manifest needs is ever removed. Suppose it were. Then C3 did not see the pin,
// so the pin was written after C2. Its writer looked for the mark after that
// and found none, so C5 was over, and C4 too: but then it looked for the blob,
// and found none.
//
// An error says what could not be listed, marked or removed; what was garbage
// then is found again by the next collection. [ErrRefused] means that a breaker
// has stopped it. What Collected says holds with an error as well.
func (v *Vault) Collect(ctx context.Context, cfg Collection) (Collected, error) {
	c := newCollector(v, cfg)
	err := c.cycle(ctx)
	if err != nil {
		err = fmt.Errorf("collect garbage: %w", err)
	}
	return c.out, err
}

func (c *collector) cycle(ctx context.Context) error {
	if err := c.readMarkers(ctx); err != nil {
		return err
	}
	pins, err := c.readPins(ctx) // C1
	if err != nil {
		return err
	}
	c.out.Pins = pins
	if err := c.findGarbage(ctx); err != nil {
		return err
	}
	last, err := c.readBaseline(ctx)
	if err != nil {
		return err
	}
	if c.out.Refused = c.refusal(last.Pins); c.cfg.DryRun {
		return nil
	}
	if c.out.Refused != "" && !c.cfg.Force {
		return fmt.Errorf("%w: %s", ErrRefused, c.out.Refused)
	}
	if err := c.condemn(ctx); err != nil { // C2
		return err
	}
	again, err := c.readPins(ctx) // C3
	if err != nil {
		return err
	}
	if shrank(pins, again) && !c.cfg.Force {
		c.out.Refused = fmt.Sprintf("there were %d manifests, and a moment later %d", pins, again)
		return fmt.Errorf("%w: %s", ErrRefused, c.out.Refused)
	}
	if err := c.remove(ctx); err != nil { // C4, C5
		return err
	}
	return c.tidy(ctx, again)
}

// tidy does what no other step waits for.
func (c *collector) tidy(ctx context.Context, pins int64) error {
	c.renewPins(ctx)
	if err := c.removeMarkers(ctx); err != nil {
		return err
	}
	old, err := c.readTrash(ctx)
	if err != nil {
		return err
	}
	if err := c.removeLinks(ctx); err != nil {
		return err
	}
	if err := c.purge(ctx, old); err != nil {
		return err
	}
	return c.writeBaseline(ctx, baseline{Pins: pins, At: c.v.store.cfg.now().UTC().Truncate(time.Second)})
}

// refusal returns why nothing should be removed, "" where nothing speaks
// against it.
func (c *collector) refusal(last int64) string {
	bytes := func(p PoolUsage) float64 { return float64(max(p.Bytes, 1)) }
	switch n := c.out.Garbage.Blobs; {
	case n == 0:
		return ""
	case c.out.Pins == 0:
		return fmt.Sprintf("there is no manifest at all, but %d blobs", c.out.Blobs.Blobs)
	case shrank(last, c.out.Pins):
		return fmt.Sprintf("there are %d manifests, and were %d after the last collection", c.out.Pins, last)
	case bytes(c.out.Garbage) > bytes(c.out.Blobs)*maxGarbage/100:
		return fmt.Sprintf("%d of %d bytes would go, more than %d %%", c.out.Garbage.Bytes, c.out.Blobs.Bytes, maxGarbage)
	case n > maxObjects:
		return fmt.Sprintf("%d blobs would go, more than %d", n, maxObjects)
	}
	return ""
}

// shrank reports whether the number of manifests has fallen so far that a
// listing is not to be believed.
func shrank(before, now int64) bool { return now*100 < before*(100-maxShrink) }

// A baseline is what the last collection that was not stopped found. It may be
// lost: then the next one has nothing to compare with.
type baseline struct {
	Pins int64     `json:"pins"`
	At   time.Time `json:"at"`
}

const baselineKey Key = "x/collected"

func (c *collector) readBaseline(ctx context.Context) (baseline, error) {
	var b baseline
	data, err := c.v.store.readRecord(ctx, baselineKey)
	if errors.Is(err, oci.ErrNotFound) {
		return b, nil
	}
	if err != nil {
		return b, err
	}
	if err := json.Unmarshal(data, &b); err != nil {
		c.v.store.log.Warn("the record of the last collection is damaged", "key", string(baselineKey), "err", err)
	}
	return b, nil
}

func (c *collector) writeBaseline(ctx context.Context, b baseline) error {
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return c.b.Put(ctx, baselineKey, data)
}
