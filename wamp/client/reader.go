package client

import (
	"errors"
	"io"
	"runtime/debug"

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
			inv := s.invocations[m.Request]
			s.mu.Unlock()
			if inv != nil {
				inv.cancel()
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
	if result, ok := m.(*wamp.Result); ok {
		r.result = *result
		r.result.Own()
		m = &r.result
	} else {
		m = wamp.Clone(m)
	}
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
		s.handle(sub, m)
	}
}

// handle runs an event handler. Its panic must not end the session.
func (s *Session) handle(sub *subscription, m *wamp.Event) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("an event handler panicked", "subscription", m.Subscription, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	// Each handler owns its event.
	sub.handler(wamp.Clone(m).(*wamp.Event))
}
