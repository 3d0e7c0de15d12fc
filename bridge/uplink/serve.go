package uplink

import (
	"context"
	"sync"

	"gantry/wamp"
)

// maxProgress bounds the progressive results of one call that wait for the far
// connection. They must not hold up the local session, over which the events
// come, so a call that produces more is cancelled.
const maxProgress = 256

// serve registers the chosen classes of procedures at the far router; the client
// does it anew with every session.
func (u *Uplink) serve(ctx context.Context) error {
	for _, class := range u.cfg.Serve {
		prefix := u.prefix(class)
		opts := wamp.RegisterOptions{Match: wamp.MatchPrefix, ForwardTimeout: true}
		// The client has no session yet: this notes the wish and cannot fail.
		_, err := u.client.Register(ctx, prefix, opts, func(ctx context.Context, inv *wamp.Invocation, progress func(wamp.Payload) error) (wamp.Payload, error) {
			return u.call(ctx, prefix, inv, progress)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// call passes an invocation on to the local router.
func (u *Uplink) call(ctx context.Context, prefix wamp.URI, inv *wamp.Invocation, progress func(wamp.Payload) error) (wamp.Payload, error) {
	procedure := inv.Details.Procedure
	// What was registered is all that may be called, whatever the far router says.
	if !prefix.Matches(wamp.MatchPrefix, procedure) || !procedure.Valid(false, wamp.MatchExact) {
		return wamp.Payload{}, wamp.NewError(wamp.ErrURINoSuchProcedure, "not a procedure of this registration", nil)
	}
	opts := wamp.CallOptions{Timeout: inv.Details.Timeout, Passthru: inv.Details.Passthru}
	if !inv.Details.ReceiveProgress {
		return u.deps.Local.Call(ctx, procedure, opts, inv.Payload)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Sent by the local session's reader, received below, closed when no more come.
	results := make(chan wamp.Payload, maxProgress)
	var sender sync.WaitGroup
	sender.Go(func() {
		for p := range results {
			if err := progress(p); err != nil {
				cancel(err)
			}
		}
	})
	result, err := u.deps.Local.CallProgress(ctx, procedure, opts, inv.Payload, func(p wamp.Payload) {
		select {
		case results <- p:
		default:
			cancel(wamp.NewError(wamp.ErrURIUnavailable, "progressive results come faster than the uplink takes them", nil))
		}
	})
	close(results)
	// The result must not overtake them.
	sender.Wait()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return wamp.Payload{}, cause
	}
	return result, err
}
