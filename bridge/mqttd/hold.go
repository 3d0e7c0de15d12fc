package mqttd

import "time"

// holdBudget is how long a client that is behind above QoS 0 may hold its publishers
// up, until it has caught up: a single one must not set the pace of all for good.
const holdBudget = 2 * time.Second

// brake has publishers wait for a client.
type brake struct {
	calm  chan struct{} // closed when they need not wait any more; nil = nobody waits
	since time.Time     // when they began to
	spent time.Duration // of holdBudget
	timer *time.Timer
}

// Congested has publishers wait while a connected client is behind above QoS 0, within
// holdBudget. See wamp.Congestible.
func (c *client) Congested() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.brake.calm
}

// behind reports whether more than half of the queue is taken, and not by QoS 0 alone.
func (c *client) behind() bool {
	s := c.session
	return c.link != nil && !c.closed && c.failed == nil && len(s.waiting) > 0 && s.queued()+s.waitSize > s.cfg.QueueBytes/2
}

// ease has publishers wait from when the client falls behind, so that the waits for
// several run at the same time, until it has caught up.
func (c *client) ease() {
	b := &c.brake
	switch behind := c.behind(); {
	case !behind:
		b.release()
	case b.calm == nil && b.spent < holdBudget:
		calm := make(chan struct{})
		b.calm, b.since = calm, time.Now()
		b.timer = time.AfterFunc(holdBudget-b.spent, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.brake.calm == calm {
				c.brake.release()
			}
		})
	}
	if len(c.session.waiting) == 0 {
		b.spent = 0
	}
}

func (b *brake) release() {
	if b.calm == nil {
		return
	}
	b.timer.Stop()
	b.spent += time.Since(b.since)
	close(b.calm)
	b.calm = nil
}
