package mqtt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"gantry/bridge"
	"gantry/internal/backoff"
	"gantry/wamp"
)

// maxTries is how often a reading is handed to the realm until its message is set
// aside.
const maxTries = 5

// arrived hands a message to the realm. It runs in paho's goroutine, one message
// after the other: while it waits, nothing more is read from the broker.
func (c *Client) arrived(ctx context.Context, x *connection, m paho.Message) {
	x.handling.Store(1)
	defer func() {
		x.heard.Store(time.Now().UnixNano())
		x.handling.Store(0)
	}()
	if m.Topic() == c.cfg.ProbeTopic && !c.cfg.NoProbe {
		x.echo(m.Payload())
		m.Ack()
		return
	}
	c.received.Add(1)
	msg := bridge.Message{Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Retained: m.Retained(), Again: m.Duplicate(), Queued: x.queued(time.Now())}
	switch {
	case msg.QoS == 2 && !c.inbound.first(m.MessageID()):
		c.repeated.Add(1)
	case c.receive(ctx, x, msg) != nil:
		if msg.QoS == 2 {
			c.inbound.release(m.MessageID())
		}
		return // it stays unacknowledged
	}
	if msg.QoS == 0 {
		return
	}
	select {
	case x.acks <- m:
		if x.settling.Load() {
			x.guard.Prompt()
		}
	case <-ctx.Done():
	}
}

// receive turns a message into readings, and lets it pass. It returns an error if they could not
// be handed to the realm before ctx ended.
func (c *Client) receive(ctx context.Context, x *connection, m bridge.Message) error {
	c.rules.Answer(m)
	c.caller.Take(m)
	echo := c.pass.echo(m)
	if !echo {
		for _, g := range c.deps.Guests {
			g.Receive(m)
		}
	}
	opts := wamp.PublishOptions{Retain: true, Acknowledge: m.QoS > 0}
	var refused, ended error
	c.rules.Readings(m, func(topic wamp.URI, p wamp.Payload) {
		if ended != nil {
			return
		}
		err := c.hand(ctx, func() error { return c.sess.Publish(ctx, topic, opts, p) })
		switch {
		case err == nil:
		case ctx.Err() != nil, errors.Is(err, wamp.ErrClosed):
			ended = err
		default:
			refused = fmt.Errorf("%s: %w", topic, err)
		}
	})
	if ended != nil {
		if m.QoS == 0 { // any other comes again
			c.dropped.Add(1)
			c.rare.Info("a message is dropped, as the connection ends while the realm takes it", "topic", m.Topic, "error", ended)
		}
		return ended
	}
	if refused != nil {
		if err := c.park(ctx, m, refused); err != nil {
			return err
		}
	}
	return c.passIn(ctx, x.kept, m, echo)
}

// hand tries to publish until the realm has refused it maxTries times.
func (c *Client) hand(ctx context.Context, publish func() error) error {
	err := publish()
	if err == nil || ctx.Err() != nil || errors.Is(err, wamp.ErrClosed) {
		return err
	}
	wait := backoff.New(c.retry, nil)
	for range maxTries - 1 {
		if wait.Wait(ctx) != nil {
			return err
		}
		if err = publish(); err == nil || ctx.Err() != nil || errors.Is(err, wamp.ErrClosed) {
			return err
		}
	}
	return err
}

// acknowledge acknowledges what the realm has taken when it is where it is kept:
// as many messages at once as have come meanwhile, in their order (MQTT-4.6.0).
func (c *Client) acknowledge(ctx context.Context, x *connection) {
	var batch []paho.Message
	for {
		select {
		case m := <-x.acks:
			batch = append(batch[:0], m)
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			select {
			case m := <-x.acks:
				batch = append(batch, m)
			default:
				more = false
			}
		}
		x.settling.Store(true)
		x.guard.Prompt()
		if c.settle(ctx) != nil {
			return
		}
		x.settling.Store(false)
		for _, m := range batch {
			m.Ack()
		}
		clear(batch)
	}
}

// settle waits until everything handed to the realm is where it is kept. It
// returns an error when ctx ends before.
func (c *Client) settle(ctx context.Context) error {
	if c.deps.Settle == nil {
		return ctx.Err()
	}
	wait := backoff.New(c.retry, nil)
	for {
		err := c.deps.Settle(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		c.rare.Warn("messages stay unacknowledged, as their readings cannot be stored", "error", err)
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// exactlyOnce remembers which messages at QoS 2 have been handed on and may come
// again, until the broker releases their identifiers (MQTT 3.1.1, section 4.3.3).
// It outlives connections, as the broker's session does, but not the process.
type exactlyOnce struct {
	mu  sync.Mutex // guards ids
	ids map[uint16]bool
}

// first notes an identifier and reports whether it was not noted before.
func (e *exactlyOnce) first(id uint16) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ids[id] {
		return false
	}
	if e.ids == nil {
		e.ids = map[uint16]bool{}
	}
	e.ids[id] = true
	return true
}

func (e *exactlyOnce) release(id uint16) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.ids, id)
}

// forget drops all: the broker has no session.
func (e *exactlyOnce) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.ids)
}
