package client

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"reflect"

	"gantry/wamp"
)

// Undo gives a subscription or registration back.
type Undo = func(context.Context) error

// Publish publishes an event with args as its arguments (see "Values" in the
// package documentation). It returns as soon as the event is queued.
func Publish(ctx context.Context, s wamp.Session, topic wamp.URI, args ...any) error {
	return PublishWith(ctx, s, topic, wamp.PublishOptions{}, args...)
}

// PublishWith is Publish with options. With opts.Acknowledge it returns once the
// router has accepted the event, or its refusal.
func PublishWith(ctx context.Context, s wamp.Session, topic wamp.URI, opts wamp.PublishOptions, args ...any) error {
	topic, p, err := layoutsOf(s).lay(topic, args)
	if err != nil {
		return wrap("publish", topic, err)
	}
	return s.Publish(ctx, topic, opts, p)
}

// Subscribe calls h for each event on topic, which may be a Template, until the
// returned function is called. v is the event's payload as a T, ev the event with its
// details; ev.Details.Topic is always set. An event that is no T is logged and
// dropped. As for every handler of events, h must not wait for the router.
func Subscribe[T any](ctx context.Context, s wamp.Session, topic wamp.URI, h func(v T, ev *wamp.Event)) (Undo, error) {
	return SubscribeWith(ctx, s, topic, wamp.SubscribeOptions{}, h)
}

// SubscribeWith is Subscribe with options. The match policy of a template is its
// own.
func SubscribeWith[T any](ctx context.Context, s wamp.Session, topic wamp.URI, opts wamp.SubscribeOptions, h func(v T, ev *wamp.Event)) (Undo, error) {
	b, err := bind[T](topic, &opts.Match)
	if err != nil {
		return nil, wrap("subscribe", topic, err)
	}
	log := logOf(s)
	return s.Subscribe(ctx, b.pattern, opts, func(ev *wamp.Event) {
		if ev.Details.Topic == "" {
			ev.Details.Topic = b.pattern
		}
		parts, ok := b.parse(ev.Details.Topic)
		if !ok {
			return // the pattern says less than the template
		}
		var v T
		if err := b.layout.decode(ev.Payload, parts, &v, false); err != nil {
			log.Warn("an event does not fit its handler", "topic", string(ev.Details.Topic), "error", err)
			return
		}
		h(v, ev)
	})
}

// Register serves procedure, which may be a Template, with f until the returned
// function is called. A call whose arguments are no In is answered with
// wamp.error.invalid_argument; an error of f goes to the caller (see ErrorMap). ctx
// ends when the call is cancelled, its timeout passes or the session ends;
// InvocationOf(ctx) tells about the call, Progress(ctx) sends progressive results.
func Register[In, Out any](ctx context.Context, s wamp.Session, procedure wamp.URI, f func(ctx context.Context, in In) (Out, error)) (Undo, error) {
	return RegisterWith(ctx, s, procedure, wamp.RegisterOptions{}, f)
}

// RegisterWith is Register with options. The match policy of a template is its own.
func RegisterWith[In, Out any](ctx context.Context, s wamp.Session, procedure wamp.URI, opts wamp.RegisterOptions, f func(ctx context.Context, in In) (Out, error)) (Undo, error) {
	b, err := bind[In](procedure, &opts.Match)
	if err != nil {
		return nil, wrap("register", procedure, err)
	}
	out, err := layoutOf(reflect.TypeFor[Out]())
	if err != nil {
		return nil, wrap("register", procedure, err)
	}
	return s.Register(ctx, b.pattern, opts, func(ctx context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		parts, ok := b.parse(inv.Details.Procedure)
		if !ok {
			return wamp.Payload{}, &MismatchError{What: "procedure", Expected: b.template.String(), Cause: string(inv.Details.Procedure)}
		}
		var in In
		if err := b.layout.decode(inv.Payload, parts, &in, true); err != nil {
			return wamp.Payload{}, err
		}
		v, err := f(ctx, in)
		if err != nil {
			return wamp.Payload{}, err
		}
		return out.encode(v), nil
	})
}

