package router_test

import (
	"fmt"
	"slices"

	"gantry/wamp"
)

// modelDealer is the dealer as one would write it down on a sheet of paper: lists
// that are searched, no locks, time in whole milliseconds.
type modelDealer struct {
	now      int64
	sessions []*modelSession
	regs     []*modelReg
	lastReg  int
	calls    []*modelCall
	said     map[*modelSession][]string // what each session must hear in this step
	attempts []*modelSession            // to whom the router has offered the step's call, in order
	problem  string                     // an attempt that the rules do not allow
}

type modelSession struct {
	authid                                           string
	cancels, chunksIn, chunksOut, reroutes, revoking bool
	stuck                                            bool // takes no invocations
	invocations                                      int  // IDs given out
	requests                                         int  // IDs used
	cut                                              []int
}

type modelReg struct {
	id      int
	uri     string
	match   wamp.Match
	invoke  wamp.Invoke
	callees []*modelCallee
	turn    int
}

type modelCallee struct {
	s       *modelSession
	limit   int
	forward bool
}

type modelCall struct {
	caller            *modelSession
	request           int
	options           wamp.CallOptions
	uri               string
	value             int
	reg               *modelReg
	callee            *modelCallee
	invocation        int
	open, killed      bool
	first             bool // the options of INVOCATION are those of a call in chunks
	again             bool
	tried             []*modelCallee
	results           bool
	timeout, deadline int64 // 0 = none
}

// tooLarge says which of the numbered payloads are over what receivers take.
func tooLarge(value int) bool { return value%17 == 0 }

func (d *modelDealer) hear(s *modelSession, format string, args ...any) {
	if slices.Contains(d.sessions, s) {
		d.said[s] = append(d.said[s], fmt.Sprintf(format, args...))
	}
}

func (d *modelDealer) find(uri string, match wamp.Match) *modelReg {
	for _, r := range d.regs {
		if r.uri == uri && r.match == match {
			return r
		}
	}
	return nil
}

func (r *modelReg) index(s *modelSession) int {
	return slices.IndexFunc(r.callees, func(c *modelCallee) bool { return c.s == s })
}

func (d *modelDealer) register(s *modelSession, request int, uri string, o wamp.RegisterOptions) {
	s.requests = max(s.requests, request)
	r := d.find(uri, o.Match)
	if r != nil {
		mine := r.callees[0].s
		if o.ForceReregister || r.invoke == wamp.InvokeSingle && mine != s && mine.authid == s.authid {
			for len(r.callees) > 0 {
				old := r.callees[0].s
				d.drop(r, old)
				if old.revoking {
					d.hear(old, "revoked %d", r.id)
				}
			}
			r = nil
		}
	}
	if r != nil && (r.invoke == wamp.InvokeSingle || r.invoke != o.Invoke || r.index(s) >= 0) {
		d.hear(s, "error 64 %d %s", request, wamp.ErrURIProcedureAlreadyExists)
		return
	}
	if r == nil {
		d.lastReg++
		r = &modelReg{id: d.lastReg, uri: uri, match: o.Match, invoke: o.Invoke}
		d.regs = append(d.regs, r)
	}
	r.callees = append(r.callees, &modelCallee{s, int(o.Concurrency), o.ForwardTimeout})
	d.hear(s, "registered %d %d", request, r.id)
}

func (d *modelDealer) drop(r *modelReg, s *modelSession) {
	i := r.index(s)
	r.callees = slices.Delete(r.callees, i, i+1)
	if i < r.turn {
		r.turn--
	}
	if len(r.callees) == 0 {
		d.regs = slices.DeleteFunc(d.regs, func(x *modelReg) bool { return x == r })
	}
}

func (d *modelDealer) unregister(s *modelSession, request, id int) {
	s.requests = max(s.requests, request)
	for _, r := range d.regs {
		if r.id == id && r.index(s) >= 0 {
			d.drop(r, s)
			d.hear(s, "unregistered %d", request)
			return
		}
	}
	d.hear(s, "error 66 %d %s", request, wamp.ErrURINoSuchRegistration)
}

func (d *modelDealer) busy(c *modelCallee) bool {
	n := 0
	for _, call := range d.calls {
		if call.callee == c {
			n++
		}
	}
	return c.limit > 0 && n >= c.limit
}

