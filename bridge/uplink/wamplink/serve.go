package wamplink

import (
	"context"
	"errors"
	"slices"
	"time"

	"gantry/bridge/uplink"
	"gantry/wamp"
	"gantry/wamp/client"
)

// serve registers the classes of procedures by their prefixes, and one by one where the
// router does not take that. What is refused for now is asked for again and again while the
// connection lasts: it may still be held by a session that is about to be found dead.
func (c *conn) serve(ctx context.Context) {
	var single []wamp.URI
	patterns := c.session.Announces("dealer", "pattern_based_registration")
	for _, prefix := range c.sink.cfg.Commands.Prefixes() {
		if !patterns {
			single = append(single, prefix)
			continue
		}
		_, err := c.register(ctx, prefix, wamp.MatchPrefix)
		var r *uplink.Refusal
		switch {
		case err == nil:
		case errors.As(refusal(err), &r) && r.Settled:
			c.sink.log.Warn("the far router refuses a pattern; procedures are registered one by one", "prefix", string(prefix), "error", err)
			single = append(single, prefix)
		default:
			c.sink.log.Warn("procedures are not served at the far router; trying again", "error", err)
			c.tasks.Go(func() {
				if c.insist(c.ctx, prefix, wamp.MatchPrefix) != nil {
					c.sink.log.Info("procedures are served at the far router", "prefix", string(prefix))
				}
			})
		}
	}
	if len(single) > 0 {
		c.tasks.Go(func() { c.serveSingle(single) })
	}
}

// serveSingle registers each procedure with one of the prefixes, for as long as the
// gateway's realm has it.
func (c *conn) serveSingle(prefixes []wamp.URI) {
	held := map[wamp.URI]context.CancelFunc{} // ends the registration
	err := c.sink.cfg.Commands.Follow(c.ctx, func(procedure wamp.URI, there bool) {
		if stop := held[procedure]; stop != nil {
			stop()
			delete(held, procedure)
		}
		if !there || !slices.ContainsFunc(prefixes, func(p wamp.URI) bool { return p.Matches(wamp.MatchPrefix, procedure) }) {
			return
		}
		ctx, stop := context.WithCancel(c.ctx)
		held[procedure] = stop
		c.tasks.Go(func() { c.hold(ctx, procedure) })
	})
	if err != nil && c.ctx.Err() == nil {
		c.sink.log.Warn("procedures are not served at the far router", "error", err)
	}
}

// hold registers a procedure until ctx ends.
func (c *conn) hold(ctx context.Context, procedure wamp.URI) {
	undo := c.insist(ctx, procedure, wamp.MatchExact)
	if undo == nil {
		return
	}
	<-ctx.Done()
	if c.ctx.Err() != nil {
		return // all of them end with the session
	}
	late, cancel := context.WithTimeout(c.ctx, time.Second)
	defer cancel()
	_ = undo(late) // the session may have ended
}

// register serves a class of procedures, or one. The returned function ends that.
func (c *conn) register(ctx context.Context, procedure wamp.URI, match wamp.Match) (undo func(context.Context) error, err error) {
	opts := wamp.RegisterOptions{Match: match, ForwardTimeout: true, DiscloseCaller: true}
	call := func(ctx context.Context, inv *wamp.Invocation, progress func(wamp.Payload) error) (wamp.Payload, error) {
		if inv.Details.Procedure == "" {
			inv.Details.Procedure = procedure // only that of a pattern has to be told
		}
		return c.call(ctx, inv, progress)
	}
	undo, err = c.session.Register(ctx, procedure, opts, call)
	if wamp.IsError(err, wamp.ErrURIOptionDisallowedDisclose) || wamp.IsError(err, wamp.ErrURIOptionNotAllowed) {
		opts.DiscloseCaller = false
		undo, err = c.session.Register(ctx, procedure, opts, call)
	}
	return undo, err
}

// insist registers until it succeeds, or returns nil when ctx ends or the router will not
// change its mind.
func (c *conn) insist(ctx context.Context, procedure wamp.URI, match wamp.Match) (undo func(context.Context) error) {
	// Whether it has been done in the end is told by undo.
	_ = client.Insist(ctx, func(context.Context) (err error) {
		// Not with ctx: an answer that nobody waits for would be a registration that
		// nobody ends.
		undo, err = c.register(c.ctx, procedure, match)
		var r *uplink.Refusal
		if err != nil && errors.As(refusal(err), &r) && r.Settled {
			c.sink.log.Warn("the far router refuses a procedure", "procedure", string(procedure), "error", err)
			return nil
		}
		return err
	}, func(error) {})
	return undo
}

// call passes an invocation on to the local router.
func (c *conn) call(ctx context.Context, inv *wamp.Invocation, progress func(wamp.Payload) error) (wamp.Payload, error) {
	opts := wamp.CallOptions{Timeout: inv.Details.Timeout, Passthru: inv.Details.Passthru, ForwardFor: callers(&inv.Details)}
	if !inv.Details.ReceiveProgress {
		progress = nil
	}
	return c.sink.cfg.Commands.Call(ctx, inv.Details.Procedure, opts, inv.Payload, progress)
}
