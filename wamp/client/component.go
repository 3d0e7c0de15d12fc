package client

import (
	"context"
	"fmt"
	"runtime/debug"

	"gantry/wamp"
)

// Component is an application's part in a realm, as a handful of functions that are
// called in the course of a connection; any may be nil. It knows its session and
// not where the router is: the same component runs inside the router's process and
// on another machine (see Run).
//
// Each connection goes through OnConnect, then either OnJoin or a refusal, then
// OnLeave and OnDisconnect. A connection that could not be made goes through none of
// them.
type Component struct {
	// OnConnect is told of a connection before the session joins. It may change how:
	// join is a copy for this connection. An error gives the connection up.
	OnConnect func(ctx context.Context, info wamp.PeerInfo, join *SessionConfig) error
	// OnChallenge answers challenges by methods that join.Auth does not have, unless
	// join has its own OnChallenge.
	OnChallenge func(ctx context.Context, c *wamp.Challenge) (*wamp.Authenticate, error)
	// OnJoin subscribes, registers, calls, publishes. ctx ends with the session. The
	// session goes on when OnJoin returns nil, until s.Leave is called, Run's context
	// ends or the router ends it; then a new one is joined. OnJoin may stay for as long
	// as ctx lasts. Its error ends the session, and Run too where it has called s.Leave.
	OnJoin func(ctx context.Context, s *Session) error
	// OnLeave is told why the session ended, or why there is none: nil when the
	// application wished it, the router's *wamp.Error, OnJoin's error or the
	// transport's.
	OnLeave func(reason error)
	// OnDisconnect is told that the connection is closed, and why as OnLeave is.
	OnDisconnect func(reason error)
}

// Run runs a component on a client of its own: it connects as cfg says, joins, and
// does so again whenever the session has ended. It returns nil when ctx ends, OnJoin's
// error when the component has left its session (Session.Leave), and the last error
// when cfg.GiveUp says so.
//
// The launcher is the same for a component inside the router's process and for a
// remote one: cfg.Dial is Embedded or URL.
func Run(ctx context.Context, c Component, cfg Config) error {
	cfg.Component = c
	cl, err := New(cfg, cfg.Session.Log)
	if err != nil {
		return err
	}
	return cl.Run(ctx)
}

// connected calls OnConnect and returns how to join.
func (c *Component) connected(ctx context.Context, info wamp.PeerInfo, join SessionConfig) (SessionConfig, error) {
	if c.OnConnect != nil {
		if err := c.OnConnect(ctx, info, &join); err != nil {
			return join, fmt.Errorf("connected, and not joined: %w", err)
		}
	}
	if join.OnChallenge == nil {
		join.OnChallenge = c.OnChallenge
	}
	return join, nil
}

// joined calls OnJoin with a context that ends with the session.
func (c *Component) joined(ctx context.Context, s *Session) (err error) {
	if c.OnJoin == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("a component panicked", "panic", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("the component failed inside: %v", v)
		}
	}()
	return c.OnJoin(ctx, s)
}

// ended calls OnLeave, if a session was tried, and OnDisconnect.
func (c *Component) ended(tried bool, reason error) {
	if tried && c.OnLeave != nil {
		c.OnLeave(reason)
	}
	if c.OnDisconnect != nil {
		c.OnDisconnect(reason)
	}
}

// leftError tells that the component has left its session, and why OnJoin thinks so;
// nil where it does not.
type leftError struct{ err error }

// Error returns a text that nobody reads: Run returns what is inside.
func (e *leftError) Error() string { return "the component has left" }
