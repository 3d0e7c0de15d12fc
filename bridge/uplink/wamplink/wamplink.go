// Package wamplink is the far world of WAMP routers, for uplinks: events are
// acknowledged publications under their own names, and the gateway's procedures
// are registered there under theirs.
//
// Every publication of the queue carries wamp.Once with an identity that no two
// records share, so a Gantry router routes it once; another router sees some
// events twice after a lost connection, and receivers know them by the
// envelope's ep and seq.
package wamplink

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"gantry/bridge/uplink"
	"gantry/wamp"
	"gantry/wamp/client"
)

// leaveTimeout bounds the goodbye.
const leaveTimeout = 2 * time.Second

// Config says which router, and who the gateway is there.
type Config struct {
	// Dial connects to the router.
	Dial func(ctx context.Context) (wamp.Peer, error)
	// Session says how to join.
	Session client.SessionConfig
	// Stream is the name under which the router counts the publications of the
	// queue: another one for every queue that ever was.
	Stream string
	// Commands are what may be called there.
	Commands *uplink.Commands
}

// Sink is a router. It implements uplink.Sink.
type Sink struct {
	cfg Config
	log *slog.Logger
}

var _ uplink.Sink = (*Sink)(nil)

// New checks cfg and connects nowhere. A nil log discards.
func New(cfg Config, log *slog.Logger) (*Sink, error) {
	if cfg.Dial == nil || cfg.Commands == nil || cfg.Stream == "" || cfg.Session.Realm == "" {
		return nil, errors.New("wamplink: dial function, realm, stream and commands are required")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Sink{cfg, log}, nil
}

// Connect joins the router and registers the procedures.
func (s *Sink) Connect(ctx context.Context) (uplink.Conn, error) {
	p, err := s.cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	session, err := client.Join(ctx, p, s.cfg.Session)
	if err != nil {
		return nil, err
	}
	c := &conn{sink: s, session: session}
	c.ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.tasks.Go(func() {
		select {
		case <-session.Done():
			c.stop()
		case <-c.ctx.Done():
		}
	})
	c.serve(ctx)
	return c, nil
}

// conn is a session with the router. It implements uplink.Conn.
type conn struct {
	sink    *Sink
	session *client.Session
	ctx     context.Context // of the registrations; ends with the session, and with Close
	stop    context.CancelFunc
	tasks   sync.WaitGroup
}

// Done implements uplink.Conn.
func (c *conn) Done() <-chan struct{} { return c.session.Done() }

// Err implements uplink.Conn.
func (c *conn) Err() error { return c.session.Err() }

// Close leaves in order, if the router lets it.
func (c *conn) Close() {
	c.stop()
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	// Whether the goodbye was answered does not matter any more.
	_ = c.session.Leave(ctx)
	_ = c.session.Close()
	c.tasks.Wait()
}

// Send implements uplink.Conn.
func (c *conn) Send(ctx context.Context, events []uplink.Event, answered func(i int, err error)) error {
	for i := range events {
		e := &events[i]
		opts := wamp.PublishOptions{Acknowledge: true, Retain: e.Retain, Passthru: e.Passthru}
		if !e.Live {
			opts.Once = &wamp.Once{Stream: c.sink.cfg.Stream + e.Lane, Epoch: e.Epoch, Seq: e.Seq, Again: e.Again}
		}
		err := c.session.PublishLater(ctx, e.Topic, opts, e.Payload, func(err error) { answered(i, refusal(err)) })
		var unfit *wamp.PayloadError
		switch {
		case err == nil:
		case errors.Is(err, wamp.ErrTooLarge), errors.As(err, &unfit):
			answered(i, &uplink.Refusal{Cause: err, Hopeless: true})
		default:
			return err
		}
	}
	return nil
}

// refusal says what to make of the router's answer.
func refusal(err error) error {
	var e *wamp.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.URI {
	case wamp.ErrURINotAuthorized, wamp.ErrURIInvalidURI, wamp.ErrURIInvalidArgument,
		wamp.ErrURIPayloadSizeExceeded, wamp.ErrURIOptionNotAllowed, wamp.ErrURIOptionDisallowedDisclose:
		return &uplink.Refusal{Cause: err, Settled: true}
	}
	return err
}

// callers returns who calls at the far router, behind those for whom it does.
func callers(d *wamp.InvocationDetails) []wamp.Forwarded {
	all := d.ForwardFor
	if d.Caller != 0 && len(all) < wamp.MaxForwarded {
		all = append(slices.Clip(all), wamp.Forwarded{Session: d.Caller, AuthID: d.CallerAuthID, AuthRole: d.CallerAuthRole})
	}
	return all
}