// pick returns the callee that is next, or any that is allowed for random choice:
// then it is the one that the router has taken.
func (d *modelDealer) pick(r *modelReg, tried []*modelCallee, chunks bool) *modelCallee {
	able := func(c *modelCallee) bool {
		return !d.busy(c) && !slices.Contains(tried, c) && (c.s.chunksIn || !chunks)
	}
	n := len(r.callees)
	for i := range n {
		c := r.callees[i]
		switch r.invoke {
		case wamp.InvokeLast:
			c = r.callees[n-1-i]
		case wamp.InvokeRoundRobin:
			c = r.callees[(r.turn+i)%n]
		case wamp.InvokeRandom:
			if len(d.attempts) > 0 {
				if j := r.index(d.attempts[0]); j >= 0 && able(r.callees[j]) {
					return r.callees[j]
				}
				d.problem = "the router has called somebody who is not to be called"
			}
		}
		if able(c) {
			if r.invoke == wamp.InvokeRoundRobin {
				r.turn = (slices.Index(r.callees, c) + 1) % n
			}
			return c
		}
	}
	return nil
}

func (d *modelDealer) call(s *modelSession, request, value int, uri string, o wamp.CallOptions) {
	again := request <= s.requests
	s.requests = max(s.requests, request)
	for _, c := range d.calls {
		if c.caller == s && c.request == request {
			d.chunk(c, value, o.Progress)
			return
		}
	}
	if again {
		if i := slices.Index(s.cut, request); i >= 0 {
			if !o.Progress {
				s.cut = slices.Delete(s.cut, i, i+1)
			}
			return
		}
	}
	r := d.find(uri, wamp.MatchExact)
	for n := len(uri); r == nil && n >= 0; n-- {
		r = d.find(uri[:n], wamp.MatchPrefix)
	}
	c := &modelCall{caller: s, request: request, options: o, uri: uri, value: value, reg: r}
	if r == nil {
		d.refuse(c, wamp.ErrURINoSuchProcedure)
		return
	}
	d.dispatch(c)
}

// refuse answers a call that nobody has got.
func (d *modelDealer) refuse(c *modelCall, uri wamp.URI) {
	d.hear(c.caller, "error 48 %d %s", c.request, uri)
	if c.options.Progress {
		c.caller.cut = append(c.caller.cut, c.request)
	}
}

func (d *modelDealer) dispatch(c *modelCall) {
	unfit := false
	for {
		to := d.pick(c.reg, c.tried, c.options.Progress)
		if to == nil {
			knows := func(o *modelCallee) bool { return o.s.chunksIn || !c.options.Progress }
			switch {
			case unfit:
				d.refuse(c, wamp.ErrURIPayloadSizeExceeded)
			case !slices.ContainsFunc(c.reg.callees, knows):
				d.refuse(c, wamp.ErrURIFeatureNotSupported)
			default:
				d.refuse(c, wamp.ErrURINoAvailableCallee)
			}
			return
		}
		if len(d.attempts) == 0 || d.attempts[0] != to.s {
			d.problem = "the router has not called who is next"
			return
		}
		d.attempts = d.attempts[1:]
		if to.s.stuck {
			c.tried = append(slices.Clip(c.tried), to)
			continue
		}
		if tooLarge(c.value) {
			unfit = true
			c.tried = append(slices.Clip(c.tried), to)
			continue
		}
		to.s.invocations++
		c.callee, c.invocation = to, to.s.invocations
		c.open, c.first = c.options.Progress, c.options.Progress
		c.again = !c.options.Progress && to.s.reroutes && len(c.reg.callees) > 1
		c.timeout, c.deadline = 0, 0
		if c.options.Timeout > 0 && !to.forward {
			c.timeout = int64(c.options.Timeout)
			c.deadline = d.now + c.timeout
		}
		d.calls = append(d.calls, c)
		d.invoke(c, c.value, c.options.Progress)
		return
	}
}

func (d *modelDealer) invoke(c *modelCall, value int, progress bool) {
	timeout := uint64(0)
	if c.callee.forward {
		timeout = c.options.Timeout
	}
	procedure := ""
	if c.reg.match != wamp.MatchExact {
		procedure = c.uri
	}
	d.hear(c.callee.s, "invocation %d reg %d value %d progress %v receive %v timeout %d %s", c.invocation, c.reg.id, value, progress, c.options.ReceiveProgress, timeout, procedure)
}

