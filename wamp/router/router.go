package router

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gantry/internal/ratelog"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// Router holds the realms and the sessions joined to them.
type Router struct {
	cfg      Config
	log      *slog.Logger
	roles    *serialize.Constant // of every WELCOME
	welcomes sync.Pool           // of *wamp.Welcome with Details
	waits    sync.Pool           // of *wait

	rare    *ratelog.Log
	refused tally // logins, by reason

	realmsMu sync.RWMutex // guards realms, demanded, gone and each realm's claims
	realms   map[wamp.URI]*realm
	demanded int   // realms made on demand
	gone     Stats // of those of them that have gone

	mu        sync.Mutex // guards stopped, dismissed and the use of active
	stopped   bool
	dismissed bool
	active    sync.WaitGroup // Accept calls
	done      chan struct{}  // closed when Run ends
}

// realm is one routing domain.
type realm struct {
	cfg    *RealmConfig
	log    *slog.Logger
	broker *broker
	dealer *dealer
	meta   *meta

	definitions definitions
	testaments  testamentRoom

	onDemand bool
	claims   int // sessions that are in it or about to be

	mu       sync.Mutex // guards sessions, their counted, and past
	sessions map[wamp.ID]*session
	past     traffic // of sessions that have left

	joined, violations, denied, undecided, slow, held, paused atomic.Uint64

	rare    *ratelog.Log
	refused tally // requests, by reason
}

// New validates cfg and returns a router that runs nothing yet. A nil log
// discards.
func New(cfg Config, log *slog.Logger) (*Router, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	known, err := serialize.NewConstant(roles())
	if err != nil {
		return nil, err
	}
	r := &Router{cfg: cfg, log: log, rare: ratelog.New(log, 0, nil), roles: known, welcomes: sync.Pool{New: func() any { return &wamp.Welcome{Details: wamp.Dict{}} }},
		realms: map[wamp.URI]*realm{}, done: make(chan struct{})}
	for i := range cfg.Realms {
		r.realms[cfg.Realms[i].Name] = newRealm(&cfg.Realms[i], log)
	}
	return r, nil
}

// Run blocks until ctx ends, then says goodbye to every session and waits until
// all have gone. Accept works before Run and refuses after it.
func (r *Router) Run(ctx context.Context) error {
	<-ctx.Done()
	r.mu.Lock()
	if !r.stopped {
		r.stopped = true
		close(r.done)
	}
	r.mu.Unlock()
	r.sayGoodbye(func(*session) bool { return true })
	r.active.Wait()
	return nil
}

// Dismiss says goodbye to every session that is not in-process, and admits no
// more of them; call it before their listeners close, who would take the word
// from the router. It waits for nobody. Sessions in this process last until Run
// ends.
func (r *Router) Dismiss() {
	r.mu.Lock()
	r.dismissed = true
	r.mu.Unlock()
	r.sayGoodbye(func(s *session) bool { return !inProcess(s.peer) })
}

func (r *Router) sayGoodbye(to func(*session) bool) {
	r.realmsMu.RLock()
	realms := slices.Collect(maps.Values(r.realms))
	r.realmsMu.RUnlock()
	for _, realm := range realms {
		realm.mu.Lock()
		// All at one time, for the broker: a subscriber that comes again after a restart
		// (wamp.PeerInfo) is not to miss what a publisher is acknowledged.
		realm.broker.mu.Lock()
		for _, s := range realm.sessions {
			if to(s) {
				s.end(&wamp.Goodbye{Reason: wamp.ErrURISystemShutdown, Details: wamp.Dict{"message": "the router is stopping"}})
			}
		}
		realm.broker.mu.Unlock()
		realm.mu.Unlock()
	}
}

func inProcess(p wamp.Peer) bool { return p.Info().Transport == "pipe" }

// admits reports whether a peer may still have a session. r.mu is held.
func (r *Router) admits(p wamp.Peer) bool { return !r.stopped && (!r.dismissed || inProcess(p)) }

// Accept serves one peer: it waits for HELLO, admits or refuses it, and handles
// its messages until it leaves, is lost or ctx ends. It closes the peer and
// leaves nothing behind.
func (r *Router) Accept(ctx context.Context, p wamp.Peer) {
	stop := context.AfterFunc(ctx, func() { _ = p.Close() })
	defer stop()
	if serve := r.Admit(ctx, p); serve != nil {
		serve()
	}
}

