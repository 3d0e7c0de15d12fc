package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gantry/internal/backoff"
	"gantry/wamp"
)

// Config says how a Client reaches its router.
type Config struct {
	// Dial opens a connection: URL, Embedded, or a function. Required.
	Dial Dialer
	// Component is told of every connection and session.
	Component Component
	// Session says how to join.
	Session SessionConfig
	// Backoff spaces the attempts. Default: 0.2 s to 60 s with full jitter.
	Backoff backoff.Config
	// JoinTimeout bounds one attempt. Default 20 s.
	JoinTimeout time.Duration
	// StableAfter is how long a session must last for the next attempt to be
	// quick again. Default 60 s.
	StableAfter time.Duration
	// OnState is told of every change, one after the other. It must not block and
	// may be nil. err is why the last session or attempt ended.
	OnState func(connected bool, err error)
	// GiveUp decides, after an attempt to have a session has failed or a session has
	// ended, whether to end: Run then returns err. failures counts those in a row;
	// a session that lasted for StableAfter starts it again. Nil never gives up.
	GiveUp func(failures int, err error) bool
	// Random is the source of jitter, in [0,1). Default math/rand/v2.
	Random func() float64
}

// Client is a session that comes back. It reconnects for as long as Run runs and
// restores every subscription and registration. While there is no session,
// Publish and Call return wamp.ErrNotConnected; Subscribe and Register note the
// wish and return at once.
type Client struct {
	cfg  Config
	log  *slog.Logger
	done chan struct{} // closed when Run returns

	layouts layouts

	mu      sync.Mutex // guards everything below
	session *Session
	change  chan struct{} // closed and replaced when session changes
	wishes  map[*wish]struct{}
}

var _ wamp.Session = (*Client)(nil)

// wish is a subscription or registration that outlives sessions.
type wish struct {
	what string
	uri  wamp.URI
	ask  func(ctx context.Context, s *Session) (func(context.Context) error, error)

	mu      sync.Mutex // held while asking, so that a wish is asked once per session
	session *Session   // where it holds
	undo    func(context.Context) error
	dropped bool
}

// New validates cfg and returns a client that has not been started.
func New(cfg Config, log *slog.Logger) (*Client, error) {
	if cfg.Dial == nil {
		return nil, errors.New("client: no Dial function is configured")
	}
	if cfg.Session.Realm == "" {
		return nil, errors.New("client: no realm is configured")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.Session.Log == nil {
		cfg.Session.Log = log
	}
	if cfg.Backoff == (backoff.Config{}) {
		cfg.Backoff.Max = time.Minute
	}
	if cfg.JoinTimeout == 0 {
		cfg.JoinTimeout = 20 * time.Second
	}
	if cfg.StableAfter == 0 {
		cfg.StableAfter = time.Minute
	}
	if cfg.OnState == nil {
		cfg.OnState = func(bool, error) {}
	}
	return &Client{
		cfg: cfg, log: log, done: make(chan struct{}), change: make(chan struct{}),
		wishes: map[*wish]struct{}{},
	}, nil
}

// Run connects, and connects again whenever the session ends, until ctx ends;
// then it leaves in order and returns nil. It also ends when the component leaves
// and when the configuration gives up, as the function Run does. It may be called once.
func (c *Client) Run(ctx context.Context) error {
	defer close(c.done)
	wait := backoff.New(c.cfg.Backoff, c.cfg.Random)
	failures := 0
	for {
		started := time.Now()
		err := c.once(ctx)
		var left *leftError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &left):
			return left.err
		}
		if time.Since(started) >= c.cfg.StableAfter {
			wait.Reset()
			failures = 0
		}
		failures++
		c.cfg.OnState(false, err)
		if c.cfg.GiveUp != nil && c.cfg.GiveUp(failures, err) {
			return err
		}
		c.log.Warn("no session with the router; trying again", "error", err)
		if wait.Wait(ctx) != nil {
			return nil
		}
	}
}

