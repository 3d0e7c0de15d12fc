package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// read handles what the router sends until the session ends, then releases
// everybody who waits.
func (s *Session) read() {
	defer close(s.done)
	err := s.receive()
	s.mu.Lock()
	if s.leaving == nil || err != nil && !errors.Is(err, wamp.ErrClosed) && !errors.Is(err, io.EOF) {
		s.err = err
	}
	s.mu.Unlock()
	s.cancel()
	_ = s.peer.Close()
	s.handlers.Wait()
}

func (s *Session) receive() error {
	for {
		m, err := s.peer.Recv()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *wamp.Event:
			s.event(m)
		case *wamp.Result:
			s.result(m)
		case *wamp.Invocation:
			s.invocation(m)
		case *wamp.ErrorReply:
			s.answer(m.Request, m)
		case *wamp.Published:
			s.answer(m.Request, m)
		case *wamp.Subscribed:
			s.answer(m.Request, m)
		case *wamp.Registered:
			s.answer(m.Request, m)
		case *wamp.Unsubscribed:
			if m.Request == 0 {
				s.mu.Lock()
				delete(s.subscriptions, m.Subscription)
				s.mu.Unlock()
				break
			}
			s.answer(m.Request, m)
		case *wamp.Unregistered:
			if m.Request == 0 {
				s.mu.Lock()
				delete(s.registrations, m.Registration)
				s.mu.Unlock()
				break
			}
			s.answer(m.Request, m)
		case *wamp.Interrupt:
			s.mu.Lock()
			cancel := s.invocations[m.Request]
			s.mu.Unlock()
			if cancel != nil {
				cancel()
			}
		case *wamp.Goodbye:
			return s.goodbye(m)
		case *wamp.Abort:
			return asError(wamp.Clone(m).(*wamp.Abort).Reason, detailText(m.Details))
		default:
			text := m.Type().String() + " is not for a router to send in a session"
			_ = s.peer.TrySend(&wamp.Abort{Reason: wamp.ErrURIProtocolViolation, Details: wamp.Dict{"message": text}})
			return &wamp.ProtocolError{Text: text}
		}
	}
}

func detailText(d wamp.Dict) wamp.Payload {
	if text, ok := d["message"].(string); ok {
		return wamp.Args(text)
	}
	return wamp.Payload{}
}

// goodbye ends the session: it is either the answer to Leave or the router's wish.
func (s *Session) goodbye(m *wamp.Goodbye) error {
	s.mu.Lock()
	leaving := s.leaving
	s.mu.Unlock()
	if leaving != nil {
		close(leaving)
		return wamp.ErrClosed
	}
	_ = s.peer.TrySend(&wamp.Goodbye{Reason: wamp.CloseURIGoodbyeAndOut})
	return asError(wamp.Clone(m).(*wamp.Goodbye).Reason, detailText(m.Details))
}

// asError turns an error of the protocol into a Go error that owns its memory.
func asError(uri wamp.URI, p wamp.Payload) *wamp.Error {
	e := &wamp.Error{URI: uri, Payload: p}
	if p.Format() == wamp.NoFormat {
		if args, _ := p.GoValues(); len(args) > 0 {
			e.Text, _ = args[0].(string)
		}
		return e
	}
	// A first argument that is no text is for programs only.
	_ = serialize.Arg(p, 0, &e.Text)
	return e
}

// answer hands a final answer to whoever waits for it. One that nobody waits for
// belongs to a request that was given up.
func (s *Session) answer(id wamp.ID, m wamp.Message) {
	s.mu.Lock()
	r := s.pending[id]
	delete(s.pending, id)
	s.mu.Unlock()
	if r == nil {
		return
	}
	m = wamp.Clone(m)
	if r.onReply != nil {
		r.onReply(m)
	}
	r.reply <- m
}

func (s *Session) result(m *wamp.Result) {
	if !m.Details.Progress {
		s.answer(m.Request, m)
		return
	}
	s.mu.Lock()
	r := s.pending[m.Request]
	s.mu.Unlock()
	if r != nil {
		r.progress(m.Payload.Clone())
	}
}

