package mqttd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"gantry/bridge"
	"gantry/bridge/internal/packet"
	"gantry/wamp"
)

// Why a connection ends.
var (
	errKeepAlive  = errors.New("nothing received within 1.5 times the keep-alive")
	errTakenOver  = errors.New("another connection has taken over the client id")
	errSlow       = errors.New("client is too slow for its subscriptions at QoS 1")
	errConnect    = errors.New("second CONNECT")
	errUnexpected = errors.New("packet is not for a client to send")
)

// Times that nobody should need to change.
const (
	linger     = time.Second      // to flush what is queued before a close
	bodyWait   = 30 * time.Second // for the rest of a packet
	keepBuffer = 16 << 10         // buffers of this size are kept while idle
)

// conn is the connection of one MQTT client as a peer of the router.
type conn struct {
	srv   *Server
	nc    net.Conn
	meter *meter // the same
	*visit
	info wamp.PeerInfo
	log  *slog.Logger

	// Owned by the goroutine that calls Recv; set before the first call.
	r         *bufio.Reader
	body      []byte
	claimed   int // bytes of memory taken for body
	hello     *wamp.Hello
	keepAlive time.Duration // longest silence; 0 = no limit

	changed chan struct{} // capacity 1: the state below has changed, for Recv
	kick    chan struct{} // capacity 1: something is to be written, or closing
	written chan struct{} // closed by write when it ends
	gone    chan struct{} // closed by the server when everything has ended

	mu      sync.Mutex // guards the rest
	session *session
	will    *wamp.Publish // nil once it is not to be published any more
	joined  bool          // WELCOME has come
	leaving bool          // DISCONNECT has come, or the router has said goodbye
	closed  bool          // by Close: flush, then end
	failed  error         // why the connection was cut, nil if it was not
	room    chan struct{} // closed when there is room in the queue; nil = nobody waits
	spare   []byte        // written buffer, for the next packets
}

var (
	_ wamp.Peer    = (*conn)(nil)
	_ wamp.Metered = (*conn)(nil)
)

// Traffic returns the bytes of all packets. See wamp.Metered.
func (c *conn) Traffic() (received, sent uint64) { return c.meter.in.Load(), c.meter.out.Load() }

// Info describes the client's end.
func (c *conn) Info() wamp.PeerInfo { return c.info }

// Recv returns the next message that the client's packets amount to.
func (c *conn) Recv() (wamp.Message, error) {
	if m := c.hello; m != nil {
		c.hello = nil
		return m, nil
	}
	for {
		m, err := c.next()
		if m != nil || err != nil {
			return m, err
		}
		if err := c.handle(); err != nil {
			c.fail(err)
		}
	}
}

// next returns a message that is ready, or why there are no more. Both are nil
// when the client is to be read.
func (c *conn) next() (wamp.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		s := c.session
		switch {
		case c.closed:
			return nil, wamp.ErrClosed
		case len(s.toRouter) > 0:
			m := s.toRouter[0]
			s.toRouter[0] = nil
			if s.toRouter = s.toRouter[1:]; len(s.toRouter) == 0 {
				s.toRouter = nil
			}
			return m, nil
		case c.leaving:
			return nil, io.EOF
		case c.failed != nil:
			if m := c.will; m != nil && c.joined {
				// MQTT-3.1.2-8: the connection ends without DISCONNECT.
				c.will = nil
				s.lastRequest = wamp.NextID(s.lastRequest)
				m.Request = s.lastRequest
				return m, nil
			}
			return nil, c.failed
		case s.settled():
			return nil, nil
		}
		c.mu.Unlock()
		<-c.changed
		c.mu.Lock()
	}
}

