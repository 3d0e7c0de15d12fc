package router

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gantry/wamp"
)

// session is one peer that has joined a realm.
type session struct {
	id       wamp.ID
	peer     wamp.Peer
	gate     wamp.Congestible // the peer, if it is lossless
	throttle wamp.Throttled   // the peer, if it tells of answers that are not read
	realm    *realm
	identity Identity
	features features

	// Owned by the goroutine that reads the peer.
	lastRequest wamp.ID
	held        []wamp.Congestible // receivers of the message being handled that may be over their mark

	// Guarded by broker.mu.
	subscriptions map[wamp.ID]*subscription
	subscribed    int                       // bytes they take, see room
	overflow      map[wamp.ID]wamp.Overflow // by subscription, where it is not the default
	replays       []replay                  // last values that the peer has had no room for
	replaying     bool                      // a goroutine sends them

	backlog atomic.Pointer[backlog] // nil until the session is slow

	// Guarded by dealer.mu.
	registrations  map[wamp.ID]*registration
	registered     int               // bytes they take
	calling        int               // bytes its calls take
	calls          map[wamp.ID]*call // as caller, by CALL request
	invocations    map[wamp.ID]*call // as callee, by INVOCATION request
	lastInvocation wamp.ID
	wrapped        bool // all invocation IDs have been used
	cut            cutCalls

	described int // bytes its descriptions take; guarded by definitions.mu

	// Messages received, queued, and events that the queue could not take.
	received, sent, dropped atomic.Uint64

	counted *traffic // what the realm's sums have of it; guarded by realm.mu; nil while it is in the table

	gone       atomic.Bool // nothing is sent to it any more
	mu         sync.Mutex  // guards ended, testaments and the use of closers
	ended      bool
	testaments testaments
	closers    sync.WaitGroup
}

// features are the peer's announcements that the router acts on.
type features struct {
	callerChunks           bool // progressive_call_invocations, as caller
	calleeChunks           bool // the same as callee
	calleeCanceling        bool
	calleeReroute          bool
	registrationRevocation bool
	subscriptionRevocation bool
	// payload_passthru_mode; that of a subscriber is not asked for: an event to one
	// without it is the subscriber's to make out.
	publisherPassthru, callerPassthru, calleePassthru bool
}

// roles lists what the router announces in WELCOME.
func roles() wamp.Dict {
	yes := func(names ...string) wamp.Dict {
		f := wamp.Dict{}
		for _, n := range names {
			f[n] = true
		}
		return wamp.Dict{"features": f}
	}
	return wamp.Dict{
		"broker": yes("publisher_exclusion", "publisher_identification", "subscriber_blackwhite_listing",
			"publication_trustlevels", "pattern_based_subscription", "sharded_subscription", "subscription_revocation",
			"event_retention", "event_history", "payload_passthru_mode", "session_meta_api", "subscription_meta_api", "reflection"),
		"dealer": yes("caller_identification", "call_trustlevels", "pattern_based_registration", "shared_registration",
			"sharded_registration", "progressive_call_results", "progressive_call_invocations", "call_canceling",
			"call_timeout", "call_reroute", "registration_revocation", "payload_passthru_mode",
			"session_meta_api", "registration_meta_api", "testament_meta_api", "reflection"),
	}
}

// parseFeatures reads the roles of a HELLO; ok is false when it names none that
// the specification knows.
func parseFeatures(details wamp.Dict) (f features, ok bool) {
	all, _ := details["roles"].(wamp.Dict)
	for name, v := range all {
		role, _ := v.(wamp.Dict)
		feat, _ := role["features"].(wamp.Dict)
		is := func(key string) bool { b, _ := feat[key].(bool); return b }
		switch name {
		case "publisher":
			ok = true
			f.publisherPassthru = is("payload_passthru_mode")
		case "subscriber":
			ok = true
			f.subscriptionRevocation = is("subscription_revocation")
		case "caller":
			ok = true
			f.callerChunks = is("progressive_call_invocations")
			f.callerPassthru = is("payload_passthru_mode")
		case "callee":
			ok = true
			f.calleeCanceling = is("call_canceling") || is("call_cancelling")
			f.calleeChunks = is("progressive_call_invocations") && f.calleeCanceling
			f.calleeReroute = is("call_reroute")
			f.calleePassthru = is("payload_passthru_mode")
			f.registrationRevocation = is("registration_revocation")
		}
	}
	return f, ok
}

