package mqtt

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"gantry/bridge"
	"gantry/internal/backoff"
	"gantry/internal/ratelog"
	"gantry/wamp"
)

// Client joins one external broker to a realm. Its methods are safe for
// concurrent use.
type Client struct {
	name   string
	cfg    Config
	deps   Deps
	origin *bridge.Origin
	sess   wamp.Session
	log    *slog.Logger
	rare   *ratelog.Log
	rules  *bridge.Rules
	caller *bridge.Caller
	link   *bridge.Link
	retry  backoff.Config // waits between connections

	now     atomic.Pointer[connection] // nil while calls are refused
	inbound exactlyOnce
	probe   prober
	pass    passing

	connections, received, repeated, dropped, parked, published, refused atomic.Uint64
}

// Deps are what a client works with.
type Deps struct {
	// Origin names the gateway and numbers its events.
	Origin *bridge.Origin
	// Session should be the client's alone: while the realm makes a publication wait,
	// nothing more is taken from the broker.
	Session wamp.Session
	// Events is for rules publish, which need it: a session has none of its own events,
	// so that Session gets no readings. With the same authid, see Others.
	Events wamp.Session
	// Settle returns once everything that the realm has taken before is where it is
	// kept. Only then messages at QoS 1 and 2 are acknowledged. After an error it is
	// asked again. nil: nothing keeps events.
	Settle func(ctx context.Context) error
	// Others are the authids of the sessions of all clients of brokers: what has passed
	// in from one is not told to the others.
	Others []string
	// Guests use the connection as well.
	Guests []bridge.Guest
	// Parked keeps messages that the realm refuses; nil: they are dropped.
	Parked Parking
}

// New validates cfg and starts nothing. name is part of a topic: 1 to 64 of
// a-z 0-9 _. A nil log discards. What is wrong with cfg is a *bridge.ConfigError, or
// several joined.
func New(name string, cfg Config, deps Deps, log *slog.Logger) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if !bridge.ValidName(name) {
		return nil, &bridge.ConfigError{Key: "name", Text: fmt.Sprintf("%.80q is no name", name), Allowed: "1 to 64 of a-z 0-9 _"}
	}
	if deps.Origin == nil || deps.Session == nil {
		return nil, errors.New("mqtt: origin and session are required")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log = log.With("broker", name)
	rules, err := bridge.NewRules(cfg.RulesConfig, deps.Origin, log)
	if err != nil {
		return nil, err
	}
	rulesOfPass, err := passages(cfg.Pass, "pass")
	if err != nil {
		return nil, err
	}
	publish, err := cfg.publishers(deps.Origin.Gateway())
	if err != nil {
		return nil, err
	}
	if len(publish) > 0 && deps.Events == nil {
		return nil, errors.New("mqtt: rules publish need a session for events")
	}
	c := &Client{
		pass: passing{rules: rulesOfPass, publish: publish, seed: maphash.MakeSeed()},
		name: name, cfg: cfg.withDefaults(deps.Origin.Gateway()), deps: deps, origin: deps.Origin, sess: deps.Session,
		log: log, rare: ratelog.New(log, time.Minute, nil), rules: rules, link: bridge.NewLink(nil),
		retry: backoff.Config{Min: 200 * time.Millisecond, Max: 15 * time.Second},
	}
	c.caller = rules.NewCaller(c.sess, c.publish)
	return c, nil
}

// Name returns the client's name.
func (c *Client) Name() string { return c.name }

