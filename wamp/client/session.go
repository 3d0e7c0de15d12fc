package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"gantry/wamp"
)

// Session is one membership in a realm. It is safe for concurrent use.
type Session struct {
	peer    wamp.Peer
	cfg     SessionConfig
	log     *slog.Logger
	welcome *wamp.Welcome

	ctx    context.Context // ends with the session; the parent of every invocation's
	cancel context.CancelFunc
	done   chan struct{} // closed when the reader has finished

	// sending keeps request IDs in order on the wire: whoever has put a token in,
	// of which there is one, sends. A mutex could not be waited for with a context.
	sending chan struct{}

	mu            sync.Mutex // guards everything below
	lastRequest   wamp.ID
	pending       map[wamp.ID]*request
	subscriptions map[wamp.ID][]*subscription
	registrations map[wamp.ID]wamp.InvocationHandler
	invocations   map[wamp.ID]*invocation
	cutShort      map[wamp.ID]struct{} // answered, and more pieces may come
	leaving       chan struct{}        // closed when GOODBYE has been answered; nil before Leave
	err           error                // why the session ended

	handlers sync.WaitGroup // invocations being served
	layouts  layouts
}

var _ wamp.Session = (*Session)(nil)

// request waits for the router's answer.
type request struct {
	// reply receives the final answer; capacity 1, so the reader never waits.
	reply chan wamp.Message
	// call and result are the messages of a call, which so take no memory of their own.
	call   wamp.Call
	result wamp.Result
	// onReply runs in the reader before any later message is looked at.
	onReply func(wamp.Message)

	mu         sync.Mutex // held while onProgress runs
	onProgress func(wamp.Payload)
}

// progress hands over a progressive result.
func (r *request) progress(p wamp.Payload) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.onProgress != nil {
		r.onProgress(p)
	}
}

// settle makes sure that onProgress neither runs nor will run again.
func (r *request) settle() {
	r.mu.Lock()
	r.onProgress = nil
	r.mu.Unlock()
}

type subscription struct{ handler wamp.EventHandler }

// ID returns the session's ID.
func (s *Session) ID() wamp.ID { return s.welcome.Session }

// Welcome returns the router's WELCOME, which tells identity and features. It
// must not be changed.
func (s *Session) Welcome() *wamp.Welcome { return s.welcome }

// Announces reports whether the router's broker or dealer has a feature of the
// advanced profile, by the specification's name for it.
func (s *Session) Announces(role, feature string) bool {
	roles, _ := s.welcome.Details["roles"].(wamp.Dict)
	r, _ := roles[role].(wamp.Dict)
	features, _ := r["features"].(wamp.Dict)
	has, _ := features[feature].(bool)
	return has
}

// Done is closed when the session has ended and all its handlers have returned.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err tells why the session ended: nil while it runs and after Leave, the
// router's *wamp.Error after GOODBYE or ABORT, else the transport's error.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Leave says goodbye, waits for the answer until ctx ends, closes the peer and
// waits for the handlers, so that a handler of events or of a procedure must not
// call it itself. A session that has ended already returns nil.
func (s *Session) Leave(ctx context.Context) error { return s.LeaveFor(ctx, wamp.CloseURICloseRealm) }

