package router

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gantry/wamp"
)

// dealer routes calls. Input: one message of a session, or a timeout; output:
// messages queued at sessions. Every call gets exactly one final answer.
type dealer struct {
	cfg  *RealmConfig
	meta *meta

	// mu guards everything below and the dealer's part of all sessions. It is held
	// while messages are queued, so that invocation IDs arrive in order.
	mu            sync.Mutex
	registrations table[*registration]
	byID          map[wamp.ID]*registration
	lastID        wamp.ID
	room          room // of registrations
	held          room // of calls in progress

	// Memory for the message that is being queued, reused under mu.
	invocation wamp.Invocation
	result     wamp.Result
	hits       []*registration
	free       *call // finished calls, linked by next

	random func(n int) int // draws from 0 to n-1

	calls, refused atomic.Uint64
}

// registration is one procedure or pattern with the sessions that serve it
// (AP "Shared Registration").
type registration struct {
	id        wamp.ID
	procedure wamp.URI
	match     wamp.Match
	invoke    wamp.Invoke
	created   time.Time
	callees   []*callee // in order of registration
	turn      int       // round robin: who is next
}

// callee is one session's part in a registration.
type callee struct {
	session        *session
	concurrency    uint32
	active         uint32
	discloseCaller bool
	forwardTimeout bool
}

func newDealer(cfg *RealmConfig, m *meta) *dealer {
	return &dealer{cfg: cfg, meta: m, registrations: newTable[*registration](), byID: map[wamp.ID]*registration{}, room: cfg.room(cfg.MaxTableBytes), held: cfg.room(cfg.MaxCallBytes), random: rand.IntN}
}

func (d *dealer) register(s *session, m *wamp.Register) {
	o := &m.Options
	switch {
	case o.Match == wamp.MatchInvalid:
		s.refuse(wamp.TypeRegister, m.Request, wamp.ErrURIInvalidArgument, "the match policy is unknown; allowed: exact, prefix, wildcard")
		return
	case o.Invoke == wamp.InvokeInvalid:
		s.refuse(wamp.TypeRegister, m.Request, wamp.ErrURIInvalidArgument, "the invoke policy is unknown; allowed: single, roundrobin, random, first, last")
		return
	case !m.Procedure.Valid(d.cfg.StrictURIs, o.Match) || m.Procedure.Reserved():
		s.refuse(wamp.TypeRegister, m.Request, wamp.ErrURIInvalidURI, "the procedure is no URI that one may register: "+string(m.Procedure))
		return
	}
	if !s.authorized(ActionRegister, m.Procedure, o.Match, wamp.TypeRegister, m.Request) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.gone.Load() {
		return // it has been ended meanwhile, and may have left the tables for good
	}
	entry := entryBytes(m.Procedure, o.Match)
	if d.room.full(s, s.registered, memberSize+entry) {
		s.refuse(wamp.TypeRegister, m.Request, wamp.ErrURILimit, "the registrations of the realm take the most memory they may take (limits.table_bytes)")
		return
	}
	if len(s.registrations) >= d.cfg.MaxRegistrations {
		s.refuse(wamp.TypeRegister, m.Request, wamp.ErrURILimit, "this session has the most registrations it may hold (limits.registrations)")
		return
	}
	reg, ok := d.registrations.get(o.Match, m.Procedure)
	if ok && (o.ForceReregister || reg.stale(s)) {
		d.revoke(reg)
		ok = false
	}
	if ok && (reg.invoke == wamp.InvokeSingle || reg.invoke != o.Invoke || reg.position(s) >= 0) {
		s.refuse(wamp.TypeRegister, m.Request, wamp.ErrURIProcedureAlreadyExists, "the procedure is registered already: "+string(m.Procedure))
		return
	}
	if !ok {
		d.lastID++
		reg = &registration{id: d.lastID, procedure: ownURI(m.Procedure), match: o.Match, invoke: o.Invoke, created: time.Now()}
		d.registrations.put(reg.match, reg.procedure, reg)
		d.byID[reg.id] = reg
		d.room.used += entry
		d.meta.tell(onRegCreate, s.id, reg.describe())
	}
	d.room.used += memberSize
	s.registered += memberSize + entry
	reg.callees = append(reg.callees, &callee{
		session: s, concurrency: o.Concurrency, discloseCaller: o.DiscloseCaller, forwardTimeout: o.ForwardTimeout,
	})
	if s.registrations == nil {
		s.registrations = map[wamp.ID]*registration{}
	}
	s.registrations[reg.id] = reg
	d.meta.tell(onRegister, s.id, reg.id)
	s.send(&wamp.Registered{Request: m.Request, Registration: reg.id})
}

// revoke takes a registration from all its callees; those that understand
// revocation are told (AP "Registration Revocation").
func (d *dealer) revoke(reg *registration) {
	for len(reg.callees) > 0 {
		d.take(reg.callees[0].session, reg, wamp.ErrURINoSuchRegistration)
	}
}

// take takes a registration from one of its callees and tells it why, if it
// understands that.
func (d *dealer) take(s *session, reg *registration, reason wamp.URI) {
	d.drop(s, reg)
	if s.features.registrationRevocation {
		s.send(&wamp.Unregistered{Registration: reg.id, Reason: reason})
	}
}

