package mqtt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"gantry/bridge"
	"gantry/bridge/internal/broker"
	"gantry/bridge/internal/packet"
)

// More reasons why a connection ends.
var (
	errUnacknowledged = errors.New("the broker does not acknowledge")
	errClosed         = errors.New("closed")
	errSubscribe      = errors.New("SUBACK does not fit the SUBSCRIBE")
	errDeaf           = errors.New("the broker answers pings, but does not deliver")
)

const (
	// ackTimeout is how long a message to the broker may wait for its
	// acknowledgement. A broker that takes longer is as good as gone.
	ackTimeout = 10 * time.Second
	// flushTime is what DISCONNECT and acknowledgements get on the way out.
	flushTime = 500 * time.Millisecond
	// pahoTimeout is how long paho may take to end once its connection is closed.
	pahoTimeout = 2 * time.Second
	// filtersAtOnce is how many filters go into one SUBSCRIBE; AWS IoT Core takes
	// no more.
	filtersAtOnce = 8
	// acksAtOnce bounds the messages that are acknowledged together.
	acksAtOnce = 256
)

// connection is one connection to the broker and the paho client made for it.
type connection struct {
	client paho.Client
	began  time.Time
	done   <-chan struct{} // closed at the end of the connection
	why    func() error    // why it has ended; nil before
	end    context.CancelCauseFunc
	codes  atomic.Int32 // return codes that the next SUBACK must have
	tasks  sync.WaitGroup
	// CONNACK has come. Without, Disconnect might wait for nothing: paho reports a
	// failure before it is in the state for that.
	up bool

	// Set by paho's goroutine when the broker has been reached, before CONNACK.
	guard     *broker.Guard
	connected func() bool // the end of ctx does not cut the connection any more

	backlog  backlog
	heard    atomic.Int64  // when the broker delivered something, in nanoseconds since 1970
	handling atomic.Int32  // 1 while a message is being handed to the realm
	probed   chan struct{} // capacity 1: the probe has come back; never closed

	kept kept // of the broker; owned by paho's goroutine

	// Messages that the realm has taken, in their order, for acknowledge. Never closed.
	acks chan paho.Message
	// Acknowledgements wait until what they are for is kept.
	settling atomic.Bool
	// A place for each message that may be unacknowledged by the broker.
	slots chan struct{}

	// Messages of calls, taken by serve alone: paho's Publish may block.
	// Unbuffered, so that what has been taken is sent while its caller waits.
	outbox chan outgoing
}

// outgoing is a message on its way to paho.
type outgoing struct {
	bridge.Message
	token chan<- paho.Token // capacity 1
}

// open connects. The connection has to be closed.
func (c *Client) open(ctx context.Context) (*connection, error) {
	x := &connection{
		outbox: make(chan outgoing), kept: kept{}, probed: make(chan struct{}, 1),
		acks: make(chan paho.Message, acksAtOnce), slots: make(chan struct{}, c.cfg.InFlight),
	}
	ctx, x.end = context.WithCancelCause(ctx)
	x.done, x.why = ctx.Done(), func() error { return context.Cause(ctx) }
	x.began = time.Now()
	x.heard.Store(x.began.UnixNano())
	opts := paho.NewClientOptions().
		AddBroker(c.cfg.URL).
		SetClientID(c.cfg.ClientID).
		SetUsername(c.cfg.User).
		SetCleanSession(!c.cfg.Persistent).
		// Otherwise it tries MQTT 3.1 as well whenever it is refused.
		SetProtocolVersion(4).
		SetKeepAlive(c.cfg.KeepAlive).
		SetPingTimeout(c.cfg.KeepAlive / 2).
		SetConnectTimeout(broker.ConnectTimeout).
		SetWriteTimeout(broker.WriteTimeout).
		// A new connection gets a new client, with an empty store: what an old
		// one has left is not sent again.
		SetAutoReconnect(false).
		SetConnectRetry(false).
		// One handler at a time, in the order of arrival; it acknowledges itself.
		SetOrderMatters(true).
		SetAutoAckDisabled(true).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { c.arrived(ctx, x, m) })
	if c.cfg.Status != "" {
		opts.SetWill(c.cfg.Status, bridge.Offline, 1, true)
	}
	if c.cfg.Password != nil {
		password, err := c.cfg.Password.Reveal()
		if err != nil {
			x.end(errClosed)
			return nil, err
		}
		opts.SetPassword(password)
	}
	opts.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) {
		nc, err := broker.Dial(ctx, c.cfg.URL, &c.cfg.TLS, c.origin.Now, &x.tasks)
		if err != nil {
			x.end(err)
			return nil, err
		}
		x.guard = broker.NewGuard(nc, c.cfg.MaxPacket, func(f packet.Frame) error { return c.look(x, f) }, x.end)
		x.connected = context.AfterFunc(ctx, x.guard.Cut)
		return x.guard, nil
	})
	x.client = paho.NewClient(opts)
	x.tasks.Go(func() { c.acknowledge(ctx, x) })
	if err := x.connect(); err != nil {
		x.close("")
		return nil, err
	}
	return x, nil
}

