package hub

import (
	"context"
	"errors"

	"gantry/drivers"
	"gantry/internal/backoff"
	"gantry/wamp"
)

// serve registers procedures, again and again where that is refused, tells tried when it
// has been with each of them and there when they are, and takes them back when ctx has
// ended.
func (h *Hub) serve(ctx context.Context, procedures []procedure, tried, there func()) {
	var undo []func(context.Context) error
	wait := backoff.New(backoff.Config{Max: registerMax}, h.random)
	logged := false
	for first := true; first || len(procedures) > 0; first = false {
		var refused []procedure
		for i := range procedures {
			p := &procedures[i]
			unregister, err := h.register(ctx, p)
			var own *wamp.Error
			switch {
			case err == nil:
				undo = append(undo, unregister)
				h.reflect(ctx, p)
			case ctx.Err() != nil:
			case p.optional && errors.As(err, &own):
				h.log.Debug("procedure not registered", "procedure", string(p.uri), "error", err)
			default:
				if !logged && errors.As(err, &own) {
					h.log.Warn("procedure not registered, trying again", "procedure", string(p.uri), "error", err)
					logged = true
				}
				refused = append(refused, *p)
			}
		}
		procedures = refused
		if first {
			tried()
		}
		if len(procedures) > 0 && wait.Wait(ctx) != nil {
			break
		}
	}
	if len(procedures) == 0 {
		there()
	}
	<-ctx.Done()
	h.unregister(ctx, undo)
}

// unregister takes registrations back as long as there is time and a session.
func (h *Hub) unregister(ctx context.Context, undo []func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	for _, f := range undo {
		select {
		case <-h.sess.Done():
			return
		default:
		}
		if f(ctx) != nil && ctx.Err() != nil {
			return
		}
	}
}

// register registers one procedure. The caller's identity is asked for, for the
// audit log; a router that does not disclose it serves without.
func (h *Hub) register(ctx context.Context, p *procedure) (func(context.Context) error, error) {
	opts := wamp.RegisterOptions{Match: p.match, DiscloseCaller: true}
	unregister, err := h.sess.Register(ctx, p.uri, opts, h.handler(p))
	if wamp.IsError(err, wamp.ErrURIOptionDisallowedDisclose) || wamp.IsError(err, wamp.ErrURIOptionNotAllowed) {
		opts.DiscloseCaller = false
		unregister, err = h.sess.Register(ctx, p.uri, opts, h.handler(p))
	}
	return unregister, err
}

// reflect describes a procedure to the router (AP "Interface Reflection"), where
// it takes descriptions: what the arguments are, in which unit and range.
func (h *Hub) reflect(ctx context.Context, p *procedure) {
	if p.about == nil || h.mute.Load() {
		return
	}
	_, err := h.sess.Call(ctx, "wamp.reflect.define", wamp.CallOptions{}, wamp.Args(string(p.uri), p.about()))
	var refused *wamp.Error
	if errors.As(err, &refused) {
		h.mute.Store(true)
		h.log.Debug("the router takes no descriptions", "error", err)
	}
}

// handler decodes an invocation and serves it. Nothing that a caller sends may
// take the process down.
func (h *Hub) handler(p *procedure) wamp.InvocationHandler {
	serve := p.serve
	return func(ctx context.Context, inv *wamp.Invocation, progress func(wamp.Payload) error) (out wamp.Payload, err error) {
		args, kwargs, err := h.decode(inv.Payload)
		if err != nil {
			return wamp.Payload{}, invalid("arguments cannot be decoded: "+clip(err.Error(), 200), nil)
		}
		err = drivers.Contain(func() (err error) {
			out, err = serve(ctx, &call{args: args, kwargs: kwargs, inv: inv, progress: progress})
			return err
		})
		var caught *drivers.PanicError
		if errors.As(err, &caught) {
			h.log.Error("procedure panicked", "panic", caught.Error(), "stack", string(caught.Stack))
		}
		return out, err
	}
}
