package store

import (
	"sync"
	"time"
)

// clockSet is a time before which no clock is right: a board without a battery
// begins at 1970 or where it stopped.
const clockSet = 1_767_225_600 // 2026-01-01

// ageClock is the clock by which files age. It takes the wall clock once, when
// that has been set, and counts on from there by itself, so that a jump of the
// wall clock makes nothing older or younger.
type ageClock struct {
	wall func() time.Time

	mu   sync.Mutex // guards what follows
	base time.Time  // of the wall clock; zero while that was never set
	at   time.Time  // when base was taken
}

// now returns the time; one before clockSet says that it is not known.
func (c *ageClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base.IsZero() {
		wall := c.wall()
		if wall.Unix() <= clockSet {
			return wall
		}
		c.base, c.at = wall, time.Now()
	}
	return c.base.Add(time.Since(c.at))
}
