package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"sync"
	"time"

	"gantry/wamp"
)

// invocation is a call that is being served. It is the context of its handler.
type invocation struct {
	context.Context
	cancel  context.CancelFunc
	session *Session
	message wamp.Invocation
	yield   wamp.Yield // the final one

	mu     sync.Mutex // guards what follows
	pieces []wamp.Payload
	held   int           // bytes of pieces
	last   bool          // the caller sends no more
	wake   chan struct{} // capacity 1: a token for the handler that waits; nil until one does
}

type invocationKey struct{}

// Value finds the invocation itself, and else what the session's context has.
func (i *invocation) Value(key any) any {
	if key == (invocationKey{}) {
		return i
	}
	return i.Context.Value(key)
}

func invocationOf(ctx context.Context) *invocation {
	i, _ := ctx.Value(invocationKey{}).(*invocation)
	return i
}

// InvocationOf returns the INVOCATION that a procedure's handler serves: who calls,
// which procedure of a pattern, and how. ctx is the handler's; of any other the
// result is nil.
func InvocationOf(ctx context.Context) *wamp.Invocation {
	if i := invocationOf(ctx); i != nil {
		return &i.message
	}
	return nil
}

// PassThrough sets the details of payload passthru mode (AP "Payload Passthru
// Mode") that go with the result. ctx is the handler's.
func PassThrough(ctx context.Context, p *wamp.Passthru) {
	if i := invocationOf(ctx); i != nil {
		i.yield.Options.Passthru = p
	}
}

// ErrNoProgress is returned to a handler that offers progress nobody asked for.
var ErrNoProgress = errors.New("the caller does not take progressive results")

// progress sends a progressive result.
func (i *invocation) progress(p wamp.Payload) error {
	if !i.message.Details.ReceiveProgress {
		return ErrNoProgress
	}
	if err := i.Err(); err != nil {
		return err
	}
	return i.session.peer.Send(i, &wamp.Yield{Request: i.message.Request, Options: wamp.YieldOptions{Progress: true}, Payload: p})
}

// Bounds of the pieces of one call that may wait for its handler.
const (
	maxPieces     = 1024
	maxPieceBytes = 4 << 20
)

