package mqttd

import (
	"bytes"
	"math"
	"time"

	"gantry/bridge/internal/packet"
	"gantry/wamp"
)

// never is the expiry of a session that does not expire, on the wire in seconds.
const never = math.MaxUint32

// expiryOf returns the session expiry among properties; negative = never.
func expiryOf(list packet.Properties) (time.Duration, bool) {
	for _, p := range list {
		if p.ID == packet.SessionExpiry {
			if p.Num == never {
				return -1, true
			}
			return time.Duration(p.Num) * time.Second, true
		}
	}
	return 0, false
}

// setExpiry keeps a session for d without a connection, as far as the server allows.
func (c *client) setExpiry(d time.Duration) {
	if longest := c.srv.cfg.SessionExpiry; d < 0 || d > longest {
		d = longest
	}
	c.expiry = d
}

// attach makes l the client's connection, as CONNECT p asks for it, and answers.
func (c *client) attach(l *link, p *packet.Connect, present bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.failed != nil || c.leaving {
		close(l.written)
		_ = l.nc.Close()
		return
	}
	s := c.session
	c.stopTimers()
	c.link = l
	l.Leave()
	s.version, s.online, s.resumed, s.aliases, s.sentAs = p.Version, true, present, nil, nil
	s.present.Store(true)
	s.window = min(c.srv.cfg.InFlight, int(p.Properties.Num(packet.ReceiveMaximum, math.MaxUint16)))
	s.maxPacket = p.Properties.Num(packet.MaximumPacket, 0)
	s.aliasRoom = int(min(p.Properties.Num(packet.TopicAliasMaximum, 0), maxAliases))
	c.will = p.Will
	if p.Version == packet.V5 {
		expiry, _ := expiryOf(p.Properties)
		c.setExpiry(expiry)
	} else if c.expiry = 0; !p.Clean {
		c.setExpiry(-1)
	}
	s.kept = c.expiry != 0
	l.keepAlive = time.Duration(p.KeepAlive) * time.Second
	var list packet.Properties
	if p.Version == packet.V5 {
		list = c.terms(l, p)
	}
	l.keepAlive, l.heard = l.keepAlive*3/2, time.Now()
	s.out = packet.AppendConnack(s.out[:0], p.Version, present, packet.Success, list)
	l.connack = bytes.Clone(s.out)
	if s.kept {
		s.saved = sessionRecord{Who: c.who, Expiry: c.expiry}
		s.record()
	}
	if present {
		s.resume(time.Now())
	}
	go l.write(c)
	c.wake()
}

// terms are what CONNACK tells a client of MQTT 5 (3.2.2.3).
func (c *client) terms(l *link, p *packet.Connect) packet.Properties {
	cfg := &c.srv.cfg
	list := packet.Properties{
		{ID: packet.TopicAliasMaximum, Num: maxAliases},
		{ID: packet.MaximumPacket, Num: uint32(cfg.MaxPacket)},
	}
	if asked, _ := expiryOf(p.Properties); asked != c.expiry {
		list = append(list, packet.Property{ID: packet.SessionExpiry, Num: uint32(c.expiry / time.Second)})
	}
	if p.ClientID == "" {
		list = append(list, packet.Property{ID: packet.AssignedClientID, Text: c.session.id}) // MQTT-3.2.2-16
	}
	if longest := cfg.KeepAlive; longest > 0 && (l.keepAlive == 0 || l.keepAlive > longest) {
		l.keepAlive = longest
		list = append(list, packet.Property{ID: packet.ServerKeepAlive, Num: uint32(longest / time.Second)}) // MQTT-3.2.2-21
	}
	if p.Properties.Num(packet.RequestResponse, 0) == 1 { // MQTT-3.2.2-23
		info := append(list[:len(list):len(list)], packet.Property{ID: packet.ResponseInfo, Text: "reply/" + c.session.id})
		if n := packet.ConnackSize(info); c.session.maxPacket == 0 || uint32(n) <= c.session.maxPacket {
			list = info
		}
	}
	return list
}

// detach takes a connection off. A kept session waits for the next one.
func (c *client) detach(l *link, why error) {
	s := c.session
	c.link = nil
	s.past[0] += l.meter.in.Load()
	s.past[1] += l.meter.out.Load()
	s.online, s.out, s.writing = false, nil, 0
	s.present.Store(false)
	l.finish(why)
	if !s.kept || c.expiry == 0 {
		return
	}
	s.saved.Gone = s.clock.Mark()
	s.record()
	c.delayWill()
	c.ending = time.AfterFunc(c.expiry, func() { c.expire(l) })
	c.makeRoom()
	c.ease()
	signal(c.changed)
}

// expire ends a session to which nobody has come back.
func (c *client) expire(*link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil && !c.closed && c.failed == nil {
		c.expiry = 0
		c.cut(errExpired)
	}
}

// delayWill publishes the will after its delay (3.1.3.2.2).
func (c *client) delayWill() {
	if c.will == nil {
		return
	}
	delay := time.Duration(c.will.Properties.Num(packet.WillDelay, 0)) * time.Second
	if delay == 0 {
		c.sendWill()
		return
	}
	c.willWait = time.AfterFunc(delay, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.link == nil && !c.closed {
			c.sendWill()
		}
	})
}

// sendWill publishes the will (MQTT-3.1.2-8).
func (c *client) sendWill() {
	if c.will == nil || !c.joined {
		return
	}
	c.session.tell(c.session.publication(c.will))
	c.will = nil
	signal(c.changed)
}

func (c *client) stopTimers() {
	for _, t := range []*time.Timer{c.willWait, c.ending} {
		if t != nil {
			t.Stop()
		}
	}
	c.willWait, c.ending = nil, nil
}

// resumes reports whether a connection of identity who may go on with the session:
// that of the same user, or of a client that nobody knows, if it was one.
func (c *client) resumes(who wamp.Restored) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.failed != nil || c.leaving || !c.session.kept || c.expiry == 0 {
		return false
	}
	return sameUser(c.who, who)
}

func sameUser(a, b wamp.Restored) bool {
	if a.AuthMethod == "anonymous" && b.AuthMethod == "anonymous" {
		return a.AuthRole == b.AuthRole // each has a name of its own
	}
	return a.AuthID == b.AuthID && a.AuthRole == b.AuthRole && (a.AuthMethod == "anonymous") == (b.AuthMethod == "anonymous")
}

// displace ends the connection of a session that another one goes on with.
func (c *client) displace() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil && c.failed == nil && !c.closed {
		c.report(errTakenOver)
		c.detach(c.link, errTakenOver)
	}
}

// stays reports whether the session is there without a connection.
func (c *client) stays() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session.kept && c.expiry != 0 && c.failed == nil && !c.closed && !c.leaving
}
