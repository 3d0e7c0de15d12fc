package mqttd

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"gantry/bridge/internal/packet"
)

// Times that nobody should need to change.
const (
	linger     = time.Second      // to flush what is queued before a close
	bodyWait   = 30 * time.Second // for the rest of a packet
	keepBuffer = 16 << 10         // buffers of this size are kept while idle
)

// link is one connection.
type link struct {
	srv   *Server
	nc    net.Conn
	meter *meter // the same
	*visit

	// Owned by whoever reads.
	r         *bufio.Reader
	body      []byte
	claimed   int // bytes of memory taken for body
	version   byte
	keepAlive time.Duration // longest silence; 0 = no limit
	heard     time.Time     // when the last packet came

	kick    chan struct{} // capacity 1: something is to be written, or closing
	written chan struct{} // closed by write when it ends

	// Guarded by the client's lock.
	waiting, poked bool   // for the first byte of a packet; and was interrupted
	ended          bool   // it is not to be read or sent to any more
	connack        []byte // until it is being written
	greeting       bool   // it is being written
	last           []byte // to be written before the close
	spare          []byte // written buffer, for the next packets
}

// read waits for a packet of c's client as long as the keep-alive allows
// (MQTT-3.1.2-22), or until there is something to do besides: then it returns errPoked.
func (l *link) read(c *client) (packet.Frame, error) {
	if !l.await(c, true) {
		return packet.Frame{}, errPoked
	}
	first, err := l.r.ReadByte()
	l.await(c, false)
	if err != nil {
		if c.poked(l) {
			return packet.Frame{}, errPoked
		}
		return packet.Frame{}, silence(err)
	}
	f, err := packet.Read(l.r, first, l.srv.cfg.MaxPacket, l.body, l.claim)
	if err != nil {
		return f, silence(err)
	}
	l.body = f.Body
	l.heard = time.Now()
	return f, nil
}

var errPoked = errors.New("something else is to be done")

// await begins or ends the wait for the first byte of a packet, and sets the deadline of
// what comes. It reports false where there is no time to wait.
func (l *link) await(c *client, begin bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if begin {
		if len(c.session.toRouter) > 0 {
			return false
		}
		l.poked = false
	}
	l.waiting = begin
	var until time.Time
	if l.keepAlive > 0 {
		until = l.heard.Add(l.keepAlive)
	}
	if rest := time.Now().Add(bodyWait); !begin && (until.IsZero() || l.keepAlive > bodyWait) {
		until = rest
	}
	if !c.leaving && !c.closed && !l.ended {
		_ = l.nc.SetReadDeadline(until) // fails on a closed connection only, as the read will
	}
	return true
}

// poked reports whether the wait for a packet was interrupted.
func (c *client) poked(l *link) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return l.poked
}

// release gives back the memory of a packet that has been carried out.
func (l *link) release() {
	l.unclaim()
	if cap(l.body) > keepBuffer {
		l.body = nil
	}
}

func silence(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errKeepAlive
	}
	return err
}

// write sends what is queued for c, much of it in one call, until the connection ends.
// It closes the connection.
func (l *link) write(c *client) {
	defer close(l.written)
	defer func() { _ = l.nc.Close() }()
	for {
		b, ok := l.take(c)
		if !ok {
			return
		}
		for rest := b; len(rest) > 0; {
			n, err := l.nc.Write(rest[:min(len(rest), maxWrite)])
			rest = rest[n:]
			if !l.wrote(c, len(rest), b, err) {
				return
			}
		}
	}
}

// maxWrite is the most that is written in one call: each has WriteTimeout.
const maxWrite = 32 << 10

// take waits for packets to write and takes them out of the queue. It reports
// false when there will be no more.
func (l *link) take(c *client) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.session
	for !l.ended && len(s.out) == 0 && !c.closed {
		c.mu.Unlock()
		<-l.kick
		c.mu.Lock()
	}
	if l.ended {
		b := l.last
		l.last = nil
		if b != nil {
			_ = l.nc.SetWriteDeadline(time.Now().Add(linger))
		}
		return b, b != nil
	}
	if len(s.out) == 0 {
		return nil, false
	}
	b := s.out
	s.out, s.writing = l.spare, len(b)
	l.greeting = l.connack != nil
	l.spare, l.connack = nil, nil
	l.renew(c)
	return b, true
}

// renew sets the deadline of the next write, unless Close has set the last one.
func (l *link) renew(c *client) {
	if !c.closed {
		_ = l.nc.SetWriteDeadline(time.Now().Add(l.srv.cfg.WriteTimeout)) // fails when closed, as the write will
	}
}

// wrote books a write that left rest bytes of b. It reports false after err.
func (l *link) wrote(c *client, rest int, b []byte, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.ended {
		return err == nil
	}
	l.greeting = false
	c.session.writing = rest
	c.session.unbook(false)
	if rest == 0 && cap(b) <= keepBuffer {
		l.spare = b[:0]
	}
	if err != nil {
		if c.link == l {
			c.cut(fmt.Errorf("write: %w", err))
		}
		return false
	}
	l.renew(c)
	c.makeRoom()
	c.wake()
	return true
}

// finish ends a connection: what is queued is not sent, but CONNACK, which nothing may come
// before (MQTT-3.2.0-1), and in MQTT 5 the reason.
func (l *link) finish(why error) {
	l.ended = true
	l.last = l.connack
	if code := disconnectCode(why); l.version == packet.V5 && code != 0 {
		l.last = packet.AppendDisconnect(l.last, code)
	}
	if l.last != nil || l.greeting { // then write closes
		_ = l.nc.SetReadDeadline(time.Unix(1, 0))
		_ = l.nc.SetWriteDeadline(time.Now().Add(linger))
	} else {
		_ = l.nc.Close()
	}
	signal(l.kick)
}

// disconnectCode is what a client of MQTT 5 is told before its connection ends; 0 =
// nothing.
func disconnectCode(why error) byte {
	var form *packet.FormError
	var reason *reasonError
	switch {
	case errors.As(why, &form):
		return form.Code
	case errors.As(why, &reason):
		return reason.code
	case errors.Is(why, errTakenOver):
		return packet.SessionTakenOver
	case errors.Is(why, errKeepAlive):
		return packet.KeepAliveTimeout
	case errors.Is(why, errSlow), errors.Is(why, errMemory):
		return packet.QuotaExceeded
	case errors.Is(why, packet.ErrTooLarge):
		return packet.PacketTooLarge
	case errors.Is(why, errConnect), errors.Is(why, errUnexpected):
		return packet.ProtocolError
	}
	return 0
}
