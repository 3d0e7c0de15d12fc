package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gantry/wamp"
)

// Call implements wamp.Session.
func (s *Session) Call(ctx context.Context, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload) (wamp.Payload, error) {
	return s.CallProgress(ctx, procedure, opts, p, nil)
}

// CallProgress implements wamp.Session. A nil onProgress asks for no
// progressive results.
func (s *Session) CallProgress(ctx context.Context, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload, onProgress func(wamp.Payload)) (wamp.Payload, error) {
	r, err := s.CallResult(ctx, procedure, opts, p, onProgress)
	if err != nil {
		return wamp.Payload{}, err
	}
	return r.Payload, nil
}

// CallResult is CallProgress that returns the details of the result as well: who
// has answered, and how its payload passes through.
func (s *Session) CallResult(ctx context.Context, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload, onProgress func(wamp.Payload)) (*wamp.Result, error) {
	opts.ReceiveProgress = onProgress != nil
	limited := limit(ctx, &opts)
	r := &request{onProgress: onProgress, call: wamp.Call{Options: opts, Procedure: procedure, Payload: p}}
	id, m, err := s.exchange(ctx, r, &r.call)
	return s.called(ctx, r, id, m, err, &callEnd{procedure, opts.Cancel, limited})
}

// callEnd is what the end of a call depends on.
type callEnd struct {
	procedure wamp.URI
	mode      wamp.CancelMode
	limited   bool // the timeout is that of the context
}

// limit has the router, and with it the callee, keep the deadline of ctx, unless
// the call has a timeout of its own. It reports whether it has.
func limit(ctx context.Context, opts *wamp.CallOptions) bool {
	until, ok := ctx.Deadline()
	if !ok || opts.Timeout != 0 {
		return false
	}
	opts.Timeout = uint64(max(time.Until(until)+time.Millisecond-1, time.Millisecond) / time.Millisecond)
	return true
}

// cancelWait bounds the wait for room in the queue to send CANCEL: the caller
// has given up already.
const cancelWait = time.Second

// called ends a call that was answered by m or failed with err. One that was given
// up is cancelled.
func (s *Session) called(ctx context.Context, r *request, id wamp.ID, m wamp.Message, err error, end *callEnd) (*wamp.Result, error) {
	r.settle()
	if err != nil {
		if id != 0 && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelWait)
			defer cancel()
			// The session may have ended meanwhile, and the call with it.
			_ = s.peer.Send(cctx, &wamp.Cancel{Request: id, Mode: end.mode})
		}
		if end.limited && wamp.IsError(err, wamp.ErrURITimeout) {
			err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
		}
		return nil, wrap("call", end.procedure, err)
	}
	r.call = wamp.Call{} // whoever keeps the result does not keep the arguments
	res, ok := m.(*wamp.Result)
	if !ok {
		return nil, wrap("call", end.procedure, &wamp.ProtocolError{Text: "CALL was answered by " + m.Type().String()})
	}
	return res, nil
}

// OpenCall is a call whose arguments are sent in pieces (AP "Progressive Call
// Invocations"). One goroutine uses it, and ends it with Finish or Abandon.
type OpenCall struct {
	session *Session
	request *request
	id      wamp.ID
	end     callEnd
}

// Opener is a session that can send the arguments of a call in pieces: Session and
// Client.
type Opener interface {
	wamp.Session
	OpenCall(ctx context.Context, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload, onProgress func(wamp.Payload)) (*OpenCall, error)
}

var (
	_ Opener = (*Session)(nil)
	_ Opener = (*Client)(nil)
)

const pieces = "progressive_call_invocations"

// OpenCall sends the first piece of a call. The callee gets the pieces in the order
// in which they are sent. Of a router that does not know such calls the error is
// wamp.error.feature_not_supported.
func (s *Session) OpenCall(ctx context.Context, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload, onProgress func(wamp.Payload)) (*OpenCall, error) {
	if !s.Announces("dealer", pieces) {
		return nil, wrap("call", procedure, wamp.NewError(wamp.ErrURIFeatureNotSupported, "the router does not announce "+pieces, nil))
	}
	opts.ReceiveProgress, opts.Progress = onProgress != nil, true
	c := &OpenCall{session: s, request: &request{onProgress: onProgress}}
	c.end = callEnd{procedure, opts.Cancel, limit(ctx, &opts)}
	c.request.call = wamp.Call{Options: opts, Procedure: procedure, Payload: p}
	id, err := s.send(ctx, c.request, &c.request.call)
	if err != nil {
		return nil, wrap("call", procedure, err)
	}
	c.id = id
	return c, nil
}

// Send sends a further piece. It returns false when there is no need for more: the
// call has been answered, and Finish tells how.
func (c *OpenCall) Send(ctx context.Context, p wamp.Payload) (more bool, err error) {
	if len(c.request.reply) > 0 {
		return false, nil
	}
	c.request.call.Payload = p
	if err := c.session.peer.Send(ctx, &c.request.call); err != nil {
		return false, wrap("call", c.end.procedure, err)
	}
	return true, nil
}

// Finish sends the last piece and waits for the result, as CallResult does.
func (c *OpenCall) Finish(ctx context.Context, p wamp.Payload) (*wamp.Result, error) {
	c.request.call.Options.Progress = false
	if _, err := c.Send(ctx, p); err != nil {
		c.Abandon(ctx)
		return nil, err
	}
	m, err := c.session.await(ctx, c.request, c.id)
	return c.session.called(ctx, c.request, c.id, m, err, &c.end)
}

// Abandon cancels the call.
func (c *OpenCall) Abandon(ctx context.Context) {
	c.request.settle()
	c.session.forget(c.id)
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelWait)
	defer cancel()
	_ = c.session.peer.Send(cctx, &wamp.Cancel{Request: c.id, Mode: c.end.mode})
}