func (d *modelDealer) chunk(c *modelCall, value int, progress bool) {
	c.open = progress
	d.attempts = d.attempts[1:]
	reason := wamp.ErrURIUnavailable
	switch {
	case c.callee.s.stuck:
	case tooLarge(value):
		reason = wamp.ErrURIPayloadSizeExceeded
	default:
		d.invoke(c, value, progress)
		return
	}
	d.interrupt(c, "killnowait", wamp.ErrURICanceled)
	d.end(c)
	d.hear(c.caller, "error 48 %d %s", c.request, reason)
}

func (d *modelDealer) end(c *modelCall) {
	d.calls = slices.DeleteFunc(d.calls, func(x *modelCall) bool { return x == c })
	if c.open {
		c.caller.cut = append(c.caller.cut, c.request)
	}
}

func (d *modelDealer) interrupt(c *modelCall, mode string, reason wamp.URI) bool {
	if c.callee.s.cancels {
		d.hear(c.callee.s, "interrupt %d %s %s", c.invocation, mode, reason)
	}
	return c.callee.s.cancels
}

func (d *modelDealer) cancel(s *modelSession, request int, mode wamp.CancelMode) {
	for _, c := range d.calls {
		if c.caller != s || c.request != request || c.killed {
			continue
		}
		if mode == wamp.CancelKill && d.interrupt(c, "kill", wamp.ErrURICanceled) {
			c.killed = true
			return
		}
		if mode == wamp.CancelKillNoWait {
			d.interrupt(c, "killnowait", wamp.ErrURICanceled)
		}
		d.end(c)
		d.hear(s, "error 48 %d %s", request, wamp.ErrURICanceled)
		return
	}
}

func (d *modelDealer) invoked(s *modelSession, invocation int) *modelCall {
	for _, c := range d.calls {
		if c.callee.s == s && c.invocation == invocation {
			return c
		}
	}
	return nil
}

func (d *modelDealer) yield(s *modelSession, invocation, value int, progress bool) {
	c := d.invoked(s, invocation)
	switch {
	case c == nil || progress && !c.options.ReceiveProgress:
		return
	case tooLarge(value):
		if progress {
			d.interrupt(c, "killnowait", wamp.ErrURICanceled)
		}
		d.end(c)
		d.hear(c.caller, "error 48 %d %s", c.request, wamp.ErrURIPayloadSizeExceeded)
		return
	case progress:
		c.results = true
		if c.deadline > 0 {
			c.deadline = d.now + c.timeout
		}
	default:
		d.end(c)
	}
	d.hear(c.caller, "result %d value %d progress %v", c.request, value, progress)
}

func (d *modelDealer) fails(s *modelSession, invocation int, uri wamp.URI) {
	c := d.invoked(s, invocation)
	if c == nil {
		return
	}
	d.end(c)
	if uri != wamp.ErrURIUnavailable || !s.reroutes || c.results || c.killed {
		d.hear(c.caller, "error 48 %d %s", c.request, uri)
		return
	}
	if !c.again {
		d.hear(c.caller, "error 48 %d %s", c.request, wamp.ErrURINoAvailableCallee)
		return
	}
	next := &modelCall{caller: c.caller, request: c.request, options: c.options, uri: c.uri, value: c.value, reg: c.reg, tried: append(slices.Clip(c.tried), c.callee)}
	if c.deadline > 0 {
		next.options.Timeout = uint64(max(c.deadline-d.now, 1))
	}
	d.dispatch(next)
}

// passes lets time go by.
func (d *modelDealer) passes(ms int64) {
	d.now += ms
	for _, c := range slices.Clone(d.calls) {
		if c.deadline > 0 && c.deadline <= d.now {
			d.interrupt(c, "killnowait", wamp.ErrURITimeout)
			d.end(c)
			d.hear(c.caller, "error 48 %d %s", c.request, wamp.ErrURITimeout)
		}
	}
}

func (d *modelDealer) leave(s *modelSession) {
	d.sessions = slices.DeleteFunc(d.sessions, func(x *modelSession) bool { return x == s })
	for _, c := range slices.Clone(d.calls) {
		switch {
		case c.caller == s:
			d.interrupt(c, "killnowait", wamp.ErrURICanceled)
			d.end(c)
		case c.callee.s == s:
			d.end(c)
			d.hear(c.caller, "error 48 %d %s", c.request, wamp.ErrURICanceled)
		}
	}
	for _, r := range slices.Clone(d.regs) {
		if r.index(s) >= 0 {
			d.drop(r, s)
		}
	}
}