// Run serves until ctx ends; then it returns nil. It returns an error when the
// session ends before: a broker that is away is waited for.
func (c *Client) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	h := bridge.NewHolder(c.sess, c.log)
	for uri, handler := range c.rules.Handlers(c.publish) {
		h.Register(uri, handler)
	}
	g.Go(func() error {
		if err := h.Run(ctx); err != nil {
			return fmt.Errorf("broker %s: %w", c.name, err)
		}
		return nil
	})
	g.Go(func() error { return c.announce(ctx) })
	if c.deps.Events != nil {
		g.Go(func() error {
			select {
			case <-c.deps.Events.Done():
				return fmt.Errorf("broker %s: %w", c.name, wamp.ErrClosed)
			case <-ctx.Done():
				return nil
			}
		})
	}
	g.Go(func() error { return c.caller.Run(ctx) })
	g.Go(func() error {
		// Who sees the broker online may call.
		select {
		case <-h.Tried():
			return c.connect(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait()
}

// stable is how long a connection must have lasted to have been a success: a
// broker may accept a client and throw it out at once, again and again.
const stable = 10 * time.Second

// connect makes one connection after the other.
func (c *Client) connect(ctx context.Context) error {
	wait := backoff.New(c.retry, nil)
	for {
		began := time.Now()
		reason := c.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if before, _ := c.link.State(); before.State != bridge.Offline {
			c.log.Warn("broker lost", "reason", reason)
		} else if before.Reason != reason.Error() {
			c.log.Warn("broker cannot be reached", "reason", reason)
		}
		c.link.Set(bridge.Offline, reason.Error())
		if time.Since(began) >= stable {
			wait.Reset()
		}
		if wait.Wait(ctx) != nil {
			return nil
		}
	}
}

// once makes a connection and serves it until it ends. It returns why it did.
func (c *Client) once(ctx context.Context) error {
	conn, err := c.open(ctx)
	if err != nil {
		return c.origin.ClockError(err)
	}
	defer func() { conn.close(c.cfg.Status) }()
	guests := c.visits(conn)
	refused, err := conn.subscribe(guests.had)
	if err != nil {
		return err
	}
	if err := conn.tell(c.cfg.Status); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	c.connections.Add(1)
	c.now.Store(conn)
	defer c.now.Store(nil)
	if refused != "" {
		c.log.Warn("broker connected, but it refuses a subscription", "filter", refused)
		c.link.Set(bridge.Degraded, "subscription refused: "+refused)
	} else {
		c.log.Info("broker connected")
		c.link.Set(bridge.Online, "")
	}
	if len(c.pass.publish) > 0 || slices.ContainsFunc(c.pass.rules, func(p passage) bool { return p.out }) {
		conn.tasks.Go(func() { c.passOut(ctx, conn) })
	}
	if !c.cfg.NoProbe {
		conn.tasks.Go(func() { c.watch(conn) })
	}
	guests.begin()
	why := conn.serve()
	guests.end(why)
	return why
}

// announce publishes the state of the link as that of the device "broker_<name>".
func (c *Client) announce(ctx context.Context) error {
	topic := c.origin.URI("state", "broker_"+c.name, "link")
	return c.link.Announce(ctx, c.sess, c.origin, topic, func(err error) {
		c.log.Warn("the state of the link was not published", "error", err)
	})
}

// publish serves a call of a command.
func (c *Client) publish(ctx context.Context, m bridge.Message) error {
	err := c.send(ctx, m)
	if err != nil {
		c.refused.Add(1)
		return err
	}
	c.published.Add(1)
	return nil
}

func (c *Client) send(ctx context.Context, m bridge.Message) error {
	conn := c.now.Load()
	if conn == nil {
		s, _ := c.link.State()
		return c.offline("the broker is not connected", s.Reason, wamp.Dict{"since": s.Since.UnixMicro()})
	}
	err := conn.publish(ctx, m)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errUnacknowledged):
		return wamp.NewError(wamp.ErrURIDevTimeout, "the broker has not acknowledged the message in time", wamp.Dict{"device": "broker_" + c.name})
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return wamp.NewError(wamp.ErrURICanceled, "the call was cancelled", nil)
	}
	return c.offline("the connection was lost before the broker acknowledged the message", err.Error(), wamp.Dict{})
}

func (c *Client) offline(text, reason string, details wamp.Dict) error {
	details["device"], details["state"] = "broker_"+c.name, bridge.Offline
	if reason != "" {
		details["reason"] = reason
	}
	return wamp.NewError(wamp.ErrURIOffline, text, details)
}

// Stats are a client's counters since it was made, and the present state.
type Stats struct {
	Link        bridge.LinkState
	Connections uint64 // ever made
	Received    uint64 // messages from the broker
	Repeated    uint64 // messages at QoS 2 that had come before
	Dropped     uint64 // readings that the realm did not take
	Parked      uint64 // messages set aside since then
	PassedIn    uint64 // messages that went through to the realm
	PassedOut   uint64 // events that went through to the broker
	NotPassed   uint64 // messages and events that did not, in spite of a rule
	Echoed      uint64 // messages of the client that the broker has sent back
	Published   uint64 // messages of calls that the broker has taken
	Refused     uint64 // calls that could not be sent, or were not acknowledged
	Rules       bridge.RulesStats
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	link, _ := c.link.State()
	return Stats{
		Link: link, Connections: c.connections.Load(), Received: c.received.Load(), Repeated: c.repeated.Load(), Dropped: c.dropped.Load(),
		Parked: c.parked.Load(), PassedIn: c.pass.in.Load(), PassedOut: c.pass.out.Load(), NotPassed: c.pass.dropped.Load(), Echoed: c.pass.echoed.Load(),
		Published: c.published.Load(), Refused: c.refused.Load(), Rules: c.rules.Stats(),
	}
}
