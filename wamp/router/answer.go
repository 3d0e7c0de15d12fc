package router

import (
	"errors"
	"slices"
	"time"

	"gantry/wamp"
)

// finish takes a call out of all tables. What its callee still sends for it is
// dropped quietly.
func (d *dealer) finish(c *call) {
	d.held.used -= c.size
	c.caller.calling -= c.size
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