// offer queues a message that may be lost: the caller books the error.
func (s *session) offer(m wamp.Message) error {
	if s.gone.Load() {
		return wamp.ErrClosed
	}
	err := s.peer.TrySend(m)
	if err == nil {
		s.sent.Add(1)
	}
	return err
}

// send queues a message that the session waits for. One that cannot take it is
// ended, for it would wait for ever.
func (s *session) send(m wamp.Message) {
	if err := s.offer(m); err != nil {
		s.lost(err)
	}
}

func (s *session) refuse(t wamp.MessageType, request wamp.ID, uri wamp.URI, text string) {
	s.refuseWith(t, request, wamp.NewError(uri, text, nil))
}

// refuseOrCount is refuse for a publication, which asks for an answer or only counts.
func (s *session) refuseOrCount(m *wamp.Publish, uri wamp.URI, text string) {
	if m.Options.Acknowledge {
		s.refuse(wamp.TypePublish, m.Request, uri, text)
	} else {
		s.refused(uri, "")
	}
}

// refuseWith is refuse with the arguments of an error.
func (s *session) refuseWith(t wamp.MessageType, request wamp.ID, e *wamp.Error) {
	s.refused(e.URI, e.Text)
	m := &wamp.ErrorReply{RequestType: t, Request: request, URI: e.URI, Payload: e.Payload}
	err := s.offer(m)
	if errors.Is(err, wamp.ErrTooLarge) {
		// The text repeats a long URI of the peer's own.
		m.Payload = wamp.Payload{}
		err = s.offer(m)
	}
	if err != nil {
		s.lost(err)
	}
}

// lost ends a session that an answer could not be queued for.
func (s *session) lost(err error) {
	if errors.Is(err, wamp.ErrClosed) {
		return
	}
	reason := errURISlowConsumer
	if errors.Is(err, wamp.ErrTooLarge) {
		reason = wamp.ErrURIPayloadSizeExceeded
	} else {
		s.realm.slow.Add(1)
		s.realm.rare.Warn("session ended: it does not read what it has asked for", "session", uint64(s.id), "authid", s.identity.AuthID,
			"error", err, "hint", "raise limits.queue_bytes, or look at the client")
	}
	s.end(&wamp.Abort{Reason: reason, Details: wamp.Dict{"message": "an answer could not be queued: " + err.Error()}})
}

// errURISlowConsumer is the reason given to a session that does not read.
const errURISlowConsumer wamp.URI = "gantry.error.slow_consumer"

// violation ends a session that broke the protocol.
func (s *session) violation(text string) {
	s.realm.violations.Add(1)
	s.realm.rare.Info("session ended: it broke the protocol", "session", uint64(s.id), "authid", s.identity.AuthID, "text", text,
		"hint", "update or replace the client")
	s.end(&wamp.Abort{Reason: wamp.ErrURIProtocolViolation, Details: wamp.Dict{"message": text}})
}

// end queues a last message and closes the peer, without waiting: it is called
// with locks held. Accept waits for it. The message is queued before end returns,
// so that whoever closes the peer next closes it behind the message.
func (s *session) end(last wamp.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	s.gone.Store(true)
	s.realm.log.Debug("session ended by the router", "session", s.id, "with", last.Type().String())
	// A peer that is closed already has nobody left to tell.
	_ = s.peer.TrySend(last)
	s.closers.Go(func() { _ = s.peer.Close() })
}

// serve handles the session's messages until it ends.
func (s *session) serve(ctx context.Context, done <-chan struct{}) {
	var limit pace
	if !s.internal() {
		limit = paceOf(s.realm.cfg.MaxRate)
	}
	for !s.gone.Load() {
		m, err := s.peer.Recv()
		if err != nil {
			var p *wamp.ProtocolError
			switch {
			case errors.As(err, &p):
				s.violation(p.Text)
			case !errors.Is(err, io.EOF) && !errors.Is(err, wamp.ErrClosed):
				s.realm.log.Debug("connection lost", "session", s.id, "error", err)
			}
			return
		}
		s.received.Add(1)
		if !s.handle(m) {
			return
		}
		if limit.step > 0 {
			s.slowDown(ctx, limit.next(time.Now()), done)
		}
		if len(s.held) > 0 {
			s.waitForHeld(ctx, done)
		}
		if s.throttle != nil {
			if few := s.throttle.Crowded(); few != nil {
				s.waitForReader(ctx, few, done)
			}
		}
	}
}

