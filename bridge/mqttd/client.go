package mqttd

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"gantry/bridge/internal/packet"
	"gantry/wamp"
)

// client is one MQTT session as a peer of the router. Connections come and go; the
// goroutine that calls Recv reads the present one.
type client struct {
	srv      *Server
	info     wamp.PeerInfo
	log      *slog.Logger
	hello    *wamp.Hello // owned by the goroutine that calls Recv
	password []byte      // until it has been sent

	changed chan struct{} // capacity 1: the state below has changed, for Recv
	gone    chan struct{} // closed by the server when everything has ended

	mu        sync.Mutex // guards the rest
	session   *session
	link      *link // nil while nobody is connected
	who       wamp.Restored
	refusal   wamp.URI // of the router, before it has welcomed
	will      *packet.Publish
	willWait  *time.Timer
	expiry    time.Duration // of the session without a connection; negative = never
	ending    *time.Timer   // counts it down
	pinned    bool          // holds journal.whole
	joined    bool          // WELCOME has come
	dismissed bool          // the router stops: what is kept is to be there again
	leaving   bool          // the session leaves the realm in order
	closed    bool          // by Close: flush, then end
	failed    error         // why the session was cut, nil if it was not
	room      chan struct{} // closed when something has left the queue; nil = nobody waits
	brake     brake
}

var (
	_ wamp.Peer        = (*client)(nil)
	_ wamp.Metered     = (*client)(nil)
	_ wamp.Congestible = (*client)(nil)
	_ wamp.Roomy       = (*client)(nil)
)

// Traffic returns the bytes of all packets of the present connection. See wamp.Metered.
func (c *client) Traffic() (received, sent uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil {
		return c.session.past[0], c.session.past[1]
	}
	return c.session.past[0] + c.link.meter.in.Load(), c.session.past[1] + c.link.meter.out.Load()
}

// Info describes the client's end.
func (c *client) Info() wamp.PeerInfo { return c.info }

// Recv returns the next message that the client's packets amount to.
func (c *client) Recv() (wamp.Message, error) {
	if m := c.hello; m != nil {
		c.hello = nil
		return m, nil
	}
	for {
		m, l, err := c.next()
		if m != nil || err != nil {
			return m, err
		}
		if err := c.handle(l); err != nil && err != errPoked {
			c.lost(l, err)
		}
	}
}

// next returns a message that is ready, or why there are no more, or the connection
// that is to be read.
func (c *client) next() (wamp.Message, *link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unpin()
	for {
		s := c.session
		switch {
		case c.closed:
			return nil, nil, wamp.ErrClosed
		case len(s.toRouter) > 0:
			m := s.toRouter[0]
			s.toRouter[0] = nil
			if s.toRouter = s.toRouter[1:]; len(s.toRouter) == 0 {
				s.toRouter = nil
			}
			c.pin(m)
			return m, nil, nil
		case c.leaving:
			return nil, nil, io.EOF
		case c.failed != nil:
			return nil, nil, c.failed
		case c.link != nil && !c.link.ended && s.settled():
			return nil, c.link, nil
		}
		c.mu.Unlock()
		<-c.changed
		c.mu.Lock()
	}
}

// pin holds the journal while a message at QoS 2 of a kept session is routed.
func (c *client) pin(m wamp.Message) {
	p, ok := m.(*wamp.Publish)
	if ok && c.session.kept && !c.session.settles && c.session.requests[p.Request].publish == packet.TypePubrec && c.srv.journal.durable() {
		c.mu.Unlock()
		c.srv.journal.whole.RLock()
		c.mu.Lock()
		c.pinned = true
	}
}

func (c *client) unpin() {
	if c.pinned {
		c.pinned = false
		c.srv.journal.whole.RUnlock()
	}
}

// handle reads one packet and carries it out.
func (c *client) handle(l *link) error {
	defer l.release()
	f, err := l.read(c)
	if err != nil {
		return err
	}
	p, err := packet.Decode(f, l.version)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != l {
		return nil // taken over while it was read
	}
	defer c.wake()
	return c.carryOut(l, f, p)
}

func (c *client) carryOut(l *link, f packet.Frame, p any) error {
	s, now := c.session, time.Now()
	switch p := p.(type) {
	case *packet.Publish:
		ack, err := s.published(p)
		c.acknowledge(ack)
		return err
	case *packet.Subscribe:
		if f.Type() == packet.TypeSubscribe {
			return s.subscribe(p)
		}
		return s.unsubscribe(p)
	case *packet.Ack:
		defer c.makeRoom()
		return c.acknowledged(l, p, now)
	case *packet.Connect:
		return errConnect // MQTT-3.1.0-2
	}
	if f.Type() != packet.TypePingreq {
		return &unexpectedError{f.Name()}
	}
	s.out = packet.AppendPingresp(s.out)
	return nil
}

// unexpectedError tells of a packet that only servers send.
type unexpectedError struct{ name string }

func (e *unexpectedError) Error() string { return errUnexpected.Error() + ": " + e.name }
func (e *unexpectedError) Unwrap() error { return errUnexpected }

