package mqtt

import (
	"time"

	"gantry/internal/backoff"
)

// RetryFast shortens the waits between connections.
func (c *Client) RetryFast() {
	c.retry = backoff.Config{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond}
}