// handle reads one packet and carries it out.
func (c *conn) handle() error {
	f, err := c.read()
	if err != nil {
		return err
	}
	p, err := packet.Decode(f)
	if err != nil {
		return err
	}
	c.unclaim()
	if cap(c.body) > keepBuffer {
		c.body = nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.session
	switch p := p.(type) {
	case *packets.PublishPacket:
		s.published(p)
	case *packets.PubackPacket:
		s.acknowledged(p.MessageID)
	case *packets.PubrelPacket:
		s.released(p.MessageID)
	case *packets.SubscribePacket:
		s.subscribe(p)
	case *packets.UnsubscribePacket:
		s.unsubscribe(p)
	case *packets.PingreqPacket:
		s.out = packet.AppendPingresp(s.out)
	case *packets.DisconnectPacket:
		c.will = nil // MQTT-3.14.4-3
		c.leaving = true
		s.toRouter = append(s.toRouter, &wamp.Goodbye{Reason: wamp.CloseURINormal})
	case *packets.ConnectPacket:
		err = errConnect // MQTT-3.1.0-2
	default:
		err = fmt.Errorf("%w: %s", errUnexpected, f.Name())
	}
	c.wake()
	return err
}

// read waits for a packet as long as the keep-alive allows (MQTT-3.1.2-24).
func (c *conn) read() (packet.Frame, error) {
	var until time.Time
	if c.keepAlive > 0 {
		until = time.Now().Add(c.keepAlive)
	}
	_ = c.nc.SetReadDeadline(until) // fails on a closed connection only, as the read will
	first, err := c.r.ReadByte()
	if err != nil {
		return packet.Frame{}, silence(err)
	}
	if c.keepAlive == 0 || c.keepAlive > bodyWait {
		_ = c.nc.SetReadDeadline(time.Now().Add(bodyWait))
	}
	f, err := packet.Read(c.r, first, c.srv.cfg.MaxPacket, c.body, c.claim)
	if err != nil {
		return f, silence(err)
	}
	c.body = f.Body
	return f, nil
}

func silence(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errKeepAlive
	}
	return err
}

// TrySend queues the packet that m amounts to.
func (c *conn) TrySend(m wamp.Message) error {
	if s, ok := m.(*wamp.Shared); ok {
		m = s.Msg
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.send(m)
}

// Send is TrySend that waits for room.
func (c *conn) Send(ctx context.Context, m wamp.Message) error {
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

func (c *conn) send(m wamp.Message) error {
	if c.closed || c.failed != nil {
		return wamp.ErrClosed
	}
	s := c.session
	defer c.wake()
	switch m := m.(type) {
	case *wamp.Event:
		if c.leaving {
			return wamp.ErrClosed
		}
		err := s.event(m)
		if err == errSlow {
			c.cut(err)
			return wamp.ErrQueueFull
		}
		return err
	case *wamp.Published:
		s.answered(m.Request, 0, nil)
	case *wamp.Subscribed:
		s.answered(m.Request, m.Subscription, nil)
	case *wamp.Unsubscribed:
		s.answered(m.Request, 0, nil)
	case *wamp.ErrorReply:
		c.log.Debug("router refused", "request", m.RequestType.String(), "uri", string(m.URI))
		s.answered(m.Request, 0, m)
		c.srv.stats.refused.Add(s.refused)
		s.refused = 0
	case *wamp.Welcome:
		c.joined = true
		c.visit.Leave()
		s.out = packet.AppendConnack(s.out, packets.Accepted)
	case *wamp.Abort:
		if !c.joined {
			s.out = packet.AppendConnack(s.out, connackCode(m.Reason))
			c.srv.stats.notAdmitted.Add(1)
			c.srv.rare.Info("mqtt client refused", "remote", c.info.Remote, "reason", string(m.Reason))
		}
		c.leave()
	case *wamp.Challenge:
		// Only anonymous was offered.
		s.out = packet.AppendConnack(s.out, packets.ErrRefusedNotAuthorised)
		s.toRouter = append(s.toRouter, &wamp.Abort{Reason: wamp.ErrURINoMatchingAuthMethod})
		c.leave()
	case *wamp.Goodbye:
		c.leave()
	}
	return nil
}

// leave ends the conversation: the router has said its last word. MQTT 3.1.1 has
// none for a server, so the connection just ends, by Close.
func (c *conn) leave() {
	c.leaving = true
	c.will = nil
	// Recv may wait for a packet that nobody needs any more.
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
}

// connackCode tells a client why it may not join.
func connackCode(reason wamp.URI) byte {
	switch reason {
	case wamp.ErrURINotAuthorized, wamp.ErrURIAuthorizationFailed, wamp.ErrURIAuthenticationFailed,
		wamp.ErrURINoMatchingAuthMethod, wamp.ErrURINoSuchRole:
		return packets.ErrRefusedNotAuthorised
	}
	return packets.ErrRefusedServerUnavailable
}

// fail ends the connection for what the client did or for what happened to it.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut(err)
}

// cut ends the connection at once: nothing queued is sent, the will is published.
func (c *conn) cut(err error) {
	if c.failed == nil && !c.closed && !c.leaving {
		c.failed = err
		c.srv.stats.count(err)
		_ = c.nc.Close()
	}
	c.makeRoom()
	c.wake()
}

// wake tells the writer and Recv that something has changed.
func (c *conn) wake() {
	for _, ch := range []chan struct{}{c.kick, c.changed} {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// Close flushes what is queued, ends the connection and frees a blocked Recv.
func (c *conn) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		c.will = nil
		now := time.Now()
		_ = c.nc.SetReadDeadline(now)
		_ = c.nc.SetWriteDeadline(now.Add(linger))
		c.makeRoom()
		c.wake()
	}
	c.mu.Unlock()
	<-c.written
	return nil
}

// write sends what is queued, much of it in one call, until the connection ends.
// It closes the connection.
func (c *conn) write() {
	defer close(c.written)
	defer func() { _ = c.nc.Close() }()
	for {
		b, ok := c.take()
		if !ok {
			return
		}
		for rest := b; len(rest) > 0; {
			n, err := c.nc.Write(rest[:min(len(rest), maxWrite)])
			rest = rest[n:]
			if !c.wrote(len(rest), b, err) {
				return
			}
		}
	}
}

// maxWrite is the most that is written in one call: each has WriteTimeout.
const maxWrite = 32 << 10

// take waits for packets to write and takes them out of the queue. It reports
// false when there will be no more.
func (c *conn) take() ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.session
	for len(s.out) == 0 && c.failed == nil && !c.closed {
		c.mu.Unlock()
		<-c.kick
		c.mu.Lock()
	}
	if len(s.out) == 0 || c.failed != nil {
		return nil, false
	}
	b := s.out
	s.out, s.writing = c.spare, len(b)
	c.spare = nil
	c.renew()
	return b, true
}

