package mqttd

import (
	"sync"
	"time"

	"gantry/internal/anteroom"
)

// How long clients that are behind above QoS 0 may hold their publishers up, until they
// have caught up: nobody must set the pace of all for good, nor again and again.
const (
	clientHold = 2 * time.Second  // of one client identifier
	userHold   = 10 * time.Second // of all clients of a user
	// holdRefill is how long it takes to get back what was spent, as a multiple of it.
	holdRefill = 30
	// leastHold is what is not worth a wait.
	leastHold = 100 * time.Millisecond
	// maxAccounts bounds the memory for accounts that are not full. When there are so many,
	// publishers wait for nobody.
	maxAccounts = 4096
)

// holder is whose time publishers wait. The zero id stands for all clients of a user.
type holder struct{ user, id string }

// account is the time that is left to a holder.
type account struct {
	left    time.Duration
	at      time.Time // of left
	waiting int       // brakes that use it now
}

// holds are the accounts of all holders; those that are full are not kept. They outlive
// connections and sessions: who comes again finds what it has left.
type holds struct {
	mu       sync.Mutex // guards accounts
	accounts map[holder]*account
}

func newHolds() *holds { return &holds{accounts: map[holder]*account{}} }

// settle brings an account up to date.
func (a *account) settle(limit time.Duration, now time.Time) {
	passed := now.Sub(a.at)
	if a.waiting > 0 {
		a.left = max(a.left-passed, 0)
	} else {
		a.left = min(a.left+passed/holdRefill, limit)
	}
	a.at = now
}

func limitOf(h holder) time.Duration {
	if h.id == "" {
		return userHold
	}
	return clientHold
}

// begin has a client use its time and its user's, and returns how much there is; 0: it may
// not. The time of several clients of a user that run at once is spent once.
func (h *holds) begin(who holder, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sweep(now); len(h.accounts)+2 > maxAccounts {
		return 0
	}
	var both [2]*account
	left := clientHold
	for i, key := range [...]holder{who, {user: who.user}} {
		both[i] = h.account(key, now)
		left = min(left, both[i].left)
	}
	if left < leastHold {
		return 0
	}
	for _, a := range both {
		a.waiting++
	}
	return left
}

// end is the end of what begin has begun.
func (h *holds) end(who holder, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range [...]holder{who, {user: who.user}} {
		a := h.accounts[key]
		a.settle(limitOf(key), now)
		a.waiting--
	}
}

// account returns an account as it is now.
func (h *holds) account(key holder, now time.Time) *account {
	a := h.accounts[key]
	if a == nil {
		a = &account{left: limitOf(key), at: now}
		h.accounts[key] = a
	}
	a.settle(limitOf(key), now)
	return a
}

// sweep forgets full accounts if there is no room for two more.
func (h *holds) sweep(now time.Time) {
	if len(h.accounts)+2 <= maxAccounts {
		return
	}
	for key, a := range h.accounts {
		if a.settle(limitOf(key), now); a.waiting == 0 && a.left == limitOf(key) {
			delete(h.accounts, key)
		}
	}
}

// holder returns whose time a client uses: strangers of one address are one user.
func (c *client) holder() holder {
	user := "user " + c.who.AuthRole + " " + c.who.AuthID
	if c.who.AuthMethod == "anonymous" {
		user = "from " + anteroom.Origin(c.link.nc.RemoteAddr()).String()
	}
	return holder{user, c.session.id}
}

// brake has publishers wait for a client.
type brake struct {
	calm    chan struct{} // closed when they need not wait any more; nil = nobody waits
	who     holder
	since   time.Time // when they began to
	timer   *time.Timer
	refused bool // it has no time left, since it has fallen behind
}

// Congested has publishers wait while a connected client is behind above QoS 0, as long as
// it may hold them up. See wamp.Congestible.
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
		c.letGo()
		b.refused = false
	case b.calm == nil && !b.refused:
		c.hold(time.Now())
	}
}

// hold has publishers wait, if the client may still hold them up.
func (c *client) hold(now time.Time) {
	b, who := &c.brake, c.holder()
	left := c.srv.holds.begin(who, now)
	if left == 0 {
		c.exhausted()
		return
	}
	calm := make(chan struct{})
	b.calm, b.who, b.since = calm, who, now
	c.srv.stats.held.Add(1)
	b.timer = time.AfterFunc(left, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.brake.calm == calm {
			c.letGo()
			c.exhausted()
		}
	})
}

// exhausted notes that publishers do not wait for the client any more, until it has caught
// up: what does not fit its queue ends its connection.
func (c *client) exhausted() {
	c.brake.refused = true
	c.srv.stats.exhausted.Add(1)
	c.srv.rare.Info("mqtt publishers wait no longer for a client that is behind", "client", c.session.id, "authid", c.who.AuthID,
		"hint", "it is disconnected when its queue is full; raise mqtt.queue_bytes, or subscribe to less")
}

// letGo lets publishers go on.
func (c *client) letGo() {
	b := &c.brake
	if b.calm == nil {
		return
	}
	now := time.Now()
	b.timer.Stop()
	c.srv.holds.end(b.who, now)
	c.srv.stats.heldTime.Add(uint64(now.Sub(b.since)))
	close(b.calm)
	b.calm = nil
}