func (c *client) acknowledged(l *link, p *packet.Ack, now time.Time) error {
	s := c.session
	switch p.Type {
	case packet.TypePuback:
		s.acknowledged(p.ID, 1, now)
	case packet.TypePubrec:
		if p.Code >= 0x80 { // 4.3.3
			s.acknowledged(p.ID, 2, now)
			return nil
		}
		d := s.received(p.ID)
		if d == nil {
			return nil
		}
		release := func() { s.out = packet.AppendAck(s.out, s.version, packet.TypePubrel, p.ID, packet.Success) }
		if !c.onDisk(l, release) {
			release()
		}
	case packet.TypePubrel:
		s.released(p.ID)
	case packet.TypePubcomp:
		s.acknowledged(p.ID, 2, now)
	case packet.TypeDisconnect:
		return c.disconnected(l, p)
	case packet.TypeAuth: // no method was agreed on (4.12)
		return &reasonError{packet.ProtocolError, "AUTH without an authentication method"}
	}
	return nil
}

// disconnected carries out DISCONNECT (3.14).
func (c *client) disconnected(l *link, p *packet.Ack) error {
	if n, ok := expiryOf(p.Properties); ok {
		if c.expiry == 0 && n != 0 { // 3.14.2.2.2
			return &reasonError{packet.ProtocolError, "a session without expiry is given one at its end"}
		}
		c.setExpiry(n)
	}
	if p.Code != packet.DisconnectWithWill {
		c.will = nil // MQTT-3.14.4-3
	}
	if c.session.kept && c.expiry != 0 {
		c.detach(l, nil)
		return nil
	}
	c.sendWill()
	c.leaving = true
	c.session.toRouter = append(c.session.toRouter, &wamp.Goodbye{Reason: wamp.CloseURINormal})
	return nil
}

// TrySend queues the packet that m amounts to.
func (c *client) TrySend(m wamp.Message) error {
	if s, ok := m.(*wamp.Shared); ok {
		m = s.Msg
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.send(m)
}

// Send is TrySend that waits for room.
func (c *client) Send(ctx context.Context, m wamp.Message) error {
	if s, ok := m.(*wamp.Shared); ok {
		m = s.Msg
	}
	for {
		c.mu.Lock()
		err := c.send(m)
		if err != wamp.ErrQueueFull {
			c.mu.Unlock()
			return err
		}
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *client) send(m wamp.Message) error {
	if c.closed || c.failed != nil {
		return wamp.ErrClosed
	}
	s := c.session
	defer c.wake()
	switch m := m.(type) {
	case *wamp.Event:
		return c.event(m)
	case *wamp.Published:
		c.acknowledge(s.answered(m.Request, 0, nil))
		c.unpin()
	case *wamp.Subscribed:
		s.answered(m.Request, m.Subscription, nil)
	case *wamp.Unsubscribed:
		s.answered(m.Request, 0, nil)
	case *wamp.Result:
		c.acknowledge(s.result(m))
	case *wamp.ErrorReply:
		c.log.Debug("router refused", "request", m.RequestType.String(), "uri", string(m.URI))
		c.acknowledge(s.answered(m.Request, 0, m))
		c.unpin()
	case *wamp.Welcome:
		c.joined = true
		s.own = m.Session
		c.who.AuthID, _ = m.Details["authid"].(string)
		c.who.AuthRole, _ = m.Details["authrole"].(string)
		c.who.AuthMethod, _ = m.Details["authmethod"].(string)
	case *wamp.Abort:
		c.refusal = m.Reason
		c.leave(packet.ServerUnavailable)
	case *wamp.Challenge:
		c.challenged(m)
	case *wamp.Goodbye:
		c.dismissed = m.Reason == wamp.ErrURISystemShutdown
		c.leave(packet.ServerShuttingDown)
	}
	return nil
}

func (c *client) event(m *wamp.Event) error {
	if c.leaving {
		return wamp.ErrClosed
	}
	s := c.session
	before := s.lastSeq
	err := s.event(m, time.Now())
	if err == errSlow {
		c.cut(err)
		if err = errFull; c.failed != nil {
			return wamp.ErrClosed
		}
	}
	c.dropped(m, err)
	if err == wamp.ErrQueueFull && c.srv.journal.crowded() {
		c.srv.journal.then(waiter{done: c.roomOnDisk}, 0)
	}
	if d := s.newest(before); d != nil && d.message.QoS == 2 && !d.onDisk {
		// Exactly once: its identifier has to be known again after a crash.
		ready := func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			d.onDisk = true
			s.pump(time.Now())
			c.wake()
		}
		if !c.srv.journal.then(waiter{done: ready}, 0) {
			d.onDisk = true
			s.pump(time.Now())
		}
	}
	return err
}

// dropped counts a message that the session does not get, and logs a sample. What does
// not fit at QoS 0 the router counts.
func (c *client) dropped(m *wamp.Event, err error) {
	hint := "raise mqtt.queue_bytes, or have the client come back sooner"
	switch err {
	case nil, wamp.ErrQueueFull:
		return
	case errFull:
		c.srv.stats.full.Add(1)
	case errOversize:
		c.srv.stats.oversize.Add(1)
		hint = hintOversize
	default:
		c.srv.stats.unmappable.Add(1)
		hint = "subscribe to URIs and values that MQTT has a form for (docs/topics.md)"
	}
	c.srv.rare.Warn("mqtt message dropped", "client", c.session.id, "topic", string(m.Details.Topic), "error", err, "hint", hint)
}

// wake tells the writer and Recv that something has changed, and interrupts a Recv that
// waits for a packet while there is something for the router.
func (c *client) wake() {
	c.ease()
	if l := c.link; l != nil {
		signal(l.kick)
		if l.waiting && len(c.session.toRouter) > 0 {
			l.poked = true
			_ = l.nc.SetReadDeadline(time.Unix(1, 0))
		}
	}
	signal(c.changed)
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// makeRoom lets those who wait for room try again.
func (c *client) makeRoom() {
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
}