// evict takes a registration from a session; false when it does not hold it.
func (d *dealer) evict(s *session, id wamp.ID, reason wamp.URI) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	reg, ok := s.registrations[id]
	if ok {
		d.take(s, reg, reason)
	}
	return ok
}

func (d *dealer) unregister(s *session, m *wamp.Unregister) {
	d.mu.Lock()
	defer d.mu.Unlock()
	reg, ok := s.registrations[m.Registration]
	if !ok {
		s.refuse(wamp.TypeUnregister, m.Request, wamp.ErrURINoSuchRegistration, "this session does not hold that registration")
		return
	}
	d.drop(s, reg)
	s.send(&wamp.Unregistered{Request: m.Request})
}

func (d *dealer) drop(s *session, reg *registration) {
	entry := entryBytes(reg.procedure, reg.match)
	delete(s.registrations, reg.id)
	if i := reg.position(s); i >= 0 {
		reg.callees = slices.Delete(reg.callees, i, i+1)
		d.room.used -= memberSize
		s.registered -= memberSize + entry
		if i < reg.turn {
			reg.turn-- // whoever was next stays next
		}
	}
	d.meta.tell(onUnregister, s.id, reg.id)
	if len(reg.callees) == 0 {
		d.room.used -= entry
		d.registrations.remove(reg.match, reg.procedure)
		delete(d.byID, reg.id)
		d.meta.tell(onRegDelete, s.id, reg.id)
	}
}

// stale reports whether the only callee is an older session of the one who
// registers: a device that has come back need not wait until the router finds its
// old connection dead.
func (r *registration) stale(s *session) bool {
	if r.invoke != wamp.InvokeSingle || len(r.callees) != 1 {
		return false
	}
	old := r.callees[0].session
	return old != s && old.identity.AuthID == s.identity.AuthID && old.identity.AuthMethod == s.identity.AuthMethod &&
		s.identity.AuthMethod != methodAnonymous
}

func (r *registration) position(s *session) int {
	for i, c := range r.callees {
		if c.session == s {
			return i
		}
	}
	return -1
}

// best finds the registration that serves procedure: the exact one, else the
// longest prefix, else the closest wildcard (AP "Pattern-based Registrations").
func (d *dealer) best(procedure wamp.URI) *registration {
	if reg, ok := d.registrations.get(wamp.MatchExact, procedure); ok {
		return reg
	}
	if d.registrations.patterns == 0 {
		return nil
	}
	if reg, ok := d.registrations.longestPrefix(procedure); ok {
		return reg
	}
	d.hits = d.registrations.wildcard.match(d.hits[:0], string(procedure))
	var best *registration
	for _, reg := range d.hits {
		if best == nil || closer(reg.procedure, best.procedure) {
			best = reg
		}
	}
	clear(d.hits)
	return best
}

// able reports whether a callee knows what a call needs.
func (c *callee) able(m *wamp.Call) bool {
	f := &c.session.features
	return (f.calleeChunks || !m.Options.Progress) && (f.calleePassthru || !passesThrough(m.Options.Passthru))
}

// anyAble reports whether a registration has a callee that knows what a call needs.
func (r *registration) anyAble(m *wamp.Call) bool {
	return slices.ContainsFunc(r.callees, func(c *callee) bool { return c.able(m) })
}

// pick chooses a callee among those that know what the call needs, and are neither
// at their concurrency limit nor among those tried before; nil when there is none
// left.
func (d *dealer) pick(r *registration, m *wamp.Call, tried []*callee) *callee {
	free := func(c *callee) bool { return c.able(m) && !c.busy() && !slices.Contains(tried, c) }
	switch {
	case m.Options.RunMode == runModePartition:
		if c := r.shard(m.Options.RKey); c != nil && free(c) {
			return c
		}
		return nil
	case r.invoke == wamp.InvokeRandom:
		return d.draw(r.callees, free)
	case r.invoke == wamp.InvokeLast:
		for _, c := range slices.Backward(r.callees) {
			if free(c) {
				return c
			}
		}
		return nil
	}
	start, count := 0, len(r.callees)
	if r.invoke == wamp.InvokeRoundRobin && count > 0 {
		start = r.turn % count
	}
	for i := range count {
		j := (start + i) % count
		if c := r.callees[j]; free(c) {
			r.turn = (j + 1) % count
			return c
		}
	}
	return nil
}

// draw chooses at random, each with the same chance.
func (d *dealer) draw(from []*callee, free func(*callee) bool) *callee {
	n := 0
	for _, c := range from {
		if free(c) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	n = d.random(n)
	for _, c := range from {
		if free(c) {
			if n == 0 {
				return c
			}
			n--
		}
	}
	return nil
}

// leave ends everything that a session had a part in.
func (d *dealer) leave(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range s.calls {
		d.interrupt(c, wamp.CancelKillNoWait, wamp.ErrURICanceled)
		d.finish(c)
	}
	for _, c := range s.invocations {
		d.fail(c, wamp.ErrURICanceled, "the callee has left")
	}
	for _, reg := range s.registrations {
		d.drop(s, reg)
	}
}