// Admit is the first half of Accept: it returns what handles the messages of a peer
// that has joined, and must be called, or nil for one that has been refused or has
// gone. A login needs a large stack, and a session, which may never do anything,
// would keep it; so the second half can have a goroutine of its own. The end of ctx
// gives up the login and the waits of the session; whoever ends it closes the peer
// as well.
func (r *Router) Admit(ctx context.Context, p wamp.Peer) (serve func()) {
	r.mu.Lock()
	if !r.admits(p) {
		r.mu.Unlock()
		refuse(p, wamp.ErrURISystemShutdown, "the router is stopping")
		_ = p.Close()
		return nil
	}
	r.active.Add(1)
	r.mu.Unlock()
	s, refusal := r.admit(ctx, p)
	if refusal != nil {
		refuse(p, refusal.URI, refusal.Text)
		r.turnedAway(p, refusal.URI, refusal.Text)
	}
	if s == nil {
		_ = p.Close()
		r.active.Done()
		return nil
	}
	return func() { r.serve(ctx, s) }
}

// serve handles the messages of a session and sees it out.
func (r *Router) serve(ctx context.Context, s *session) {
	defer r.active.Done()
	defer func() { _ = s.peer.Close() }()
	defer r.release(s.realm)
	s.serve(ctx, r.done)
	s.realm.depart(s)
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.closers.Wait()
	s.realm.mu.Lock()
	s.realm.count(s)
	s.realm.mu.Unlock()
}

func refuse(p wamp.Peer, uri wamp.URI, text string) {
	// A peer that is gone needs no reason.
	_ = p.TrySend(&wamp.Abort{Reason: uri, Details: wamp.Dict{"message": text}})
}

// admit takes a peer from HELLO to WELCOME. Both results are nil when it went
// away before.
func (r *Router) admit(ctx context.Context, p wamp.Peer) (*session, *wamp.Error) {
	late := r.patience(p)
	m, err := p.Recv()
	if !late.timer.Stop() {
		return nil, nil
	}
	late.peer = nil
	r.waits.Put(late)
	if err != nil {
		var violation *wamp.ProtocolError
		if errors.As(err, &violation) {
			return nil, wamp.NewError(wamp.ErrURIProtocolViolation, violation.Text, nil)
		}
		return nil, nil
	}
	hello, ok := m.(*wamp.Hello)
	if !ok {
		if m.Type() == wamp.TypeAbort {
			return nil, nil
		}
		return nil, wamp.NewError(wamp.ErrURIProtocolViolation, "the first message must be HELLO, not "+m.Type().String(), nil)
	}
	// The login reads further messages, and this one is lent until then.
	hello = wamp.Clone(hello).(*wamp.Hello)
	if r.find(hello.Realm) == nil && r.demand(hello.Realm) == nil {
		return nil, noRealm(hello.Realm)
	}
	features, ok := parseFeatures(hello.Details)
	if !ok {
		return nil, wamp.NewError(wamp.ErrURIProtocolViolation, "HELLO announces no role; known: publisher, subscriber, caller, callee", nil)
	}
	id, err := wamp.RandomID(r.cfg.Random)
	if err != nil {
		r.log.Error("no random numbers for session IDs", "error", err)
		return nil, wamp.NewError(wamp.ErrURIRuntimeError, "the router has no random numbers", nil)
	}
	l := &Login{Peer: p.Info(), Hello: hello, Session: id, Ask: func(c *wamp.Challenge, until time.Time) wamp.Message { return r.ask(p, c, until) }}
	identity, refusal := r.cfg.Authenticate(ctx, l)
	switch {
	case refusal != nil:
		return nil, refusal
	case l.lost:
		return nil, nil
	}
	realm, refusal := r.claim(hello.Realm)
	if refusal != nil {
		return nil, refusal
	}
	extra := identity.Extra
	identity.Extra = nil
	s := &session{id: id, peer: p, realm: realm, identity: identity, features: features}
	s.gate, _ = p.(wamp.Congestible)
	s.throttle, _ = p.(wamp.Throttled)
	if refusal = r.welcome(s, extra); refusal != nil {
		r.release(realm)
		return nil, refusal
	}
	return s, nil
}

// wait is the wait for a HELLO.
type wait struct {
	timer *time.Timer
	peer  wamp.Peer
}

