package natslink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"gantry/bridge/uplink"
)

const (
	// connectTimeout bounds the way to one server, and its answer to the login.
	connectTimeout = 8 * time.Second
	// pingInterval makes a server that is gone noticed within 10 s: by then two pings
	// have had no answer.
	pingInterval = 5 * time.Second
	// writeTimeout is how long the server may take nothing that is sent to it.
	writeTimeout = 8 * time.Second
	// flushTimeout is how long the server may take for what was sent to it.
	flushTimeout = 10 * time.Second
	// flushTime is what the last answers to calls get.
	flushTime = 500 * time.Millisecond
	// careful is for how long, after a stream did not take an event, each event waits
	// for the answer to the one before.
	careful = time.Minute
)

var (
	errClosed = errors.New("closed")
	errGone   = errors.New("the server has closed the connection")
)

// conn is one connection to a server. It implements uplink.Conn.
type conn struct {
	sink     *Sink
	nc       *nats.Conn
	guard    net.Conn // nil until the server has been reached
	stopDial func() bool
	closed   chan struct{}   // closed by nats.go with its last callback
	ctx      context.Context // ends with the connection; its cause says why
	end      context.CancelCauseFunc
	login    string // what the gateway logs in with, in words; "" = without
	inbox    string // what answers to events come to, with a number behind
	service  *service

	mu      sync.Mutex // guards what follows
	last    uint64     // number of the last event
	waiting map[uint64]waiting
}

// waiting is an event that its stream has not answered.
type waiting struct {
	subject string
	done    func(error)
}

// Connect implements uplink.Sink.
func (s *Sink) Connect(ctx context.Context) (uplink.Conn, error) {
	c := &conn{sink: s, closed: make(chan struct{}), inbox: nats.NewInbox() + ".", waiting: map[uint64]waiting{}}
	c.ctx, c.end = context.WithCancelCause(context.WithoutCancel(ctx))
	options, err := s.options(ctx, c)
	if err != nil {
		c.end(err)
		return nil, err
	}
	c.nc, err = options.Connect()
	if err != nil {
		c.end(err)
		return nil, c.refused(err)
	}
	if err := c.begin(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// refused says whom the server does not let in, if that is what err is about.
func (c *conn) refused(err error) error {
	switch {
	case c.sink.secure() && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)):
		// TLS 1.3: the reason may be lost behind what was sent meanwhile.
		return fmt.Errorf("the server ends the connection in place of an answer; it may want another client certificate (nats.cert): %w", err)
	case !errors.Is(err, nats.ErrAuthorization) && !errors.Is(err, nats.ErrAuthExpired) && !errors.Is(err, nats.ErrAuthRevoked) && !errors.Is(err, nats.ErrAccountAuthExpired):
		return err
	case c.login == "":
		return fmt.Errorf("the server wants a login: user and password, password alone for a token, or key: %w", err)
	}
	return fmt.Errorf("the server refuses %s: %w", c.login, err)
}

// begin asks for answers, looks at the stream and serves the procedures.
func (c *conn) begin(ctx context.Context) error {
	if _, err := c.nc.Subscribe(c.inbox+"*", c.answer); err != nil {
		return err
	}
	if c.sink.cfg.NATS.Stream != "" {
		if err := c.findStream(ctx); err != nil {
			return err
		}
	}
	var err error
	if c.service, err = c.serve(); err != nil {
		return err
	}
	if err := c.flush(ctx); err != nil {
		return err
	}
	if !c.stopDial() {
		return ctx.Err()
	}
	return nil
}

// flush returns when the server has taken all that was sent before.
func (c *conn) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := c.nc.FlushWithContext(ctx); err != nil {
		return c.why(err)
	}
	return nil
}

// why returns why the connection has ended, or err if it has not.
func (c *conn) why(err error) error {
	if cause := context.Cause(c.ctx); cause != nil {
		return cause
	}
	return err
}

// lost says why nats.go has closed a connection.
func lost(err error) error {
	switch {
	case err == nil:
		return errGone
	case errors.Is(err, nats.ErrStaleConnection):
		return errors.New("the server does not answer a ping")
	}
	return err
}

// Send implements uplink.Conn.
func (c *conn) Send(ctx context.Context, events []uplink.Event, answered func(int, error)) error {
	for i := range events {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		if err := c.send(ctx, &events[i], func(err error) { answered(i, err) }); err != nil {
			return err
		}
	}
	if len(events) == 0 || !events[0].Live {
		return nil
	}
	// Nobody acknowledges them, but the server takes a ping in its turn.
	if err := c.flush(ctx); err != nil {
		return err
	}
	for i := range events {
		answered(i, nil)
	}
	return nil
}

