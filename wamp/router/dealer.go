package router

import (
	"errors"
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

// call is one call in progress: between CALL and its final answer.
type call struct {
	caller     *session
	request    wamp.ID // of CALL, at the caller
	callee     *callee
	invocation wamp.ID // of INVOCATION, at the callee
	reg        *registration
	progress   bool // the caller takes progressive results
	open       bool // the caller may send more chunks (AP "Progressive Call Invocations")
	killed     bool // INTERRUPT was sent with mode kill; the callee answers
	timeout    time.Duration
	deadline   time.Time
	timer      *time.Timer
	serial     uint64 // tells a reused call from the one that a timer was set for
	next       *call

	// frozen are the details of the first chunk, which hold for all of them; nil
	// for a call in one piece (AP "Progressive Call Invocations").
	frozen *wamp.InvocationDetails
	// again is the CALL, kept where it may have to be routed anew, and tried are
	// the callees that were not available (AP "Call Re-Routing").
	again   *wamp.Call
	tried   []*callee
	results bool // a progressive result has reached the caller
}

func newDealer(cfg *RealmConfig, m *meta) *dealer {
	return &dealer{cfg: cfg, meta: m, registrations: newTable[*registration](), byID: map[wamp.ID]*registration{}, random: rand.IntN}
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
	if len(s.registrations) >= d.cfg.MaxRegistrations {
		s.refuse(wamp.TypeRegister, m.Request, wamp.ErrURILimit, "this session has the most registrations it may hold")
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
		d.meta.tell(onRegCreate, s.id, reg.describe())
	}
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
	delete(s.registrations, reg.id)
	if i := reg.position(s); i >= 0 {
		reg.callees = slices.Delete(reg.callees, i, i+1)
		if i < reg.turn {
			reg.turn-- // whoever was next stays next
		}
	}
	d.meta.tell(onUnregister, s.id, reg.id)
	if len(reg.callees) == 0 {
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

// pick chooses a callee among those that are neither at their concurrency limit
// nor among those tried before; nil when there is none left.
func (d *dealer) pick(r *registration, tried []*callee) *callee {
	count := len(r.callees)
	if count == 0 {
		return nil
	}
	start, step := 0, 1
	switch r.invoke {
	case wamp.InvokeRoundRobin:
		start = r.turn % count
	case wamp.InvokeRandom:
		start = d.random(count)
	case wamp.InvokeLast:
		start, step = count-1, count-1
	}
	for i := range count {
		j := (start + i*step) % count
		c := r.callees[j]
		if c.busy() || slices.Contains(tried, c) {
			continue
		}
		if r.invoke == wamp.InvokeRoundRobin {
			r.turn = (j + 1) % count
		}
		return c
	}
	return nil
}

// call routes a CALL. again says that its request ID has been used before.
func (d *dealer) call(s *session, m *wamp.Call, again bool) {
	if m.Options.Progress && !s.features.callerChunks {
		s.violation("a progressive CALL of a caller that has not announced progressive_call_invocations")
		return
	}
	if passesThrough(m.Options.Passthru) && !s.features.callerPassthru {
		s.violation("a CALL with ppt_scheme of a caller that has not announced payload_passthru_mode")
		return
	}
	if again && d.chunk(s, m) {
		return
	}
	d.begin(s, m)
	if m.Options.Progress {
		d.mu.Lock()
		defer d.mu.Unlock()
		if s.calls[m.Request] == nil {
			s.cut.note(m.Request) // it was refused, which the caller cannot know yet
		}
	}
}

// chunk deals with a CALL whose request ID has been used before, and reports
// whether that is all. It comes before anything that could refuse the CALL: a call
// in progress is answered by its callee, one that has ended not again.
func (d *dealer) chunk(s *session, m *wamp.Call) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch c := s.calls[m.Request]; {
	case c != nil:
		d.continuation(s, c, m)
	case s.cut.drops(m):
	case d.cfg.StrictRequestIDs:
		s.violation("request IDs must run 1, 2, 3 and so on")
	default:
		return false
	}
	return true
}

// begin routes the CALL that opens a call.
func (d *dealer) begin(s *session, m *wamp.Call) {
	if !m.Procedure.Valid(d.cfg.StrictURIs, wamp.MatchExact) {
		s.refuse(wamp.TypeCall, m.Request, wamp.ErrURIInvalidURI, "the procedure is no valid URI: "+string(m.Procedure))
		return
	}
	disclose, ok := s.permitted(ActionCall, m.Procedure, m.Options.DiscloseMe, wamp.TypeCall, m.Request)
	if !ok {
		return
	}
	m.Options.DiscloseMe = disclose
	d.calls.Add(1)
	if m.Procedure.Reserved() {
		if serve := d.meta.procedures[m.Procedure]; serve != nil {
			d.meta.serve(s, m, serve)
			return
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if refusal := sharding(&m.Options); refusal != nil {
		d.refuse(s, m.Request, refusal.URI, refusal.Text)
		return
	}
	reg := d.best(m.Procedure)
	if reg == nil {
		d.refuse(s, m.Request, wamp.ErrURINoSuchProcedure, "nobody has registered "+string(m.Procedure))
		return
	}
	if len(s.calls) >= d.cfg.MaxCalls {
		d.refuse(s, m.Request, wamp.ErrURILimit, "this session has the most calls in progress that it may have")
		return
	}
	d.dispatch(s, m, reg, nil, false)
}

// dispatch offers a call to the callees of a registration one after the other,
// those apart that were tried before, until one takes it or none is left. own says
// that m is no borrowed message.
func (d *dealer) dispatch(s *session, m *wamp.Call, reg *registration, tried []*callee, own bool) {
	for {
		c := d.pick(reg, tried)
		if m.Options.RunMode == runModePartition {
			if c = reg.shard(m.Options.RKey); c == nil || c.busy() || slices.Contains(tried, c) {
				c = nil
			}
		}
		if c == nil {
			d.refuse(s, m.Request, wamp.ErrURINoAvailableCallee, "no callee of "+string(m.Procedure)+" is available")
			return
		}
		if m.Options.Progress && !c.session.features.calleeChunks {
			d.refuse(s, m.Request, wamp.ErrURIFeatureNotSupported, "the callee of "+string(m.Procedure)+" takes no progressive invocations")
			return
		}
		if passesThrough(m.Options.Passthru) && !c.session.features.calleePassthru {
			d.refuse(s, m.Request, wamp.ErrURIFeatureNotSupported, "the callee of "+string(m.Procedure)+" does not know payload_passthru_mode")
			return
		}
		err := d.invoke(s, m, reg, c, tried, own)
		switch {
		case err == nil:
			return
		case isTransport(err):
			tried = append(slices.Clip(tried), c)
		default:
			d.refuse(s, m.Request, undeliverable(err), err.Error())
			return
		}
	}
}

// busy reports whether a callee has as many calls in progress as it takes.
func (c *callee) busy() bool { return c.concurrency != 0 && c.active >= c.concurrency }

func (d *dealer) refuse(s *session, request wamp.ID, uri wamp.URI, text string) {
	d.refused.Add(1)
	s.refuse(wamp.TypeCall, request, uri, text)
}

// undeliverable is the URI that tells a caller why a message did not fit its
// receiver.
func undeliverable(err error) wamp.URI {
	var payload *wamp.PayloadError
	switch {
	case errors.Is(err, wamp.ErrTooLarge):
		return wamp.ErrURIPayloadSizeExceeded
	case errors.As(err, &payload):
		return wamp.ErrURIInvalidArgument
	}
	return wamp.ErrURIUnavailable
}

// invoke sends the INVOCATION of a new call and, if it was queued, enters the
// call into the tables.
func (d *dealer) invoke(s *session, m *wamp.Call, reg *registration, to *callee, tried []*callee, own bool) error {
	id := wamp.NextID(to.session.lastInvocation)
	inv := &d.invocation
	*inv = wamp.Invocation{Request: id, Registration: reg.id, Payload: m.Payload}
	det := &inv.Details
	det.Passthru = m.Options.Passthru
	det.ReceiveProgress = m.Options.ReceiveProgress
	det.Progress = m.Options.Progress
	det.Trustlevel = s.identity.TrustLevel
	if reg.match != wamp.MatchExact {
		det.Procedure = m.Procedure
	}
	if to.forwardTimeout {
		det.Timeout = m.Options.Timeout
	}
	if m.Options.DiscloseMe || to.discloseCaller {
		det.Caller, det.CallerAuthID, det.CallerAuthRole = s.id, s.identity.AuthID, s.identity.AuthRole
	}
	err := to.session.offer(inv)
	frozen := inv.Details
	*inv = wamp.Invocation{}
	if err != nil {
		return err
	}
	to.session.wrapped = to.session.wrapped || id < to.session.lastInvocation
	to.session.lastInvocation = id
	c := d.newCall()
	if m.Options.Progress {
		own := wamp.Clone(&wamp.Invocation{Details: frozen}).(*wamp.Invocation)
		c.frozen = &own.Details
	} else if to.session.features.calleeReroute && len(reg.callees) > 1 {
		c.again, c.tried = m, tried
		if !own {
			c.again = wamp.Clone(m).(*wamp.Call)
		}
	}
	c.caller, c.request, c.callee, c.invocation, c.reg = s, m.Request, to, id, reg
	c.progress, c.open = m.Options.ReceiveProgress, m.Options.Progress
	to.active++
	if s.calls == nil {
		s.calls = map[wamp.ID]*call{}
	}
	s.calls[c.request] = c
	if to.session.invocations == nil {
		to.session.invocations = map[wamp.ID]*call{}
	}
	to.session.invocations[id] = c
	if m.Options.Timeout > 0 && !to.forwardTimeout {
		c.timeout = time.Duration(min(m.Options.Timeout, maxTimeout)) * time.Millisecond
		serial := c.serial
		c.deadline = time.Now().Add(c.timeout)
		c.timer = time.AfterFunc(c.timeout, func() { d.expire(c, serial) })
	}
	return nil
}

// maxTimeout is the longest call timeout in milliseconds, about 31 years: more
// would overflow a time.Duration.
const maxTimeout = 1e12

// continuation passes on a further chunk of a progressive call.
func (d *dealer) continuation(s *session, c *call, m *wamp.Call) {
	if !c.open {
		s.violation("CALL with the request ID of a call that is in progress")
		return
	}
	c.open = m.Options.Progress
	inv := &d.invocation
	*inv = wamp.Invocation{Request: c.invocation, Registration: c.reg.id, Details: *c.frozen, Payload: m.Payload}
	inv.Details.Progress = m.Options.Progress
	err := c.callee.session.offer(inv)
	*inv = wamp.Invocation{}
	if err != nil {
		d.interrupt(c, wamp.CancelKillNoWait, wamp.ErrURICanceled)
		d.fail(c, undeliverable(err), err.Error())
	}
}

func (d *dealer) newCall() *call {
	c := d.free
	if c == nil {
		return &call{serial: 1}
	}
	d.free = c.next
	*c = call{serial: c.serial + 1}
	return c
}

// finish takes a call out of all tables. What its callee still sends for it is
// dropped quietly.
func (d *dealer) finish(c *call) {
	delete(c.caller.calls, c.request)
	delete(c.callee.session.invocations, c.invocation)
	c.callee.active--
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.open {
		c.caller.cut.note(c.request)
	}
	*c = call{serial: c.serial + 1, next: d.free}
	d.free = c
}

// fail ends a call with an error to the caller.
func (d *dealer) fail(c *call, uri wamp.URI, text string) {
	caller, request := c.caller, c.request
	d.finish(c)
	d.refuse(caller, request, uri, text)
}

// interrupt tells a callee that understands it to stop.
func (d *dealer) interrupt(c *call, mode wamp.CancelMode, reason wamp.URI) bool {
	if !c.callee.session.features.calleeCanceling {
		return false
	}
	return c.callee.session.offer(&wamp.Interrupt{Request: c.invocation, Mode: mode, Reason: reason}) == nil
}

func (d *dealer) expire(c *call, serial uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.serial != serial || time.Now().Before(c.deadline) {
		return // finished and perhaps in use for another call, or prolonged meanwhile
	}
	d.interrupt(c, wamp.CancelKillNoWait, wamp.ErrURITimeout)
	d.fail(c, wamp.ErrURITimeout, "the callee did not answer in time")
}

func (d *dealer) cancel(s *session, m *wamp.Cancel) {
	if m.Mode == wamp.CancelInvalid {
		s.violation("CANCEL with an unknown mode; allowed: skip, kill, killnowait")
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c := s.calls[m.Request]
	if c == nil || c.killed {
		return // answered already, or cancelled before: no second reply
	}
	if m.Mode == wamp.CancelKill && d.interrupt(c, wamp.CancelKill, wamp.ErrURICanceled) {
		c.killed = true
		return
	}
	if m.Mode == wamp.CancelKillNoWait {
		d.interrupt(c, wamp.CancelKillNoWait, wamp.ErrURICanceled)
	}
	d.fail(c, wamp.ErrURICanceled, "the caller cancelled the call")
}

// answered finds the call that a callee's answer belongs to. nil means that the
// answer is late and dropped; ok is false when the callee was never asked.
func (s *session) answered(id wamp.ID) (c *call, ok bool) {
	if c = s.invocations[id]; c != nil {
		return c, true
	}
	return nil, id <= s.lastInvocation || s.wrapped
}

func (d *dealer) yield(s *session, m *wamp.Yield) {
	passes := passesThrough(m.Options.Passthru)
	if passes && !s.features.calleePassthru {
		s.violation("a YIELD with ppt_scheme of a callee that has not announced payload_passthru_mode")
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := s.answered(m.Request)
	if !ok {
		s.violation("YIELD for an invocation that was never made")
		return
	}
	if c == nil || m.Options.Progress && !c.progress {
		return
	}
	if passes && !c.caller.features.callerPassthru {
		// There is no ERROR that answers a YIELD, and the caller waits.
		if m.Options.Progress {
			d.interrupt(c, wamp.CancelKillNoWait, wamp.ErrURICanceled)
		}
		d.fail(c, wamp.ErrURIFeatureNotSupported, "the result is for callers that know payload_passthru_mode")
		return
	}
	res := &d.result
	*res = wamp.Result{Request: c.request, Payload: m.Payload}
	res.Details.Progress, res.Details.Passthru = m.Options.Progress, m.Options.Passthru
	err := c.caller.offer(res)
	*res = wamp.Result{}
	switch {
	case errors.Is(err, wamp.ErrTooLarge), err != nil && !isTransport(err):
		if m.Options.Progress {
			d.interrupt(c, wamp.CancelKillNoWait, wamp.ErrURICanceled)
		}
		d.fail(c, undeliverable(err), err.Error())
	case m.Options.Progress:
		c.results = true
		if err != nil {
			c.caller.lost(err)
		}
		if c.timer != nil {
			// The timeout bounds the wait for each result (AP "Call Timeouts").
			c.deadline = time.Now().Add(c.timeout)
			c.timer.Reset(c.timeout)
		}
	default:
		caller := c.caller
		d.finish(c)
		if err != nil {
			caller.lost(err)
		}
	}
}

// reroute offers a call, which its callee could not attend to, to the others of
// the registration (AP "Call Re-Routing"). The time that it has left stays.
func (d *dealer) reroute(c *call) {
	caller, request, m, reg := c.caller, c.request, c.again, c.reg
	tried := append(slices.Clip(c.tried), c.callee)
	left := time.Until(c.deadline)
	limited := c.timer != nil
	d.finish(c)
	if m == nil {
		d.refuse(caller, request, wamp.ErrURINoAvailableCallee, "the callee is not available")
		return
	}
	if limited {
		m.Options.Timeout = uint64(max(left.Milliseconds(), 1))
	}
	d.dispatch(caller, m, reg, tried, true)
}

// isTransport reports whether a send failed for the state of the connection
// rather than for the message.
func isTransport(err error) bool {
	return errors.Is(err, wamp.ErrQueueFull) || errors.Is(err, wamp.ErrClosed)
}

func (d *dealer) failed(s *session, m *wamp.ErrorReply) {
	if m.RequestType != wamp.TypeInvocation {
		s.violation("ERROR for a " + m.RequestType.String() + "; a client may answer an INVOCATION only")
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := s.answered(m.Request)
	if !ok {
		s.violation("ERROR for an invocation that was never made")
		return
	}
	if c == nil {
		return
	}
	if m.URI == wamp.ErrURIUnavailable && s.features.calleeReroute && !c.results && !c.killed {
		d.reroute(c)
		return
	}
	caller, request := c.caller, c.request
	d.finish(c)
	reply := &wamp.ErrorReply{RequestType: wamp.TypeCall, Request: request, URI: m.URI, Details: passedOn(m.Details), Payload: m.Payload}
	if !m.URI.Valid(false, wamp.MatchExact) {
		reply.URI = wamp.ErrURIRuntimeError
	}
	if err := caller.offer(reply); err != nil {
		if isTransport(err) {
			caller.lost(err)
			return
		}
		d.refuse(caller, request, undeliverable(err), err.Error())
	}
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
