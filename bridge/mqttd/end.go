package mqttd

import (
	"errors"
	"time"

	"gantry/bridge/internal/packet"
)

// Why a connection ends.
var (
	errKeepAlive  = errors.New("nothing received within 1.5 times the keep-alive")
	errTakenOver  = errors.New("another connection has taken over the client id")
	errSlow       = errors.New("client is too slow for its subscriptions at QoS 1 and 2")
	errFull       = errors.New("the queue of a kept session is full")
	errUnstored   = errors.New("a message cannot be stored for a kept session")
	errOversize   = errors.New("the message is larger than the client takes")
	errConnect    = errors.New("second CONNECT")
	errUnexpected = errors.New("packet is not for a client to send")
	errExpired    = errors.New("the session has expired")
)

// hintOversize is what to do about errOversize.
const hintOversize = "the client's maximum packet size is too small for what it subscribes to"

// leave ends the conversation: the router has said its last word. The connection ends
// by Close.
func (c *client) leave(code byte) {
	if c.leaving {
		return
	}
	c.leaving = true
	c.will = nil
	if l := c.link; l != nil {
		if l.version == packet.V5 && c.joined && !l.ended {
			c.session.out = packet.AppendDisconnect(c.session.out, code)
		}
		// Recv may wait for a packet that nobody needs any more.
		_ = l.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// end cuts the whole session: nothing of it is kept.
func (c *client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expiry = 0
	c.cut(err)
}

// lost ends the connection l, for what the client did or for what happened to it.
func (c *client) lost(l *link, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == l {
		c.cut(err)
	}
}

// cut ends the connection at once: nothing queued is sent. The session ends with it
// unless it is kept.
func (c *client) cut(err error) {
	if c.failed != nil || c.closed || c.leaving {
		return
	}
	c.report(err)
	if c.link != nil {
		c.detach(c.link, err)
	}
	if !c.session.kept || c.expiry == 0 {
		c.sendWill()
		c.failed = err
	}
	c.makeRoom()
	c.wake()
}

// Close flushes what is queued, ends the connection and frees a blocked Recv.
func (c *client) Close() error {
	c.mu.Lock()
	l := c.link
	if !c.closed {
		c.closed = true
		c.unpin()
		c.stopTimers()
		if l != nil {
			now := time.Now()
			_ = l.nc.SetReadDeadline(now)
			_ = l.nc.SetWriteDeadline(now.Add(linger))
		}
		c.makeRoom()
		c.wake()
	}
	c.mu.Unlock()
	if l != nil {
		<-l.written
	}
	return nil
}

// Room returns a channel that is closed when there may be more room. See wamp.Roomy.
func (c *client) Room() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room == nil {
		c.room = make(chan struct{})
	}
	room := c.room
	if c.closed || c.failed != nil {
		c.makeRoom()
	}
	return room
}

// roomOnDisk is makeRoom once the journal is on disk.
func (c *client) roomOnDisk() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.makeRoom()
}