// LeaveFor is Leave with a reason: with wamp.CloseURILogout the router forgets that
// the cookie of the connection has logged in.
func (s *Session) LeaveFor(ctx context.Context, reason wamp.URI) error {
	s.mu.Lock()
	first := s.leaving == nil
	if first {
		s.leaving = make(chan struct{})
	}
	answered := s.leaving
	s.mu.Unlock()
	var err error
	if first {
		if err = s.peer.Send(ctx, &wamp.Goodbye{Reason: reason}); err == nil {
			select {
			case <-answered:
			case <-s.ctx.Done():
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if s.ctx.Err() != nil {
			err = nil // the session has ended, and with it the context of OnJoin
		}
		_ = s.peer.Close()
	}
	<-s.done
	if errors.Is(err, wamp.ErrClosed) {
		err = nil
	}
	return err
}

// left reports whether the session was ended by Leave.
func (s *Session) left() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving != nil
}

// Close ends the session without a goodbye.
func (s *Session) Close() error {
	err := s.peer.Close()
	<-s.done
	return err
}

// begin enters a request that the router will answer. It returns with sending
// held, so that the caller can put the message on the wire in order.
func (s *Session) begin(ctx context.Context, r *request) (wamp.ID, error) {
	select {
	case s.sending <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-s.ctx.Done():
		return 0, wamp.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		<-s.sending
		return 0, wamp.ErrClosed
	}
	s.lastRequest = wamp.NextID(s.lastRequest)
	if r != nil {
		s.pending[s.lastRequest] = r
	}
	return s.lastRequest, nil
}

// withdraw undoes begin for a request that was not sent: the next one gets its ID,
// since routers may insist on a sequence without gaps. sending is held.
func (s *Session) withdraw(id wamp.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, id)
	s.lastRequest = id - 1
}

func (s *Session) forget(id wamp.ID) {
	s.mu.Lock()
	delete(s.pending, id)
	s.mu.Unlock()
}

// send sends m with a fresh request ID, which the router will answer to r; nil for
// one that it will not answer. The ID is 0 if nothing was sent.
func (s *Session) send(ctx context.Context, r *request, m wamp.Message) (wamp.ID, error) {
	if r != nil {
		r.reply = make(chan wamp.Message, 1)
	}
	id, err := s.begin(ctx, r)
	if err != nil {
		return 0, err
	}
	number(m, id)
	if err = s.peer.Send(ctx, m); err != nil {
		s.withdraw(id)
		id = 0
	}
	<-s.sending
	return id, err
}

// number gives a request its ID.
func number(m wamp.Message, id wamp.ID) {
	switch m := m.(type) {
	case *wamp.Call:
		m.Request = id
	case *wamp.Publish:
		m.Request = id
	case *wamp.Subscribe:
		m.Request = id
	case *wamp.Unsubscribe:
		m.Request = id
	case *wamp.Register:
		m.Request = id
	case *wamp.Unregister:
		m.Request = id
	}
}

// exchange is send and the wait for the answer.
func (s *Session) exchange(ctx context.Context, r *request, m wamp.Message) (wamp.ID, wamp.Message, error) {
	id, err := s.send(ctx, r, m)
	if err != nil {
		return 0, nil, err
	}
	answer, err := s.await(ctx, r, id)
	return id, answer, err
}

// await waits for the answer to a request. One that is given up is forgotten.
func (s *Session) await(ctx context.Context, r *request, id wamp.ID) (wamp.Message, error) {
	select {
	case m := <-r.reply:
		return m, s.replyError(m)
	case <-ctx.Done():
		s.forget(id)
		return nil, ctx.Err()
	case <-s.ctx.Done():
		select {
		case m := <-r.reply:
			return m, s.replyError(m)
		default:
			return nil, s.closedError()
		}
	}
}

// closedError tells a waiting caller why there will be no answer.
func (s *Session) closedError() error {
	if err := s.Err(); err != nil && !errors.Is(err, wamp.ErrClosed) {
		return fmt.Errorf("%w: %w", wamp.ErrClosed, err)
	}
	return wamp.ErrClosed
}

// replyError returns the error that the router or the callee has answered with, as
// the Go error that the configuration has for it.
func (s *Session) replyError(m wamp.Message) error {
	if e, ok := m.(*wamp.ErrorReply); ok {
		return s.cfg.Errors.decode(asError(e.URI, e.Payload))
	}
	return nil
}

// Publish implements wamp.Session.
func (s *Session) Publish(ctx context.Context, topic wamp.URI, opts wamp.PublishOptions, p wamp.Payload) error {
	if opts.Acknowledge {
		_, err := s.PublishAcknowledged(ctx, topic, opts, p)
		return err
	}
	_, err := s.send(ctx, nil, &wamp.Publish{Options: opts, Topic: topic, Payload: p})
	return wrap("publish", topic, err)
}

