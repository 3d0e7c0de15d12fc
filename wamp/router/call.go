package router

import (
	"errors"
	"slices"
	"time"

	"gantry/wamp"
)

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
	size       int    // bytes it takes
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
	if s.gone.Load() {
		return // as in register
	}
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
		d.refuse(s, m.Request, wamp.ErrURILimit, "this session has the most calls in progress that it may have (limits.calls)")
		return
	}
	if d.held.full(s, s.calling, callSize+m.Payload.Size()) { // it may be kept
		d.refuse(s, m.Request, wamp.ErrURILimit, "the calls in progress in the realm take the most memory they may take (limits.call_bytes)")
		return
	}
	d.dispatch(s, m, reg, nil, false)
}

// maxUnfit is how many callees that cannot take a payload are tried for one call:
// each costs as much as if it could.
const maxUnfit = 8

// dispatch offers a call to the callees of a registration one after the other,
// those apart that were tried before, until one takes it or none is left. own says
// that m is no borrowed message.
func (d *dealer) dispatch(s *session, m *wamp.Call, reg *registration, tried []*callee, own bool) {
	var unfit error // why the payload did not suit the last one
	for bad := 0; bad < maxUnfit; {
		c := d.pick(reg, m, tried)
		if c == nil {
			break
		}
		err := d.invoke(s, m, reg, c, tried, own)
		if err == nil {
			return
		}
		if !isTransport(err) {
			unfit = err
			bad++
		}
		tried = append(slices.Clip(tried), c)
	}
	switch {
	case unfit != nil:
		d.refuse(s, m.Request, undeliverable(unfit), unfit.Error())
	case !reg.anyAble(m):
		d.refuse(s, m.Request, wamp.ErrURIFeatureNotSupported, "no callee of "+string(m.Procedure)+" knows "+needs(m))
	default:
		d.refuse(s, m.Request, wamp.ErrURINoAvailableCallee, "no callee of "+string(m.Procedure)+" is available")
	}
}

// needs names the features that a call asks of its callee.
func needs(m *wamp.Call) string {
	switch {
	case !m.Options.Progress:
		return "payload_passthru_mode"
	case !passesThrough(m.Options.Passthru):
		return "progressive_call_invocations"
	}
	return "both progressive_call_invocations and payload_passthru_mode"
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
		if s.internal() {
			// Whoever else says so would only have to be believed.
			det.ForwardFor = m.Options.ForwardFor
		}
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
	c.size = callSize
	if c.again != nil {
		c.size += c.again.Payload.Size()
	}
	d.held.used += c.size
	s.calling += c.size
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