// renew sets the deadline of the next write, unless Close has set the last one.
func (c *conn) renew() {
	if !c.closed {
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.srv.cfg.WriteTimeout)) // fails when closed, as the write will
	}
}

// wrote books a write that left rest bytes of b. It reports false after err.
func (c *conn) wrote(rest int, b []byte, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session.writing = rest
	c.session.unbook(false)
	if rest == 0 && cap(b) <= keepBuffer {
		c.spare = b[:0]
	}
	if err != nil {
		c.cut(fmt.Errorf("write: %w", err))
		return false
	}
	c.renew()
	c.makeRoom()
	c.wake()
	return true
}

// makeRoom lets those who wait in Send try again.
func (c *conn) makeRoom() {
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
}

// join fills in what CONNECT says.
func (c *conn) join(p *packets.ConnectPacket, clientID string) {
	c.keepAlive = time.Duration(p.Keepalive) * time.Second * 3 / 2
	authID := p.Username
	if authID == "" {
		authID = clientID
	}
	c.hello = &wamp.Hello{Realm: c.srv.cfg.Realm, Details: wamp.Dict{
		"roles": wamp.Dict{
			"publisher":  wamp.Dict{"features": wamp.Dict{"publisher_exclusion": true, "payload_passthru_mode": true}},
			"subscriber": wamp.Dict{"features": wamp.Dict{"pattern_based_subscription": true, "event_retention": true, "payload_passthru_mode": true}},
		},
		"authmethods": wamp.List{"anonymous"},
		"authid":      authID,
		"agent":       "mqtt",
		"transport": wamp.Dict{
			"type": "mqtt", "peer": c.info.Remote, "secure": c.info.Encrypted,
			"client_id": clientID, "protocol_level": int64(p.ProtocolVersion),
			"keep_alive": int64(p.Keepalive), "clean_session": p.CleanSession,
		},
	}}
	if p.WillFlag {
		payload := bridge.PayloadFromMQTT(p.WillMessage)
		c.will = &wamp.Publish{
			Topic: bridge.URIFromTopic(p.WillTopic), Payload: payload,
			Options: wamp.PublishOptions{
				IncludeMe: true,
				Passthru:  bridge.Foreign(payload),
				Retain:    p.WillRetain && len(p.WillMessage) > 0,
				Unretain:  p.WillRetain && len(p.WillMessage) == 0,
			},
		}
	}
}