// PublishAcknowledged publishes with opts.Acknowledge, and returns the publication's
// ID, which subscribers see too.
func (s *Session) PublishAcknowledged(ctx context.Context, topic wamp.URI, opts wamp.PublishOptions, p wamp.Payload) (wamp.ID, error) {
	opts.Acknowledge = true
	_, m, err := s.exchange(ctx, &request{}, &wamp.Publish{Options: opts, Topic: topic, Payload: p})
	if err != nil {
		return 0, wrap("publish", topic, err)
	}
	ack, ok := m.(*wamp.Published)
	if !ok {
		return 0, wrap("publish", topic, &wamp.ProtocolError{Text: "PUBLISH was answered by " + m.Type().String()})
	}
	return ack.Publication, nil
}

// PublishLater publishes with opts.Acknowledge and returns when the message has been
// handed to the connection. answered is called with nil or the router's error when
// the answer comes, by the goroutine that reads, so it must not block; it is not
// called when the session ends before, or when PublishLater returns an error.
func (s *Session) PublishLater(ctx context.Context, topic wamp.URI, opts wamp.PublishOptions, p wamp.Payload, answered func(error)) error {
	opts.Acknowledge = true
	r := &request{onReply: func(m wamp.Message) { answered(wrap("publish", topic, s.replyError(m))) }}
	_, err := s.send(ctx, r, &wamp.Publish{Options: opts, Topic: topic, Payload: p})
	return wrap("publish", topic, err)
}

func wrap(op string, uri wamp.URI, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", op, uri, err)
}

// Subscribe implements wamp.Session.
func (s *Session) Subscribe(ctx context.Context, topic wamp.URI, opts wamp.SubscribeOptions, h wamp.EventHandler) (func(context.Context) error, error) {
	sub := &subscription{handler: h}
	var id wamp.ID
	r := &request{onReply: func(m wamp.Message) {
		if ok, is := m.(*wamp.Subscribed); is {
			s.mu.Lock()
			id = ok.Subscription
			s.subscriptions[id] = append(s.subscriptions[id], sub)
			s.mu.Unlock()
		}
	}}
	_, _, err := s.exchange(ctx, r, &wamp.Subscribe{Options: opts, Topic: topic})
	if err != nil {
		return nil, wrap("subscribe", topic, err)
	}
	return func(ctx context.Context) error { return wrap("unsubscribe", topic, s.unsubscribe(ctx, id, sub)) }, nil
}

// unsubscribe takes one handler away, and the subscription with the last one.
func (s *Session) unsubscribe(ctx context.Context, id wamp.ID, sub *subscription) error {
	s.mu.Lock()
	list, found := s.subscriptions[id], false
	for i, other := range list {
		if other == sub {
			// A copy: the reader may be walking the old list.
			list = append(append([]*subscription(nil), list[:i]...), list[i+1:]...)
			found = true
			break
		}
	}
	if found && len(list) > 0 {
		s.subscriptions[id] = list
	} else {
		delete(s.subscriptions, id)
	}
	s.mu.Unlock()
	if !found || len(list) > 0 {
		return nil
	}
	_, _, err := s.exchange(ctx, &request{}, &wamp.Unsubscribe{Subscription: id})
	return err
}

// Register implements wamp.Session.
func (s *Session) Register(ctx context.Context, procedure wamp.URI, opts wamp.RegisterOptions, h wamp.InvocationHandler) (func(context.Context) error, error) {
	var id wamp.ID
	r := &request{onReply: func(m wamp.Message) {
		if ok, is := m.(*wamp.Registered); is {
			s.mu.Lock()
			id = ok.Registration
			s.registrations[id] = h
			s.mu.Unlock()
		}
	}}
	_, _, err := s.exchange(ctx, r, &wamp.Register{Options: opts, Procedure: procedure})
	if err != nil {
		return nil, wrap("register", procedure, err)
	}
	return func(ctx context.Context) error {
		_, _, err := s.exchange(ctx, &request{}, &wamp.Unregister{Registration: id})
		s.mu.Lock()
		delete(s.registrations, id)
		s.mu.Unlock()
		return wrap("unregister", procedure, err)
	}, nil
}
