package main

import (
	"sync"
	"time"

	"gantry/internal/clocksync"
)

// clock tells whether the time of day can be trusted: boards without a battery
// start in 1970 or where they were switched off.
type clock struct {
	mu     sync.Mutex // guards what follows
	synced bool
	asked  time.Time // when synced was found out; zero = never
}

// clockAge is how long an answer about the clock is used.
const clockAge = 5 * time.Second

// Synced reports whether something keeps the clock right.
func (c *clock) Synced() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.asked.IsZero() || now.Sub(c.asked) > clockAge {
		c.synced, c.asked = clocksync.Synced(), now
	}
	return c.synced
}
