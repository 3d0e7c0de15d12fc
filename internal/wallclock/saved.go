package wallclock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// saved is what of a clock survives the process, as JSON. Times are microseconds.
type saved struct {
	Version int    `json:"v"`
	Floor   int64  `json:"floor"` // a time of day that had passed
	Boot    string `json:"boot"`  // the start of the machine that what follows is of
	era
	Last int64 `json:"last,omitempty"`
	Past []era `json:"past,omitempty"` // earlier ones, the oldest first
}

// era is one start of the machine, or several in which the clock was never set.
type era struct {
	Epoch uint64 `json:"epoch"` // of the first process since then
	Set   bool   `json:"set,omitempty"`
	First int64  `json:"first,omitempty"`
}

const (
	savedVersion = 1
	maxSaved     = 4096
	maxPast      = 16 // eras
	// slack is by how many microseconds the clock may have been before its own floor,
	// as that is read off the machine's clock and not counted on.
	slack = 1_000_000
	// maxTime bounds the times that are believed: the year 2255. With a floor in the
	// future no certificate would be good.
	maxTime = 1 << 53
)

var errSaved = errors.New("not a saved clock")

func parseSaved(b []byte) (s saved, err error) {
	if len(b) > maxSaved {
		return s, errSaved
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&s); err != nil {
		return saved{}, fmt.Errorf("%w: %v", errSaved, err)
	}
	known := func(t int64) bool { return t >= -maxTime && t <= maxTime }
	if s.Version != savedVersion || s.Boot == "" || s.Floor < 0 || !known(s.Floor) || !known(s.Last) || len(s.Past) > maxPast {
		return saved{}, errSaved
	}
	before := uint64(0)
	for _, e := range append(slices.Clone(s.Past), s.era) {
		if e.Epoch <= before || !known(e.First) {
			return saved{}, errSaved
		}
		before = e.Epoch
	}
	return s, nil
}

// Resume tells the clock what Saved returned before, nil for nothing, and the epoch of
// this process, above that of every one before, from 1. It returns an error for what
// was not saved by a clock, of which it takes nothing.
func (c *Clock) Resume(b []byte, epoch uint64) error {
	var s saved
	var err error
	if b != nil {
		s, err = parseSaved(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.look()
	c.epoch, c.firstEpoch = epoch, epoch
	if err != nil || b == nil {
		return err
	}
	c.floor = max(c.floor, s.Floor-r.up)
	if s.Epoch >= epoch {
		return fmt.Errorf("%w: it is of epoch %d, this is %d", errSaved, s.Epoch, epoch)
	}
	c.past = s.Past
	if s.Boot != c.boot {
		if n := len(c.past); n == 0 || s.Set || c.past[n-1].Set {
			c.past = append(c.past, s.era)
			c.past = c.past[max(len(c.past)-maxPast, 0):]
		}
		return nil
	}
	c.firstEpoch = s.Epoch
	if !s.Set {
		return nil
	}
	if s.Last < c.floor-slack {
		return fmt.Errorf("%w: its time is before what has passed", errSaved)
	}
	if !c.set {
		c.last = s.Last
	}
	c.set, c.first = true, s.First
	return nil
}

// Saved returns what Resume of the next process needs. The floor is the time of day if
// that can be trusted. If not, it is only as much later as the machine has been
// running: a clock that stood in the future must not stay there.
func (c *Clock) Saved() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.look()
	floor := c.floor + r.up
	if c.set {
		floor = c.wall(r).UnixMicro()
	}
	return json.Marshal(saved{
		Version: savedVersion, Floor: max(floor, 0), Boot: c.boot, era: era{c.firstEpoch, c.set, c.first}, Last: c.last, Past: c.past,
	})
}

// Changed has a value when what Saved returns should be kept at once: the clock has
// been set, or set anew.
func (c *Clock) Changed() <-chan struct{} { return c.changed }
