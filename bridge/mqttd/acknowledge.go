package mqttd

import "gantry/bridge/internal/packet"

// onDisk calls f, with the lock held, once all that has been queued is on disk, unless
// the connection has been lost until then. It reports false if there is nothing to wait
// for.
func (c *client) onDisk(l *link, f func()) bool {
	return c.srv.journal.then(waiter{done: c.on(l, f)}, 0)
}

// on returns what calls f with the lock held if the connection is still there.
func (c *client) on(l *link, f func()) func() {
	return c.alive(func() {
		if c.link == l {
			f()
		}
	})
}

// alive returns what calls f with the lock held unless the session has been closed.
func (c *client) alive(f func()) func() {
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.closed {
			f()
			c.wake()
		}
	}
}

// acknowledge sends an acknowledgement once what the message has caused is kept, if the
// connection is still the same.
func (c *client) acknowledge(p pending) {
	if p.publish == 0 {
		return
	}
	s, l := c.session, c.link
	s.owed++
	if a := s.arrival(p.id, p.turn); a != nil {
		a.waiting++
	}
	if !s.settles {
		c.stored(l, p)
		return
	}
	c.srv.receipts.Then(c.alive(func() {
		// Not before: what is noted as received is not taken a second time.
		s.receipt(p)
		c.stored(l, p)
	}))
}

// stored sends an acknowledgement on l once the journal is on disk.
func (c *client) stored(l *link, p pending) {
	s := c.session
	ack := func() {
		if s.due(p, true) && l != nil && c.link == l {
			s.out = packet.AppendAck(s.out, s.version, p.publish, p.id, packet.Success)
		}
	}
	failed := func() {
		if s.due(p, false) && l != nil && c.link == l {
			c.unstored(p)
		}
	}
	if !c.srv.journal.then(waiter{done: c.alive(ack), failed: c.alive(failed)}, p.mark) {
		ack()
	}
}

// due books that the wait for an acknowledgement is over, and reports whether somebody
// still wants it.
func (s *session) due(p pending, safe bool) bool {
	s.owed--
	if p.publish != packet.TypePubrec {
		return true
	}
	a := s.arrival(p.id, p.turn)
	if a == nil {
		return false
	}
	a.safe = a.safe || safe
	if a.waiting--; a.waiting == 0 && a.safe {
		delete(s.arrivals, p.id)
	}
	return true
}

// unstored refuses a message that could not be stored for a kept session. MQTT 3.1.1
// has no word for it but the end of the connection.
func (c *client) unstored(p pending) {
	c.srv.stats.unstored.Add(1)
	if c.session.version != packet.V5 {
		c.cut(errUnstored)
		return
	}
	if p.publish == packet.TypePubrec {
		c.session.forgetReceived(p.id) // the handshake ends with the refusal (4.3.3)
	}
	c.session.out = packet.AppendAck(c.session.out, packet.V5, p.publish, p.id, packet.QuotaExceeded)
}
