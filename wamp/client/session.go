package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"gantry/wamp"
	"gantry/wamp/auth"
)

// SessionConfig says how to join a realm. The zero value of a field is its
// default.
type SessionConfig struct {
	// Realm is the realm to join. Required.
	Realm wamp.URI
	// AuthID is who the session wishes to be. Default: the router decides. With Auth
	// it has its own.
	AuthID string
	// Auth proves who the session is. It is used by one join at a time. Default: the
	// session is anonymous.
	Auth *auth.Client
	// MaxInvocations bounds the invocations served at the same time; beyond it
	// callers are told that the callee is busy. Default 1024.
	MaxInvocations int
	// Log receives what a handler did wrong. Default: discarded.
	Log *slog.Logger
}

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
	invocations   map[wamp.ID]context.CancelFunc
	leaving       chan struct{} // closed when GOODBYE has been answered; nil before Leave
	err           error         // why the session ended

	handlers sync.WaitGroup // invocations being served
}

var _ wamp.Session = (*Session)(nil)

// request waits for the router's answer.
type request struct {
	// reply receives the final answer; capacity 1, so the reader never waits.
	reply chan wamp.Message
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

// clientRoles is what a Session announces in HELLO.
func clientRoles() wamp.Dict {
	role := func(features ...string) wamp.Dict {
		f := wamp.Dict{}
		for _, n := range features {
			f[n] = true
		}
		return wamp.Dict{"features": f}
	}
	return wamp.Dict{
		"publisher":  role("publisher_exclusion", "publisher_identification", "subscriber_blackwhite_listing", "payload_passthru_mode"),
		"subscriber": role("pattern_based_subscription", "publisher_identification", "subscription_revocation", "payload_passthru_mode"),
		"caller":     role("caller_identification", "call_canceling", "call_timeout", "progressive_call_results", "payload_passthru_mode"),
		"callee": role("caller_identification", "call_canceling", "progressive_call_results", "pattern_based_registration",
			"shared_registration", "registration_revocation", "payload_passthru_mode"),
	}
}

// Join opens a session over p and takes p over: it is closed when the session
// ends, and when Join fails. A refusal by the router is a *wamp.Error.
func Join(ctx context.Context, p wamp.Peer, cfg SessionConfig) (*Session, error) {
	if cfg.MaxInvocations == 0 {
		cfg.MaxInvocations = 1024
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	stop := context.AfterFunc(ctx, func() { _ = p.Close() })
	welcome, err := join(ctx, p, &cfg)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = p.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("join realm %s: %w", cfg.Realm, err)
	}
	s := &Session{
		peer: p, cfg: cfg, log: log, welcome: welcome,
		done:    make(chan struct{}),
		sending: make(chan struct{}, 1),
		pending: map[wamp.ID]*request{}, subscriptions: map[wamp.ID][]*subscription{},
		registrations: map[wamp.ID]wamp.InvocationHandler{}, invocations: map[wamp.ID]context.CancelFunc{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.read()
	return s, nil
}

func join(ctx context.Context, p wamp.Peer, cfg *SessionConfig) (*wamp.Welcome, error) {
	details, err := helloDetails(p, cfg)
	if err != nil {
		return nil, err
	}
	if err := p.Send(ctx, &wamp.Hello{Realm: cfg.Realm, Details: details}); err != nil {
		return nil, err
	}
	for {
		m, err := p.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = wamp.ErrClosed
			}
			return nil, err
		}
		switch m := m.(type) {
		case *wamp.Welcome:
			welcome := wamp.Clone(m).(*wamp.Welcome)
			if cfg.Auth != nil {
				if err := cfg.Auth.Welcome(welcome); err != nil {
					return nil, desist(p, err)
				}
			}
			return welcome, nil
		case *wamp.Abort:
			text, _ := m.Details["message"].(string)
			return nil, wamp.NewError(wamp.Clone(m).(*wamp.Abort).Reason, text, nil)
		case *wamp.Challenge:
			if cfg.Auth == nil {
				return nil, desist(p, fmt.Errorf("the router asks for authentication by %q and no answer is configured", m.AuthMethod))
			}
			answer, err := cfg.Auth.Challenge(wamp.Clone(m).(*wamp.Challenge))
			if err != nil {
				return nil, desist(p, err)
			}
			if err := p.Send(ctx, answer); err != nil {
				return nil, err
			}
		default:
			return nil, &wamp.ProtocolError{Text: m.Type().String() + " before WELCOME"}
		}
	}
}

// helloDetails returns what HELLO says of the session.
func helloDetails(p wamp.Peer, cfg *SessionConfig) (wamp.Dict, error) {
	details := wamp.Dict{"roles": clientRoles(), "agent": "gantry", "authmethods": wamp.List{"anonymous"}}
	if cfg.AuthID != "" {
		details["authid"] = cfg.AuthID
	}
	if cfg.Auth == nil {
		return details, nil
	}
	link := auth.Link{Peer: p.Info()}
	if link.Peer.TLS != nil {
		link.Channels = auth.ChannelsOf(link.Peer.TLS)
	}
	return details, cfg.Auth.Hello(link, details)
}

// desist tells the router that the client does not go on, and returns err.
func desist(p wamp.Peer, err error) error {
	// A router that is gone needs no reason.
	_ = p.TrySend(&wamp.Abort{Reason: wamp.ErrURIAuthenticationFailed, Details: wamp.Dict{"message": "the client does not go on"}})
	return err
}

// ID returns the session's ID.
func (s *Session) ID() wamp.ID { return s.welcome.Session }

// Welcome returns the router's WELCOME, which tells identity and features. It
// must not be changed.
func (s *Session) Welcome() *wamp.Welcome { return s.welcome }

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
// waits for the handlers. A session that has ended already returns nil.
func (s *Session) Leave(ctx context.Context) error {
	s.mu.Lock()
	first := s.leaving == nil
	if first {
		s.leaving = make(chan struct{})
	}
	answered := s.leaving
	s.mu.Unlock()
	var err error
	if first {
		if err = s.peer.Send(ctx, &wamp.Goodbye{Reason: wamp.CloseURICloseRealm}); err == nil {
			select {
			case <-answered:
			case <-s.ctx.Done():
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		_ = s.peer.Close()
	}
	<-s.done
	if errors.Is(err, wamp.ErrClosed) {
		err = nil
	}
	return err
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

// exchange sends the message that build makes for a fresh request ID and waits
// for its answer. The ID is 0 if nothing was sent.
func (s *Session) exchange(ctx context.Context, r *request, build func(wamp.ID) wamp.Message) (wamp.ID, wamp.Message, error) {
	r.reply = make(chan wamp.Message, 1)
	id, err := s.begin(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	if err = s.peer.Send(ctx, build(id)); err != nil {
		s.withdraw(id)
	}
	<-s.sending
	if err != nil {
		return 0, nil, err
	}
	select {
	case m := <-r.reply:
		return id, m, replyError(m)
	case <-ctx.Done():
		s.forget(id)
		return id, nil, ctx.Err()
	case <-s.ctx.Done():
		select {
		case m := <-r.reply:
			return id, m, replyError(m)
		default:
			return id, nil, s.closedError()
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

func replyError(m wamp.Message) error {
	if e, ok := m.(*wamp.ErrorReply); ok {
		return asError(e.URI, e.Payload)
	}
	return nil
}

// Publish implements wamp.Session.
func (s *Session) Publish(ctx context.Context, topic wamp.URI, opts wamp.PublishOptions, p wamp.Payload) error {
	build := func(id wamp.ID) wamp.Message {
		return &wamp.Publish{Request: id, Options: opts, Topic: topic, Payload: p}
	}
	if opts.Acknowledge {
		_, _, err := s.exchange(ctx, &request{}, build)
		return wrap("publish", topic, err)
	}
	id, err := s.begin(ctx, nil)
	if err == nil {
		if err = s.peer.Send(ctx, build(id)); err != nil {
			s.withdraw(id)
		}
		<-s.sending
	}
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
	_, _, err := s.exchange(ctx, r, func(req wamp.ID) wamp.Message {
		return &wamp.Subscribe{Request: req, Options: opts, Topic: topic}
	})
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
	_, _, err := s.exchange(ctx, &request{}, func(req wamp.ID) wamp.Message {
		return &wamp.Unsubscribe{Request: req, Subscription: id}
	})
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
	_, _, err := s.exchange(ctx, r, func(req wamp.ID) wamp.Message {
		return &wamp.Register{Request: req, Options: opts, Procedure: procedure}
	})
	if err != nil {
		return nil, wrap("register", procedure, err)
	}
	return func(ctx context.Context) error {
		_, _, err := s.exchange(ctx, &request{}, func(req wamp.ID) wamp.Message {
			return &wamp.Unregister{Request: req, Registration: id}
		})
		s.mu.Lock()
		delete(s.registrations, id)
		s.mu.Unlock()
		return wrap("unregister", procedure, err)
	}, nil
}

// Call implements wamp.Session.
func (s *Session) Call(ctx context.Context, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload) (wamp.Payload, error) {
	return s.CallProgress(ctx, procedure, opts, p, nil)
}

// cancelWait bounds the wait for room in the queue to send CANCEL: the caller
// has given up already.
const cancelWait = time.Second

// CallProgress implements wamp.Session. A nil onProgress asks for no
// progressive results.
func (s *Session) CallProgress(ctx context.Context, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload, onProgress func(wamp.Payload)) (wamp.Payload, error) {
	opts.ReceiveProgress = onProgress != nil
	r := &request{onProgress: onProgress}
	id, m, err := s.exchange(ctx, r, func(req wamp.ID) wamp.Message {
		return &wamp.Call{Request: req, Options: opts, Procedure: procedure, Payload: p}
	})
	r.settle()
	if err != nil {
		if id != 0 && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelWait)
			defer cancel()
			// The session may have ended meanwhile, and the call with it.
			_ = s.peer.Send(cctx, &wamp.Cancel{Request: id, Mode: wamp.CancelKillNoWait})
		}
		return wamp.Payload{}, wrap("call", procedure, err)
	}
	res, ok := m.(*wamp.Result)
	if !ok {
		return wamp.Payload{}, wrap("call", procedure, &wamp.ProtocolError{Text: "CALL was answered by " + m.Type().String()})
	}
	return res.Payload, nil
}