// RegisterPieces serves a procedure whose arguments come in pieces (AP "Progressive
// Call Invocations"). The sequence begins with the first piece and ends behind the
// last, or with an error: a piece is no In, or the call has been given up.
func RegisterPieces[In, Out any](ctx context.Context, s wamp.Session, procedure wamp.URI, f func(ctx context.Context, pieces iter.Seq2[In, error]) (Out, error)) (Undo, error) {
	l, err := layoutOf(reflect.TypeFor[In]())
	if err != nil {
		return nil, wrap("register", procedure, err)
	}
	return Register(ctx, s, procedure, func(ctx context.Context, p wamp.Payload) (Out, error) {
		return f(ctx, func(yield func(In, error) bool) {
			for p, err := range piecesOf(ctx, p) {
				var in In
				if err == nil {
					err = l.decode(p, nil, &in, true)
				}
				if !yield(in, err) || err != nil {
					return
				}
			}
		})
	})
}

// piecesOf returns the pieces of the call that ctx serves; first alone if there are
// no more.
func piecesOf(ctx context.Context, first wamp.Payload) iter.Seq2[wamp.Payload, error] {
	if i := invocationOf(ctx); i != nil {
		return i.all()
	}
	return func(yield func(wamp.Payload, error) bool) { yield(first, nil) }
}

// Progress sends a progressive result from a procedure's handler, whose context ctx
// is. It returns ErrNoProgress if the caller did not ask for them, and an error that
// ends the handler when the call has been given up.
func Progress(ctx context.Context, args ...any) error {
	i := invocationOf(ctx)
	if i == nil {
		return ErrNoProgress
	}
	_, p, err := i.session.layouts.lay("", args)
	if err != nil {
		return err
	}
	return i.progress(p)
}

// Call calls a procedure with args as its arguments and returns its result as an
// Out (see "Values" in the package documentation). The call is cancelled when ctx
// ends. An ERROR is a *wamp.Error, or what the session's ErrorMap makes of it; a
// result that is no Out a *MismatchError.
func Call[Out any](ctx context.Context, s wamp.Session, procedure wamp.URI, args ...any) (Out, error) {
	return CallWith[Out](ctx, s, procedure, wamp.CallOptions{}, args...)
}

// CallWith is Call with options.
func CallWith[Out any](ctx context.Context, s wamp.Session, procedure wamp.URI, opts wamp.CallOptions, args ...any) (out Out, err error) {
	known := layoutsOf(s)
	l, err := known.of(reflect.TypeFor[Out]())
	if err != nil {
		return out, wrap("call", procedure, err)
	}
	procedure, p, err := known.lay(procedure, args)
	if err != nil {
		return out, wrap("call", procedure, err)
	}
	if p, err = s.Call(ctx, procedure, opts, p); err != nil {
		return out, err
	}
	return out, wrap("result of", procedure, l.decode(p, nil, &out, false))
}

// binding ties a Go type to a topic or procedure.
type binding struct {
	pattern  wamp.URI
	template *Template // nil: an exact URI, or a pattern without names
	layout   layout
}

// bind reads a topic or procedure that may be a template, and sets its policy.
func bind[T any](uri wamp.URI, match *wamp.Match) (*binding, error) {
	l, err := layoutOf(reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	b := &binding{pattern: uri, layout: l}
	if isTemplate(uri) {
		if b.template, err = ParseTemplate(string(uri)); err != nil {
			return nil, err
		}
		b.pattern, *match = b.template.Pattern()
	}
	for _, f := range l.fields {
		if f.part != "" && (b.template == nil || !b.template.has(f.part)) {
			return nil, fmt.Errorf("%s has a field for <%s>, which %s does not have", l.typ, f.part, uri)
		}
	}
	return b, nil
}

func (b *binding) parse(uri wamp.URI) ([]Part, bool) {
	if b.template == nil {
		return nil, true
	}
	return b.template.Parse(uri)
}

// logOf returns where a session logs what handlers do wrong.
func logOf(s wamp.Session) *slog.Logger {
	switch s := s.(type) {
	case *Session:
		return s.log
	case *Client:
		return s.log
	}
	return slog.New(slog.DiscardHandler)
}