// look sees a packet from the broker before paho does.
func (c *Client) look(x *connection, f packet.Frame) error {
	switch f.Type() {
	case packets.Connack:
		if f.Body[0]&1 == 0 { // no session present
			c.inbound.forget()
		} else {
			x.backlog.since.Store(time.Now().UnixNano())
		}
	case packets.Pubrel:
		c.inbound.release(binary.BigEndian.Uint16(f.Body))
	case packets.Suback:
		// paho indexes its filters by the codes that come.
		if len(f.Body)-2 != int(x.codes.Load()) {
			return errSubscribe
		}
	}
	return nil
}

// connect waits for CONNACK. What paho does meanwhile is bounded, and ends with
// the connection.
func (x *connection) connect() error {
	token := x.client.Connect().(*paho.ConnectToken)
	<-token.Done()
	switch {
	case token.Error() == nil:
		x.up = true
		if x.connected() {
			return nil
		}
		return x.why()
	case token.ReturnCode() == packets.ErrNetworkError && x.why() != nil:
		return x.why() // says more than paho
	}
	return token.Error()
}

// close ends the connection and waits for paho. If it is the client that ends it,
// the topic status, unless it is "", is told so before.
func (x *connection) close(status string) {
	farewell := status != "" && errors.Is(x.why(), context.Canceled)
	x.end(errClosed) // so that handlers return
	if x.guard != nil {
		stop := time.AfterFunc(flushTime, x.guard.Cut)
		defer x.guard.Cut()
		defer stop.Stop()
	}
	if farewell {
		// DISCONNECT makes the broker drop the will.
		_ = x.client.Publish(status, 1, true, bridge.Offline).WaitTimeout(flushTime)
	}
	if x.up {
		x.client.Disconnect(uint(pahoTimeout.Milliseconds()))
	}
	x.tasks.Wait()
}

// subscribe asks for filters and waits for the answer. refused names one that
// the broker does not allow.
func (x *connection) subscribe(filters []bridge.FilterQoS) (refused string, err error) {
	for part := range slices.Chunk(filters, filtersAtOnce) {
		ask := make(map[string]byte, len(part))
		for _, f := range part {
			ask[f.Filter.String()] = f.QoS
		}
		x.codes.Store(int32(len(ask)))
		token := x.client.SubscribeMultiple(ask, nil)
		if err := x.wait(context.Background(), token); err != nil {
			return "", fmt.Errorf("subscribe: %w", err)
		}
		for filter, code := range token.(*paho.SubscribeToken).Result() {
			if code > 2 && (refused == "" || filter < refused) {
				refused = filter
			}
		}
	}
	return refused, nil
}

// serve sends the messages of calls until the connection ends, and returns why.
func (x *connection) serve() error {
	for {
		select {
		case m := <-x.outbox:
			m.token <- x.client.Publish(m.Topic, m.QoS, m.Retained, m.Payload)
		case <-x.done:
			return x.why()
		}
	}
}

// publish sends a message and waits until the broker has it.
func (x *connection) publish(ctx context.Context, m bridge.Message) error {
	token, err := x.start(ctx, m)
	if err != nil {
		return err
	}
	return x.finish(ctx, token)
}

// start hands a message to paho as soon as fewer than the limit are in flight. The
// caller has to finish it.
func (x *connection) start(ctx context.Context, m bridge.Message) (<-chan paho.Token, error) {
	select {
	case x.slots <- struct{}{}:
	case <-x.done:
		return nil, x.why()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	token := make(chan paho.Token, 1)
	select {
	case x.outbox <- outgoing{m, token}:
		return token, nil
	case <-x.done:
		<-x.slots
		return nil, x.why()
	case <-ctx.Done():
		<-x.slots
		return nil, ctx.Err()
	}
}

// finish waits until the broker has a message that was started.
func (x *connection) finish(ctx context.Context, token <-chan paho.Token) error {
	defer func() { <-x.slots }()
	select {
	case t := <-token:
		return x.wait(ctx, t)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait waits for paho, whose own Wait may hang for ever, as long as ctx and the
// connection last. A broker that does not answer in time loses the connection.
func (x *connection) wait(ctx context.Context, t paho.Token) error {
	timeout := time.NewTimer(ackTimeout)
	defer timeout.Stop()
	select {
	case <-t.Done():
		return t.Error()
	case <-x.done:
		select {
		case <-t.Done(): // the answer came first
			return t.Error()
		default:
		}
		return x.why()
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout.C:
		x.end(errUnacknowledged)
		return errUnacknowledged
	}
}
