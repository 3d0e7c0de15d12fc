package mqttlink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"gantry/bridge/internal/broker"
	"gantry/bridge/internal/packet"
	"gantry/bridge/uplink"
)

const (
	// keepAlive and pingTimeout make a broker that is gone noticed within 13 s.
	keepAlive   = 5 * time.Second
	pingTimeout = 5 * time.Second
	// maxPacket bounds what the broker may send: commands.
	maxPacket = 256 << 10
	// maxCommands bounds the commands that are under way; more are not taken.
	maxCommands = 64
	// maxPending bounds the batches that wait for their acknowledgement.
	maxPending = 1024
	// flushTime is what the farewell gets.
	flushTime = 500 * time.Millisecond
	// pahoTimeout is how long paho may take to end.
	pahoTimeout = 2 * time.Second
)

var (
	errClosed    = errors.New("closed")
	errSubscribe = errors.New("SUBACK does not fit the SUBSCRIBE")
)

// conn is one connection to the broker. It implements uplink.Conn.
type conn struct {
	sink   *Sink
	client paho.Client
	ctx    context.Context // ends with the connection; its cause says why
	end    context.CancelCauseFunc
	guard  *broker.Guard // nil until the broker has been reached
	up     bool          // CONNACK has come
	tasks  sync.WaitGroup

	commands chan struct{} // a place for each command under way
	pending  chan pending  // sent, in order, for acknowledge; never closed
}

// pending is what waits for the broker.
type pending struct {
	token paho.Token
	done  func()
}

// open connects and waits for CONNACK.
func (s *Sink) open(ctx context.Context) (*conn, error) {
	c := &conn{sink: s, commands: make(chan struct{}, maxCommands), pending: make(chan pending, maxPending)}
	c.ctx, c.end = context.WithCancelCause(context.WithoutCancel(ctx))
	w := s.form.will()
	opts := paho.NewClientOptions().
		AddBroker(s.cfg.URL).SetClientID(s.cfg.ClientID).SetUsername(s.cfg.User).
		SetCleanSession(true).SetProtocolVersion(4).
		SetKeepAlive(keepAlive).SetPingTimeout(pingTimeout).
		SetConnectTimeout(broker.ConnectTimeout).SetWriteTimeout(broker.WriteTimeout).
		// A new connection gets a new client, with an empty store: what is sent again is
		// the uplink's business.
		SetAutoReconnect(false).SetConnectRetry(false).
		SetOrderMatters(true).
		SetBinaryWill(w.topic, w.payload, w.qos, w.retain).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { c.arrived(m) })
	if s.cfg.Password != nil {
		password, err := s.cfg.Password.Reveal()
		if err != nil {
			c.end(errClosed)
			return nil, err
		}
		opts.SetPassword(password)
	}
	opts.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) {
		nc, err := broker.Dial(ctx, s.cfg.URL, &s.tls, s.cfg.Now, &c.tasks)
		if err != nil {
			c.end(err)
			return nil, err
		}
		c.guard = broker.NewGuard(nc, maxPacket, c.look, c.end)
		return c.guard, nil
	})
	c.client = paho.NewClient(opts)
	token := c.client.Connect()
	<-token.Done() // bounded by the timeouts above
	if err := token.Error(); err != nil {
		if cause := context.Cause(c.ctx); cause != nil {
			err = cause // says more than paho
		}
		c.Close()
		return nil, err
	}
	c.up = true
	c.tasks.Go(c.acknowledge)
	return c, nil
}

// look sees a packet from the broker before paho does.
func (c *conn) look(f packet.Frame) error {
	// paho indexes its filters by the codes that come.
	if f.Type() == packets.Suback && len(f.Body)-2 != len(c.sink.form.filters()) {
		return errSubscribe
	}
	return nil
}

// begin subscribes and says what comes first.
func (c *conn) begin(ctx context.Context) error {
	ask := map[string]byte{}
	for _, f := range c.sink.form.filters() {
		ask[f] = 1
	}
	if len(ask) > 0 {
		token := c.client.SubscribeMultiple(ask, nil)
		if err := c.wait(ctx, token); err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
		for filter, code := range token.(*paho.SubscribeToken).Result() {
			if code > 2 {
				c.sink.rare.Warn("the broker refuses the subscription for commands", "filter", filter)
			}
		}
	}
	return c.sink.form.begin(ctx, c)
}

// wait waits for an answer of the broker.
func (c *conn) wait(ctx context.Context, token paho.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// publish hands a message to paho, which may take until the connection is given up.
func (c *conn) publish(m message) paho.Token {
	return c.client.Publish(m.topic, m.qos, m.retain, m.payload)
}

// later calls done when the broker has acknowledged token and all before.
func (c *conn) later(ctx context.Context, token paho.Token, done func()) error {
	select {
	case c.pending <- pending{token, done}:
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// acknowledge waits for one answer after the other, until the connection ends.
func (c *conn) acknowledge() {
	for {
		select {
		case p := <-c.pending:
			if err := c.wait(c.ctx, p.token); err != nil {
				c.end(err)
				return
			}
			p.done()
		case <-c.ctx.Done():
			return
		}
	}
}

// arrived takes a message of the broker. A retained one is old, and no command.
func (c *conn) arrived(m paho.Message) {
	if m.Retained() {
		c.sink.reject("a command is not taken, as it was retained", m.Topic())
		return
	}
	select {
	case c.commands <- struct{}{}:
	default:
		c.sink.reject("a command is not taken: too many are under way", m.Topic(), "limit", maxCommands)
		return
	}
	// Close has not begun to wait while paho runs handlers.
	c.tasks.Go(func() {
		defer func() { <-c.commands }()
		c.sink.form.command(c.ctx, c, message{topic: m.Topic(), payload: m.Payload()})
	})
}

// Send implements uplink.Conn.
func (c *conn) Send(ctx context.Context, events []uplink.Event, answered func(int, error)) error {
	return c.sink.form.send(ctx, c, events, answered)
}

// Done implements uplink.Conn.
func (c *conn) Done() <-chan struct{} { return c.ctx.Done() }

// Err implements uplink.Conn.
func (c *conn) Err() error { return context.Cause(c.ctx) }

// Close says farewell, if the broker is there, and ends the connection.
func (c *conn) Close() {
	if c.up && c.ctx.Err() == nil {
		stop := time.AfterFunc(flushTime, c.guard.Cut)
		c.publish(c.sink.form.farewell()).WaitTimeout(flushTime)
		stop.Stop()
	}
	c.end(errClosed)
	if c.up {
		stop := time.AfterFunc(flushTime, c.guard.Cut)
		// DISCONNECT makes the broker drop the will.
		c.client.Disconnect(uint(pahoTimeout.Milliseconds()))
		stop.Stop()
	}
	if c.guard != nil {
		c.guard.Cut()
	}
	c.tasks.Wait()
}