// send publishes an event, and tells done unless it is live.
func (c *conn) send(ctx context.Context, e *uplink.Event, done func(error)) error {
	payload, err := e.AppendJSON(nil)
	if err != nil {
		done(&uplink.Refusal{Cause: err, Hopeless: true})
		return nil
	}
	m := &nats.Msg{Subject: subject(e.Topic), Data: payload, Header: nats.Header{}}
	if e.Live {
		m.Header.Set(expectedStream, noStream)
		return c.publish(m)
	}
	m.Header.Set(messageID, c.sink.cfg.Stream+e.Lane+"/"+strconv.FormatUint(e.Epoch, 10)+"/"+strconv.FormatUint(e.Seq, 10))
	if name := c.sink.cfg.NATS.Stream; name != "" {
		m.Header.Set(expectedStream, name)
	}
	settled := make(chan struct{})
	n := c.wait(m.Subject, func(err error) { done(err); close(settled) })
	m.Reply = c.inbox + strconv.FormatUint(n, 10)
	switch err := c.publish(m); {
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject):
		c.settle(n, &uplink.Refusal{Cause: fmt.Errorf("%w: %d bytes for %s, the server takes %d", err, len(payload), m.Subject, c.nc.MaxPayload()), Hopeless: true})
		return nil
	case err != nil:
		return err
	}
	if time.Since(time.Unix(0, c.sink.trouble.Load())) < careful {
		select {
		case <-settled:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (c *conn) publish(m *nats.Msg) error {
	err := c.nc.PublishMsg(m)
	if errors.Is(err, nats.ErrConnectionClosed) {
		return c.why(err)
	}
	return err
}

// wait enters an event and returns its number.
func (c *conn) wait(subject string, done func(error)) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.waiting[c.last] = waiting{subject, done}
	return c.last
}

// settle tells what has become of an event, once.
func (c *conn) settle(n uint64, err error) {
	c.mu.Lock()
	w, ok := c.waiting[n]
	delete(c.waiting, n)
	c.mu.Unlock()
	if ok {
		w.done(err)
	}
}

// answer takes what a stream, or the server in its place, says to an event.
func (c *conn) answer(m *nats.Msg) {
	n, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, c.inbox), 10, 64)
	if err != nil {
		return
	}
	c.mu.Lock()
	w, ok := c.waiting[n]
	c.mu.Unlock()
	if !ok {
		return
	}
	err = verdict(m, w.subject)
	var refusal *uplink.Refusal
	if err != nil && !errors.As(err, &refusal) {
		// Not answered, so that it is sent again over the next connection.
		c.sink.trouble.Store(time.Now().UnixNano())
		c.end(err)
		return
	}
	c.settle(n, err)
}

// complaint deals with what nats.go has to say besides answers.
func (c *conn) complaint(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		c.sink.rare.Warn("the connection complains", "error", err)
		return
	}
	// Permissions Violation for Publish to "subject", or for Subscription to "subject".
	_, of, _ := strings.Cut(err.Error(), ` to "`)
	of, _, _ = strings.Cut(of, `"`)
	if strings.Contains(err.Error(), "Subscription") {
		if of == c.inbox+"*" {
			c.end(fmt.Errorf("%w; the user needs to subscribe to _INBOX.>", err))
			return
		}
		c.sink.rare.Warn("the server refuses a subscription for commands", "subject", of)
		return
	}
	for _, n := range c.of(of) {
		c.settle(n, &uplink.Refusal{Cause: err, Settled: true})
	}
}

// of returns the numbers of the events that wait on a subject.
func (c *conn) of(subject string) (all []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, w := range c.waiting {
		if w.subject == subject {
			all = append(all, n)
		}
	}
	return all
}

// Done implements uplink.Conn.
func (c *conn) Done() <-chan struct{} { return c.ctx.Done() }

// Err implements uplink.Conn.
func (c *conn) Err() error { return context.Cause(c.ctx) }

// Close cancels the calls, lets their answers out if the server is there, and ends the
// connection.
func (c *conn) Close() {
	alive := c.ctx.Err() == nil
	c.end(errClosed)
	stop := time.AfterFunc(flushTime, func() { _ = c.guard.Close() })
	defer stop.Stop()
	if c.service != nil {
		c.service.stop()
	}
	if alive {
		_ = c.nc.FlushTimeout(flushTime) // the connection ends in any case
	}
	c.nc.Close()
	<-c.closed
}
