package wallclock

import "time"

// Mark is a moment that can be compared with a later one, by another process as well, whatever
// became of the machine's clock between them. It goes into files as JSON. The zero value is no
// moment.
type Mark struct {
	Boot string `json:"boot"`         // the start of the machine
	Up   int64  `json:"up"`           // microseconds since then
	TS   int64  `json:"ts,omitempty"` // microseconds since 1970 UTC, where the clock was set; 0 = it was not
}

// Mark returns that of now.
func (c *Clock) Mark() Mark {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.look()
	m := Mark{Boot: c.boot, Up: r.up}
	if c.set {
		m.TS = c.wall(r).UnixMicro()
	}
	return m
}

// Since returns how long ago a moment was, at least 0. Within one start of the machine its
// time of day does not matter. Between two of them, it is 0 unless the clock was set both times:
// nobody knows how long the machine was off.
func (c *Clock) Since(m Mark) time.Duration {
	now := c.Mark()
	var us int64
	switch {
	case m == Mark{}:
	case m.Boot == now.Boot:
		us = now.Up - m.Up
	case m.TS != 0 && now.TS != 0:
		us = now.TS - m.TS
	}
	return time.Duration(min(max(us, 0), maxTime)) * time.Microsecond
}