// handle carries out one message; it reports false when the session is over.
func (s *session) handle(m wamp.Message) bool {
	r := s.realm
	switch m := m.(type) {
	case *wamp.Publish:
		if s.inSequence(m.Request) {
			r.broker.publish(s, m)
		}
	case *wamp.Call:
		if again := s.continues(m); again || s.inSequence(m.Request) {
			r.dealer.call(s, m, again)
		}
	case *wamp.Yield:
		r.dealer.yield(s, m)
	case *wamp.ErrorReply:
		r.dealer.failed(s, m)
	case *wamp.Subscribe:
		if s.inSequence(m.Request) {
			r.broker.subscribe(s, m)
			r.meta.flush()
		}
	case *wamp.Unsubscribe:
		if s.inSequence(m.Request) {
			r.broker.unsubscribe(s, m)
			r.meta.flush()
		}
	case *wamp.Register:
		if s.inSequence(m.Request) {
			r.dealer.register(s, m)
			r.meta.flush()
		}
	case *wamp.Unregister:
		if s.inSequence(m.Request) {
			r.dealer.unregister(s, m)
			r.meta.flush()
		}
	case *wamp.Cancel:
		r.dealer.cancel(s, m)
	case *wamp.Goodbye:
		if m.Reason == wamp.CloseURILogout && s.identity.Logout != nil {
			s.logsOut()
		}
		s.goodbye()
		return false
	case *wamp.Abort:
		return false // never answered (BP "ABORT")
	default:
		s.violation(m.Type().String() + " is not for a client to send in a session")
	}
	return !s.gone.Load()
}

// continues reports whether m is a further chunk of a progressive call, which
// repeats the request ID of the first.
func (s *session) continues(m *wamp.Call) bool { return m.Request != 0 && m.Request <= s.lastRequest }

// inSequence checks a request ID against the session's sequence. Realms that are
// not strict take any: older clients send random ones.
func (s *session) inSequence(id wamp.ID) bool {
	next := wamp.NextID(s.lastRequest)
	s.lastRequest = max(s.lastRequest, id)
	if id != next && s.realm.cfg.StrictRequestIDs {
		s.violation("request IDs must run 1, 2, 3 and so on")
		return false
	}
	return true
}

// goodbye answers GOODBYE once everything that could still be delivered has been
// stopped: nothing follows the answer (BP "GOODBYE").
func (s *session) goodbye() {
	s.mu.Lock()
	ended := s.ended
	s.ended = true
	s.mu.Unlock()
	s.gone.Store(true)
	s.realm.depart(s)
	if !ended {
		_ = s.peer.TrySend(&wamp.Goodbye{Reason: wamp.CloseURIGoodbyeAndOut})
	}
}

// logsOut has the session's login forgotten, and ends those that share it.
func (s *session) logsOut() {
	s.identity.Logout()
	cookie := s.peer.Info().Cookie
	s.realm.meta.killAllOf(s.realm.chosen(func(other *session) bool {
		return other != s && other.identity.Logout != nil && other.peer.Info().Cookie == cookie
	}), &wamp.Goodbye{Reason: wamp.CloseURILogout})
}

// takeTestaments returns what the session leaves behind, once.
func (s *session) takeTestaments() []*wamp.Publish {
	s.mu.Lock()
	defer s.mu.Unlock()
	wills := slices.Concat(s.testaments.scopes[0], s.testaments.scopes[1])
	s.realm.testaments.give(s.testaments.bytes[0] + s.testaments.bytes[1])
	s.testaments = testaments{}
	return wills
}

// leave takes the session out of its realm's tables. It may be called twice.
func (s *session) leave() {
	s.gone.Store(true)
	s.realm.dealer.leave(s)
	s.realm.broker.leave(s)
}

func ownURI(u wamp.URI) wamp.URI { return wamp.URI(strings.Clone(string(u))) }
