package client

import (
	"context"
	"errors"
	"iter"
	"reflect"
	"sync"

	"gantry/wamp"
)

// ErrTooSlow ends a sequence of progressive results whose reader lets too many of
// them wait; the call is cancelled.
var ErrTooSlow = errors.New("progressive results come faster than they are read")

// Results calls a procedure and returns its progressive results as they come; the
// final result is the last one, unless it has no arguments. An error ends the
// sequence. The call is made when the sequence is read, and cancelled when the
// reader stops or ctx ends.
//
//	for percent, err := range client.Results[int](ctx, s, "com.example.flash", image) {
//		...
//	}
func Results[T any](ctx context.Context, s wamp.Session, procedure wamp.URI, args ...any) iter.Seq2[T, error] {
	return ResultsWith[T](ctx, s, procedure, wamp.CallOptions{}, args...)
}

// ResultsWith is Results with options.
func ResultsWith[T any](ctx context.Context, s wamp.Session, procedure wamp.URI, opts wamp.CallOptions, args ...any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		known := layoutsOf(s)
		l, err := known.of(reflect.TypeFor[T]())
		if err != nil {
			yield(zero, wrap("call", procedure, err))
			return
		}
		procedure, p, err := known.lay(procedure, args)
		if err != nil {
			yield(zero, wrap("call", procedure, err))
			return
		}
		for p, err := range progressive(ctx, s, procedure, opts, p) {
			var v T
			if err == nil {
				err = wrap("result of", procedure, l.decode(p, nil, &v, false))
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// progressive makes a call beside the reader of its results.
func progressive(ctx context.Context, s wamp.Session, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload) iter.Seq2[wamp.Payload, error] {
	return func(yield func(wamp.Payload, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		q := &resultQueue{wake: make(chan struct{}, 1), overflow: func() { cancel(ErrTooSlow) }}
		var call sync.WaitGroup
		call.Go(func() {
			final, err := s.CallProgress(ctx, procedure, opts, p, q.put)
			if errors.Is(context.Cause(ctx), ErrTooSlow) {
				err = wrap("call", procedure, ErrTooSlow)
			}
			q.end(final, err)
		})
		defer call.Wait()
		defer cancel(nil)
		for {
			p, state, err := q.take()
			switch {
			case state == resultWaits:
				<-q.wake
				continue
			case state == resultEnd && err == nil && p.Empty():
				return
			}
			if !yield(p, err) || state == resultEnd {
				return
			}
		}
	}
}

// Bounds of the progressive results that may wait for their reader.
const (
	maxResults     = 1024
	maxResultBytes = 4 << 20
)

// resultQueue holds the results between the session and the reader.
type resultQueue struct {
	wake     chan struct{} // capacity 1: a token for the reader
	overflow func()

	mu    sync.Mutex // guards what follows
	list  []wamp.Payload
	held  int
	ended bool
	final wamp.Payload
	err   error
}

type resultState uint8

const (
	resultWaits resultState = iota // there is none yet
	resultComes
	resultEnd
)

func (q *resultQueue) put(p wamp.Payload) {
	q.mu.Lock()
	full := len(q.list) >= maxResults || q.held > maxResultBytes
	if !full {
		q.list = append(q.list, p)
		q.held += p.Size()
	}
	q.mu.Unlock()
	if full {
		q.overflow()
		return
	}
	q.token()
}

func (q *resultQueue) end(final wamp.Payload, err error) {
	q.mu.Lock()
	q.ended, q.final, q.err = true, final, err
	q.mu.Unlock()
	q.token()
}

func (q *resultQueue) token() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *resultQueue) take() (wamp.Payload, resultState, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case len(q.list) > 0:
		p := q.list[0]
		q.list = q.list[1:]
		q.held -= p.Size()
		return p, resultComes, nil
	case q.ended:
		return q.final, resultEnd, q.err
	}
	return wamp.Payload{}, resultWaits, nil
}

// CallPieces calls a procedure with arguments that come in pieces (AP "Progressive
// Call Invocations"), such as an upload: a piece is sent when the next one, or the
// end, is known. It stops reading them when the call is answered early.
func CallPieces[Out, In any](ctx context.Context, s Opener, procedure wamp.URI, pieces iter.Seq[In]) (out Out, err error) {
	l, err := layoutOf(reflect.TypeFor[Out]())
	if err != nil {
		return out, wrap("call", procedure, err)
	}
	in, err := layoutOf(reflect.TypeFor[In]())
	if err != nil {
		return out, wrap("call", procedure, err)
	}
	var open *OpenCall
	var held wamp.Payload
	first := true
	for piece := range pieces {
		if !first {
			var more bool
			if open, more, err = sendPiece(ctx, s, open, procedure, held); err != nil {
				return out, err
			}
			if !more {
				break
			}
		}
		held, first = in.encode(piece), false
	}
	var p wamp.Payload
	if open == nil { // there was one piece, or none
		if p, err = s.Call(ctx, procedure, wamp.CallOptions{}, held); err != nil {
			return out, err
		}
	} else {
		r, err := open.Finish(ctx, held)
		if err != nil {
			return out, err
		}
		p = r.Payload
	}
	return out, wrap("result of", procedure, l.decode(p, nil, &out, false))
}

// sendPiece opens the call with its first piece, and sends the others.
func sendPiece(ctx context.Context, s Opener, open *OpenCall, procedure wamp.URI, p wamp.Payload) (*OpenCall, bool, error) {
	if open == nil {
		open, err := s.OpenCall(ctx, procedure, wamp.CallOptions{}, p, nil)
		return open, err == nil, err
	}
	more, err := open.Send(ctx, p)
	if err != nil {
		open.Abandon(ctx)
	}
	return open, more, err
}