// patience begins a wait, whose timer ends the peer.
func (r *Router) patience(p wamp.Peer) *wait {
	if w, ok := r.waits.Get().(*wait); ok {
		w.peer = p
		w.timer.Reset(r.cfg.HelloTimeout)
		return w
	}
	w := &wait{peer: p}
	w.timer = time.AfterFunc(r.cfg.HelloTimeout, func() {
		p := w.peer
		r.turnedAway(p, wamp.ErrURIProtocolViolation, "no HELLO in time")
		refuse(p, wamp.ErrURIProtocolViolation, "no HELLO within "+r.cfg.HelloTimeout.String())
		_ = p.Close()
	})
	return w
}

// ask sends a challenge and returns what the peer answers, nil when it is gone or
// says nothing until then.
func (r *Router) ask(p wamp.Peer, c *wamp.Challenge, until time.Time) wamp.Message {
	if p.TrySend(c) != nil {
		return nil
	}
	late := time.AfterFunc(time.Until(until), func() {
		const text = "the challenge was not answered in time"
		r.turnedAway(p, wamp.ErrURIAuthenticationFailed, text)
		refuse(p, wamp.ErrURIAuthenticationFailed, text)
		_ = p.Close()
	})
	defer late.Stop()
	m, err := p.Recv()
	if err != nil {
		var violation *wamp.ProtocolError
		if errors.As(err, &violation) {
			r.turnedAway(p, wamp.ErrURIProtocolViolation, violation.Text)
			refuse(p, wamp.ErrURIProtocolViolation, violation.Text)
		}
		return nil
	}
	return m
}

// welcome enters a session into its realm and tells it.
func (r *Router) welcome(s *session, extra wamp.Dict) *wamp.Error {
	realm := s.realm
	if refusal := realm.cfg.Policy.admits(s.identity); refusal != nil {
		return refusal
	}
	realm.mu.Lock()
	if _, taken := realm.sessions[s.id]; taken {
		// Once in 2^53 joins: a challenge may have told the ID, so it cannot change.
		realm.mu.Unlock()
		return wamp.NewError(wamp.ErrURIRuntimeError, "the session's ID is in use; join again", nil)
	}
	realm.sessions[s.id] = s
	realm.mu.Unlock()
	realm.joined.Add(1)
	r.greet(s, extra)
	if realm.meta.watched() {
		realm.meta.tell(onJoin, s.details())
	}
	realm.meta.flush()
	if realm.log.Enabled(context.Background(), slog.LevelDebug) { // or the arguments cost as much as all that they tell of
		realm.log.Debug("session joined", "session", s.id, "authid", s.identity.AuthID,
			"authrole", s.identity.AuthRole, "remote", s.peer.Info().Remote)
	}
	r.mu.Lock()
	admitted := r.admits(s.peer)
	r.mu.Unlock()
	if !admitted {
		// Run or Dismiss may have looked through the sessions before this one was entered.
		s.end(&wamp.Goodbye{Reason: wamp.ErrURISystemShutdown})
	}
	return nil
}

// greet sends WELCOME.
func (r *Router) greet(s *session, extra wamp.Dict) {
	w := &wamp.Welcome{Details: wamp.Dict{}}
	var known any = r.roles
	if s.peer.Info().Format == wamp.NoFormat {
		known = r.roles.Value()
	} else {
		// What is sent as bytes has been read when send returns.
		w = r.welcomes.Get().(*wamp.Welcome)
		defer func() {
			clear(w.Details)
			r.welcomes.Put(w)
		}()
	}
	w.Session = s.id
	w.Details["roles"], w.Details["agent"], w.Details["realm"] = known, r.cfg.Agent, string(s.realm.cfg.Name)
	w.Details["authid"], w.Details["authrole"] = s.identity.AuthID, s.identity.AuthRole
	w.Details["authmethod"], w.Details["authprovider"] = s.identity.AuthMethod, s.identity.AuthProvider
	if extra != nil {
		w.Details["authextra"] = extra
	}
	s.send(w)
}

// depart takes a session out of the realm for good: out of the tables first, then
// its testaments are published, then the realm is told. It may be called twice.
func (r *realm) depart(s *session) {
	s.leave()
	r.mu.Lock()
	_, here := r.sessions[s.id]
	if here {
		delete(r.sessions, s.id)
		r.count(s)
	}
	r.mu.Unlock()
	if !here {
		return
	}
	for _, will := range s.takeTestaments() {
		r.broker.route(s, newPublicationID(), will)
	}
	for _, uri := range r.definitions.drop(s, "") {
		r.meta.tell(onUndefine, string(uri))
	}
	r.meta.tell(onLeave, s.id, s.identity.AuthID, s.identity.AuthRole)
	r.meta.flush()
	r.log.Debug("session left", "session", s.id)
}
