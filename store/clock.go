package store

import (
	"sync"
	"time"
)

// clockSet is a time before which no clock is right: a board without a battery
// begins at 1970 or where it stopped.
const clockSet = 1_767_225_600 // 2026-01-01

// What a chunk says of the clock by which it was written.
const (
	clockUnsaid = iota // by a version that did not say
	clockRight
	clockGuess
)

// ageClock is the clock by which files age. It takes the wall clock once, when
// that can be trusted, and counts on from there by itself, so that a jump of the
// wall clock makes nothing older or younger.
type ageClock struct {
	wall   func() time.Time
	synced func() bool // nil: the wall clock can be trusted once it is past clockSet

	mu   sync.Mutex // guards what follows
	base time.Time  // of the wall clock; zero while that could never be trusted
	at   time.Time  // when base was taken
}

// now returns the time; ok is false as long as it is not known.
func (c *ageClock) now() (now time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base.IsZero() {
		wall := c.wall()
		if !c.trusted(wall) {
			return now, false
		}
		c.base, c.at = wall, time.Now()
	}
	return c.base.Add(time.Since(c.at)), true
}

func (c *ageClock) trusted(wall time.Time) bool {
	if c.synced != nil {
		return c.synced()
	}
	return wall.Unix() > clockSet
}

// stamp returns the wall clock for a chunk: microseconds UTC, and what is known of it.
func (c *ageClock) stamp() (clock int64, quality byte) {
	// The answer comes first: a clock that is set in between is right.
	quality = clockGuess
	if c.trusted(c.wall()) {
		quality = clockRight
	}
	return c.wall().UnixMicro(), quality
}

// lastWrite is when a segment was written last.
type lastWrite struct {
	at  time.Time // when this process wrote or found it, with a monotonic reading
	day time.Time // of one that was found: when it was, by the clock of then; zero = not known
	ask bool      // day is what the file system says, and the last chunk may know better
}

// age returns how long ago the segment was written, or, where it was found and nobody
// knows that, for how long it has been known. now is the time, which is known. Only the
// outbox's committer calls it.
func (s *segment) age(now time.Time) time.Duration {
	w := &s.newest
	if w.ask {
		w.ask = false
		// The file system's time is that of a clock of which nothing is known.
		end, err := s.end()
		s.rest()
		switch {
		case err != nil:
		case end.head.quality == clockRight:
			w.day = time.UnixMicro(end.head.clock)
		case end.head.quality == clockGuess:
			w.day = time.Time{}
		}
	}
	since := time.Since(w.at)
	if w.day.Unix() <= clockSet {
		return since
	}
	return max(now.Sub(w.day), since)
}