// leaveTimeout bounds the goodbye when Run ends.
const leaveTimeout = 2 * time.Second

// once holds one connection from dialling to its end.
func (c *Client) once(ctx context.Context) error {
	jctx, cancel := context.WithTimeout(ctx, c.cfg.JoinTimeout)
	defer cancel()
	p, err := c.cfg.Dial(jctx)
	if err != nil {
		return err
	}
	join, err := c.cfg.Component.connected(jctx, p.Info(), c.cfg.Session)
	if err != nil {
		_ = p.Close()
		c.cfg.Component.ended(false, err)
		return err
	}
	s, err := Join(jctx, p, join)
	if err != nil {
		c.cfg.Component.ended(true, err)
		return err
	}
	err = c.hold(ctx, jctx, s)
	reason := err
	if _, left := err.(*leftError); left || ctx.Err() != nil {
		reason = nil
	}
	c.cfg.Component.ended(true, reason)
	return err
}

// hold holds a session until it ends, of itself or with ctx.
func (c *Client) hold(ctx, jctx context.Context, s *Session) error {
	c.set(s)
	defer c.set(nil)
	var again sync.WaitGroup
	defer again.Wait()
	for _, w := range c.restore(jctx, s) {
		again.Go(func() { c.insist(s, w) })
	}
	c.cfg.OnState(true, nil)
	err := c.cfg.Component.joined(ctx, s)
	if err == nil {
		select {
		case <-s.Done():
		case <-ctx.Done():
		}
	}
	if s.ctx.Err() == nil {
		c.set(nil)
		lctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
		defer cancel()
		// Whether the goodbye was answered does not matter any more.
		_ = s.Leave(lctx)
		return err
	}
	// Of a session that was lost its own end counts, whatever OnJoin made of it.
	<-s.Done()
	switch reason := s.Err(); {
	case reason != nil:
		return reason
	case s.left():
		return &leftError{err}
	}
	return wamp.ErrClosed
}

func (c *Client) set(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = s
	close(c.change)
	c.change = make(chan struct{})
}

// restore asks a new session for everything wished and returns what it did not get.
func (c *Client) restore(ctx context.Context, s *Session) (missing []*wish) {
	c.mu.Lock()
	wishes := make([]*wish, 0, len(c.wishes))
	for w := range c.wishes {
		wishes = append(wishes, w)
	}
	c.mu.Unlock()
	for _, w := range wishes {
		if w.make(ctx, s) != nil {
			missing = append(missing, w)
		}
	}
	return missing
}

// insist asks for what was refused until the session has it or ends.
func (c *Client) insist(s *Session, w *wish) {
	take := func(ctx context.Context) error { return w.make(ctx, s) }
	err := Insist(s.ctx, take, func(err error) {
		c.log.Error("not restored; trying again", "what", w.what, "uri", string(w.uri), "error", err)
	})
	if err == nil {
		c.log.Info("restored", "what", w.what, "uri", string(w.uri))
	}
}

// make asks s for the wish unless it holds there already or was dropped.
func (w *wish) make(ctx context.Context, s *Session) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dropped || w.session == s {
		return nil
	}
	undo, err := w.ask(ctx, s)
	if err != nil {
		return err
	}
	w.session, w.undo = s, undo
	return nil
}