// piece takes a further piece of the call; false tells that there is no room.
func (i *invocation) piece(m *wamp.Invocation) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.pieces) >= maxPieces || i.held > maxPieceBytes {
		return false
	}
	i.pieces = append(i.pieces, m.Payload.Clone())
	i.held += m.Payload.Size()
	i.last = !m.Details.Progress
	if i.wake != nil {
		select {
		case i.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// next returns the next piece behind the first; false behind the last one.
func (i *invocation) next() (p wamp.Payload, more bool, err error) {
	for {
		i.mu.Lock()
		if i.wake == nil {
			i.wake = make(chan struct{}, 1)
		}
		if len(i.pieces) > 0 {
			p = i.pieces[0]
			i.pieces = i.pieces[1:]
			i.held -= p.Size()
			i.mu.Unlock()
			return p, true, nil
		}
		last := i.last
		i.mu.Unlock()
		if last {
			return p, false, nil
		}
		select {
		case <-i.wake:
		case <-i.Done():
			return p, false, i.Err()
		}
	}
}

// all returns the pieces of the call, the first included.
func (i *invocation) all() iter.Seq2[wamp.Payload, error] {
	return func(yield func(wamp.Payload, error) bool) {
		p, more, err := i.message.Payload, true, error(nil)
		for more && yield(p, nil) {
			p, more, err = i.next()
		}
		if err != nil {
			yield(p, err)
		}
	}
}

// invocation starts the handler of a procedure, or hands it a further piece.
func (s *Session) invocation(m *wamp.Invocation) {
	s.mu.Lock()
	h := s.registrations[m.Registration]
	busy := len(s.invocations) >= s.cfg.MaxInvocations
	running := s.invocations[m.Request]
	late := s.late(m)
	s.mu.Unlock()
	switch {
	case late:
		return
	case running != nil:
		if !running.piece(m) {
			// First, or the handler's own answer to the end of its context may overtake it.
			s.refuse(m.Request, wamp.NewError(wamp.ErrURILimit, "the procedure does not take the pieces as fast as they come", nil))
			running.cancel()
		}
		return
	case h == nil:
		s.refuse(m.Request, wamp.NewError(wamp.ErrURINoSuchRegistration, "the procedure is not served any more", nil))
		return
	case busy:
		s.refuse(m.Request, wamp.NewError(wamp.ErrURIUnavailable, "the callee serves as many calls as it may", nil))
		return
	}
	inv := &invocation{session: s, message: *m, last: !m.Details.Progress}
	inv.message.Own()
	if t := m.Details.Timeout; t > 0 {
		const longest = 1e12 // milliseconds; more would overflow a time.Duration
		inv.Context, inv.cancel = context.WithTimeout(s.ctx, time.Duration(min(t, longest))*time.Millisecond)
	} else {
		inv.Context, inv.cancel = context.WithCancel(s.ctx)
	}
	s.mu.Lock()
	s.invocations[m.Request] = inv
	s.mu.Unlock()
	s.handlers.Add(1)
	go s.serve(inv, h)
}

// serve runs the handler of a call and answers.
func (s *Session) serve(inv *invocation, h wamp.InvocationHandler) {
	defer s.handlers.Done()
	defer inv.cancel()
	p, err := s.guarded(inv, h)
	request := inv.message.Request
	s.mu.Lock()
	delete(s.invocations, request)
	s.cut(inv)
	s.mu.Unlock()
	if err == nil {
		inv.yield.Request, inv.yield.Payload = request, p
		err = s.peer.Send(s.ctx, &inv.yield)
		if err = unsendable(err); err == nil {
			return // sent, or the session is over
		}
	}
	if inv.Err() != nil && errors.Is(err, inv.Err()) {
		uri := wamp.ErrURICanceled
		text := "the call was cancelled"
		if errors.Is(inv.Err(), context.DeadlineExceeded) {
			uri, text = wamp.ErrURITimeout, "the call took longer than it may"
		}
		err = wamp.NewError(uri, text, nil)
	}
	s.refuse(request, err)
}

// maxCutShort bounds the answered calls that are remembered because more pieces of
// them may be on the way.
const maxCutShort = 1024

// cut notes a call that is answered before its last piece has come. s.mu is held.
func (s *Session) cut(i *invocation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.last {
		return
	}
	if len(s.cutShort) >= maxCutShort {
		clear(s.cutShort)
	}
	if s.cutShort == nil {
		s.cutShort = map[wamp.ID]struct{}{}
	}
	s.cutShort[i.message.Request] = struct{}{}
}

// late reports whether m is a piece of a call that has been answered. s.mu is held.
func (s *Session) late(m *wamp.Invocation) bool {
	_, late := s.cutShort[m.Request]
	if late && !m.Details.Progress {
		delete(s.cutShort, m.Request)
	}
	return late
}

// unsendable returns what the caller is told of a result that cannot be sent to it;
// nil where err is of the session and nobody can be told.
func unsendable(err error) error {
	if err == nil {
		return nil
	}
	var payload *wamp.PayloadError
	switch {
	case errors.Is(err, wamp.ErrTooLarge):
		return wamp.NewError(wamp.ErrURIPayloadSizeExceeded, err.Error(), nil)
	case errors.As(err, &payload):
		return wamp.NewError(wamp.ErrURIInvalidArgument, err.Error(), nil)
	}
	return nil
}

// guarded runs a handler and turns its panic into an error: one procedure's
// defect must not end the others.
func (s *Session) guarded(inv *invocation, h wamp.InvocationHandler) (p wamp.Payload, err error) {
	defer func() {
		if v := recover(); v != nil {
			stack := string(debug.Stack())
			s.log.Error("a procedure panicked", "registration", inv.message.Registration, "panic", v, "stack", stack)
			var details wamp.Dict
			if s.cfg.Tracebacks {
				details = wamp.Dict{"traceback": stack}
			}
			err = wamp.NewError(wamp.ErrURIRuntimeError, fmt.Sprintf("the procedure failed inside: %v", v), details)
		}
	}()
	return h(inv, &inv.message, inv.progress)
}

func (s *Session) refuse(request wamp.ID, err error) {
	e := s.cfg.Errors.encode(err)
	reply := &wamp.ErrorReply{RequestType: wamp.TypeInvocation, Request: request, URI: e.URI, Payload: e.Payload}
	if err := s.peer.Send(s.ctx, reply); err != nil && !errors.Is(err, wamp.ErrClosed) && s.ctx.Err() == nil {
		// The error's own payload did not go through; its URI always does.
		_ = s.peer.Send(s.ctx, &wamp.ErrorReply{RequestType: wamp.TypeInvocation, Request: request, URI: e.URI})
	}
}
