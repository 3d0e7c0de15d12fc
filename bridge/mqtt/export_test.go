package mqtt

import (
	"time"

	"gantry/internal/backoff"
)

// RetryFast shortens the waits between connections.
func (c *Client) RetryFast() {
	c.retry = backoff.Config{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond}
}

// Backlog is what a broker that has kept the session since then has kept.
func Backlog(since time.Time) (queued func(heard, now time.Time) bool) {
	b := &backlog{}
	b.since.Store(since.UnixNano())
	return b.holds
}