func (s *Session) event(m *wamp.Event) {
	s.mu.Lock()
	list := s.subscriptions[m.Subscription]
	s.mu.Unlock()
	for _, sub := range list {
		// Each handler owns its event.
		sub.handler(wamp.Clone(m).(*wamp.Event))
	}
}

// invocation starts the handler of a procedure.
func (s *Session) invocation(m *wamp.Invocation) {
	s.mu.Lock()
	h := s.registrations[m.Registration]
	busy := len(s.invocations) >= s.cfg.MaxInvocations
	s.mu.Unlock()
	switch {
	case h == nil:
		s.refuse(m.Request, wamp.NewError(wamp.ErrURINoSuchRegistration, "the procedure is not served any more", nil))
		return
	case busy:
		s.refuse(m.Request, wamp.NewError(wamp.ErrURIUnavailable, "the callee serves as many calls as it may", nil))
		return
	}
	inv := wamp.Clone(m).(*wamp.Invocation)
	ctx, cancel := context.WithCancel(s.ctx)
	if t := inv.Details.Timeout; t > 0 {
		const longest = 1e12 // milliseconds; more would overflow a time.Duration
		ctx, cancel = context.WithTimeout(s.ctx, time.Duration(min(t, longest))*time.Millisecond)
	}
	s.mu.Lock()
	s.invocations[inv.Request] = cancel
	s.mu.Unlock()
	s.handlers.Go(func() {
		defer cancel()
		s.serve(ctx, inv, h)
		s.mu.Lock()
		delete(s.invocations, inv.Request)
		s.mu.Unlock()
	})
}

// errNoProgress is what a handler gets that offers progress nobody asked for.
var errNoProgress = errors.New("the caller does not take progressive results")

func (s *Session) serve(ctx context.Context, inv *wamp.Invocation, h wamp.InvocationHandler) {
	progress := func(p wamp.Payload) error {
		if !inv.Details.ReceiveProgress {
			return errNoProgress
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return s.peer.Send(ctx, &wamp.Yield{Request: inv.Request, Options: wamp.YieldOptions{Progress: true}, Payload: p})
	}
	p, err := s.guarded(ctx, inv, h, progress)
	if err == nil {
		err = s.peer.Send(s.ctx, &wamp.Yield{Request: inv.Request, Payload: p})
		var payload *wamp.PayloadError
		switch {
		case errors.Is(err, wamp.ErrTooLarge):
			err = wamp.NewError(wamp.ErrURIPayloadSizeExceeded, err.Error(), nil)
		case errors.As(err, &payload):
			err = wamp.NewError(wamp.ErrURIInvalidArgument, err.Error(), nil)
		default:
			return // sent, or the session is over
		}
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = wamp.NewError(wamp.ErrURICanceled, "the call was cancelled", nil)
	}
	s.refuse(inv.Request, err)
}

// guarded runs a handler and turns its panic into an error: one procedure's
// defect must not end the others.
func (s *Session) guarded(ctx context.Context, inv *wamp.Invocation, h wamp.InvocationHandler, progress func(wamp.Payload) error) (p wamp.Payload, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("a procedure panicked", "registration", inv.Registration, "panic", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("the procedure failed inside: %v", v)
		}
	}()
	return h(ctx, inv, progress)
}

func (s *Session) refuse(request wamp.ID, err error) {
	reply := &wamp.ErrorReply{RequestType: wamp.TypeInvocation, Request: request}
	var e *wamp.Error
	if errors.As(err, &e) {
		reply.URI, reply.Payload = e.URI, e.Payload
	} else {
		reply.URI, reply.Payload = wamp.ErrURIRuntimeError, wamp.Args(err.Error())
	}
	if err := s.peer.Send(s.ctx, reply); err != nil && !errors.Is(err, wamp.ErrClosed) && s.ctx.Err() == nil {
		// The error's own payload did not go through; its URI always does.
		_ = s.peer.Send(s.ctx, &wamp.ErrorReply{RequestType: wamp.TypeInvocation, Request: request, URI: reply.URI})
	}
}