// Connected returns the present session, nil while there is none.
func (c *Client) Connected() *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// Wait blocks until there is a session, or returns ctx's error.
func (c *Client) Wait(ctx context.Context) (*Session, error) {
	for {
		c.mu.Lock()
		s, change := c.session, c.change
		c.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-change:
		case <-c.done:
			return nil, wamp.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// ID returns the present session's ID, 0 while there is none.
func (c *Client) ID() wamp.ID {
	if s := c.Connected(); s != nil {
		return s.ID()
	}
	return 0
}

// Done is closed when Run has returned.
func (c *Client) Done() <-chan struct{} { return c.done }

// Publish implements wamp.Session.
func (c *Client) Publish(ctx context.Context, topic wamp.URI, opts wamp.PublishOptions, p wamp.Payload) error {
	s := c.Connected()
	if s == nil {
		return fmt.Errorf("publish %s: %w", topic, wamp.ErrNotConnected)
	}
	return s.Publish(ctx, topic, opts, p)
}

// PublishAcknowledged is that of the present session.
func (c *Client) PublishAcknowledged(ctx context.Context, topic wamp.URI, opts wamp.PublishOptions, p wamp.Payload) (wamp.ID, error) {
	s := c.Connected()
	if s == nil {
		return 0, fmt.Errorf("publish %s: %w", topic, wamp.ErrNotConnected)
	}
	return s.PublishAcknowledged(ctx, topic, opts, p)
}

// CallResult is that of the present session.
func (c *Client) CallResult(ctx context.Context, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload, onProgress func(wamp.Payload)) (*wamp.Result, error) {
	s := c.Connected()
	if s == nil {
		return nil, fmt.Errorf("call %s: %w", procedure, wamp.ErrNotConnected)
	}
	return s.CallResult(ctx, procedure, opts, p, onProgress)
}

// OpenCall is that of the present session.
func (c *Client) OpenCall(ctx context.Context, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload, onProgress func(wamp.Payload)) (*OpenCall, error) {
	s := c.Connected()
	if s == nil {
		return nil, fmt.Errorf("call %s: %w", procedure, wamp.ErrNotConnected)
	}
	return s.OpenCall(ctx, procedure, opts, p, onProgress)
}

// Call implements wamp.Session.
func (c *Client) Call(ctx context.Context, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload) (wamp.Payload, error) {
	return c.CallProgress(ctx, procedure, opts, p, nil)
}

// CallProgress implements wamp.Session.
func (c *Client) CallProgress(ctx context.Context, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload, onProgress func(wamp.Payload)) (wamp.Payload, error) {
	r, err := c.CallResult(ctx, procedure, opts, p, onProgress)
	if err != nil {
		return wamp.Payload{}, err
	}
	return r.Payload, nil
}

// Subscribe implements wamp.Session. Once it has returned nil the subscription is
// restored with every new session.
func (c *Client) Subscribe(ctx context.Context, topic wamp.URI, opts wamp.SubscribeOptions, h wamp.EventHandler) (func(context.Context) error, error) {
	return c.wish(ctx, &wish{what: "subscription", uri: topic, ask: func(ctx context.Context, s *Session) (func(context.Context) error, error) {
		return s.Subscribe(ctx, topic, opts, h)
	}})
}

// Register implements wamp.Session. Once it has returned nil the registration is
// restored with every new session.
func (c *Client) Register(ctx context.Context, procedure wamp.URI, opts wamp.RegisterOptions, h wamp.InvocationHandler) (func(context.Context) error, error) {
	return c.wish(ctx, &wish{what: "registration", uri: procedure, ask: func(ctx context.Context, s *Session) (func(context.Context) error, error) {
		return s.Register(ctx, procedure, opts, h)
	}})
}

// wish enters a wish and makes it come true if there is a session.
func (c *Client) wish(ctx context.Context, w *wish) (func(context.Context) error, error) {
	c.mu.Lock()
	c.wishes[w] = struct{}{}
	s := c.session
	c.mu.Unlock()
	if s != nil {
		// A session that ends meanwhile leaves the wish to the next one.
		if err := w.make(ctx, s); err != nil && !errors.Is(err, wamp.ErrClosed) {
			c.forget(w)
			return nil, err
		}
	}
	return func(ctx context.Context) error {
		c.forget(w)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.dropped = true
		if w.session == nil || w.session != c.Connected() {
			return nil
		}
		return w.undo(ctx)
	}, nil
}

func (c *Client) forget(w *wish) {
	c.mu.Lock()
	delete(c.wishes, w)
	c.mu.Unlock()
}
