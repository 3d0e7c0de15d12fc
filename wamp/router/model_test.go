package router_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
)

var (
	modelSeed = flag.Uint64("model-seed", 0, "run the dealer against its model with this seed only, and say what happens")
	modelRuns = flag.Int("model-runs", 0, "how many interleavings the dealer is run through; 0 = two thousand")
)

// TestDealerAgreesWithItsModel runs random interleavings of everything that
// callers and callees do through the router, and compares each message with what
// a naive model says must come. Besides, it watches over what must hold whatever
// the model says.
func TestDealerAgreesWithItsModel(t *testing.T) {
	t.Parallel()
	runs := *modelRuns
	if runs == 0 {
		runs = 2000
		if testing.Short() {
			runs = 300
		}
	}
	first := rand.Uint64N(1 << 32)
	if *modelSeed != 0 {
		first, runs = *modelSeed, 1
	}
	for i := range runs {
		if seed := first + uint64(i); !t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { runModel(t, seed) }) }) {
			t.Fatalf("repeat it with: go test ./wamp/router -run '^TestDealerAgreesWithItsModel$' -model-seed %d", seed)
		}
	}
}

// modelRun is one interleaving.
type modelRun struct {
	t      *testing.T
	w      *world
	rng    *rand.Rand
	model  modelDealer
	peers  map[*modelSession]*modelPeer
	value  int // the last one sent
	traces []string
}

// modelPeer is a session's peer and what has been seen on it.
type modelPeer struct {
	*scripted
	s        *modelSession
	open     map[int]bool // calls that have no final answer yet, by request; whether they take progress
	lastInv  int
	received []int // all invocations, for late answers
}

func runModel(t *testing.T, seed uint64) {
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "realm1"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	m := &modelRun{t: t, w: &world{t: t, Router: r}, rng: rand.New(rand.NewPCG(seed, 0)), peers: map[*modelSession]*modelPeer{}}
	m.model.said = map[*modelSession][]string{}
	r.SetRandom("realm1", rand.New(rand.NewPCG(seed, 1)).IntN) // so that a seed says it all
	defer func() {
		if t.Failed() || *modelSeed != 0 {
			for _, line := range m.traces {
				t.Log(line)
			}
		}
		cancel()
		<-ran
		m.w.accepted.Wait()
	}()
	for range 2 + m.rng.IntN(3) {
		m.join()
	}
	for range 40 + m.rng.IntN(60) {
		m.step()
	}
	m.finale()
}

// check compares what every peer has heard with what the model says. anyOrder is
// for steps in which several things happen at once.
func (m *modelRun) check(anyOrder bool, format string, args ...any) {
	m.t.Helper()
	m.traces = append(m.traces, fmt.Sprintf(format, args...))
	synctest.Wait()
	if len(m.model.attempts) > 0 {
		m.t.Fatalf("the router has called %d more than it should", len(m.model.attempts))
	}
	if m.model.problem != "" {
		m.t.Fatal(m.model.problem)
	}
	for s, p := range m.peers {
		p.mu.Lock()
		msgs := p.out
		p.out = nil
		p.mu.Unlock()
		var got []string
		for _, msg := range msgs {
			line := m.line(msg)
			got = append(got, line)
			m.traces = append(m.traces, fmt.Sprintf("    %p %s", s, line))
			p.observe(m.t, msg)
		}
		want := m.model.said[s]
		if anyOrder {
			slices.Sort(got)
			slices.Sort(want)
		}
		if !slices.Equal(got, want) {
			m.t.Fatalf("session %p hears\n%q, expected\n%q", s, got, want)
		}
	}
	clear(m.model.said)
	n, err := m.w.InProgress("realm1")
	if err != nil || n != len(m.model.calls) {
		m.t.Fatalf("%d calls are in progress, expected %d: %v", n, len(m.model.calls), err)
	}
}

func valueOf(p wamp.Payload) any {
	if args, _ := p.GoValues(); len(args) > 0 {
		return args[0]
	}
	return nil
}

// line writes a message as the model does.
func (m *modelRun) line(msg wamp.Message) string {
	switch msg := msg.(type) {
	case *wamp.Registered:
		return fmt.Sprintf("registered %d %d", msg.Request, msg.Registration)
	case *wamp.Unregistered:
		if msg.Request == 0 {
			return fmt.Sprintf("revoked %d", msg.Registration)
		}
		return fmt.Sprintf("unregistered %d", msg.Request)
	case *wamp.ErrorReply:
		return fmt.Sprintf("error %d %d %s", msg.RequestType, msg.Request, msg.URI)
	case *wamp.Invocation:
		d := &msg.Details
		return fmt.Sprintf("invocation %d reg %d value %v progress %v receive %v timeout %d %s", msg.Request, msg.Registration, valueOf(msg.Payload), d.Progress, d.ReceiveProgress, d.Timeout, d.Procedure)
	case *wamp.Interrupt:
		return fmt.Sprintf("interrupt %d %s %s", msg.Request, msg.Mode, msg.Reason)
	case *wamp.Result:
		return fmt.Sprintf("result %d value %v progress %v", msg.Request, valueOf(msg.Payload), msg.Details.Progress)
	}
	return fmt.Sprintf("%s %+v", msg.Type(), msg)
}

// observe holds what is seen against rules that need no model.
func (p *modelPeer) observe(t *testing.T, msg wamp.Message) {
	t.Helper()
	final := func(request wamp.ID, what string) {
		if _, waits := p.open[int(request)]; !waits {
			t.Fatalf("a %s for call %d, which has been answered", what, request)
		}
		delete(p.open, int(request))
	}
	switch msg := msg.(type) {
	case *wamp.Result:
		if !msg.Details.Progress {
			final(msg.Request, "RESULT")
		} else if takes, waits := p.open[int(msg.Request)]; !takes || !waits {
			t.Fatalf("a progressive result for call %d that did not ask for it or has ended", msg.Request)
		}
	case *wamp.ErrorReply:
		if msg.RequestType == wamp.TypeCall {
			final(msg.Request, "ERROR")
		}
	case *wamp.Interrupt:
		if !p.s.cancels || !slices.Contains(p.received, int(msg.Request)) {
			t.Fatalf("an INTERRUPT for invocation %d to a callee that does not cancel or was not called", msg.Request)
		}
	case *wamp.Invocation:
		id := int(msg.Request)
		if id == p.lastInv+1 {
			p.lastInv = id
			p.received = append(p.received, id)
		} else if !slices.Contains(p.received, id) || !p.s.chunksIn {
			t.Fatalf("invocation %d follows %d", id, p.lastInv)
		}
	}
}

func (m *modelRun) any() *modelPeer {
	return m.peers[m.model.sessions[m.rng.IntN(len(m.model.sessions))]]
}

func (m *modelRun) chance(percent int) bool { return m.rng.IntN(100) < percent }

func (m *modelRun) join() {
	if len(m.model.sessions) >= 6 {
		return
	}
	s := &modelSession{
		authid: fmt.Sprint("user", m.rng.IntN(4)), cancels: m.chance(70), chunksOut: m.chance(70), reroutes: m.chance(50), revoking: m.chance(50),
	}
	chunksIn := m.chance(70)
	s.chunksIn = chunksIn && s.cancels
	p := &modelPeer{scripted: m.w.connect(), s: s, open: map[int]bool{}}
	p.fail = func(msg wamp.Message) error {
		var value any
		switch msg := msg.(type) {
		case *wamp.Invocation:
			m.model.attempts = append(m.model.attempts, s)
			if s.stuck {
				return wamp.ErrQueueFull
			}
			value = valueOf(msg.Payload)
		case *wamp.Result:
			value = valueOf(msg.Payload)
		}
		if n, ok := value.(int); ok && tooLarge(n) {
			return wamp.ErrTooLarge
		}
		return nil
	}
	p.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"authid": s.authid, "roles": wamp.Dict{
		"caller": wamp.Dict{"features": wamp.Dict{"progressive_call_invocations": s.chunksOut}},
		"callee": wamp.Dict{"features": wamp.Dict{
			"call_canceling": s.cancels, "progressive_call_invocations": chunksIn, "call_reroute": s.reroutes, "registration_revocation": s.revoking,
		}},
	}}})
	if got := p.heard(); len(got) != 1 || got[0].Type() != wamp.TypeWelcome {
		m.t.Fatalf("HELLO was answered by %v", got)
	}
	m.model.sessions = append(m.model.sessions, s)
	m.peers[s] = p
	m.check(false, "%p joins: %+v", s, *s)
}

func (m *modelRun) leave(p *modelPeer) {
	s := p.s
	delete(m.peers, s)
	how := m.rng.IntN(3)
	switch how {
	case 0:
		p.say(&wamp.Goodbye{Reason: wamp.CloseURINormal})
	case 1:
		p.say(&wamp.Abort{Reason: wamp.CloseURINormal})
	default:
		close(p.in)
	}
	synctest.Wait()
	for _, msg := range p.heard() {
		if msg.Type() != wamp.TypeGoodbye || how != 0 {
			m.t.Fatalf("who leaves is told %+v", msg)
		}
	}
	m.model.leave(s)
	m.check(true, "%p leaves by way %d", s, how)
}

var modelProcedures = []string{"p.a", "p.b", "p.c"}

func (m *modelRun) step() {
	p := m.any()
	s := p.s
	switch n := m.rng.IntN(100); {
	case n < 4:
		m.join()
	case n < 7:
		if len(m.model.sessions) > 1 {
			m.leave(p)
		}
	case n < 20:
		m.register(p)
	case n < 24:
		id := m.rng.IntN(m.model.lastReg + 2)
		request := s.requests + 1
		p.say(&wamp.Unregister{Request: wamp.ID(request), Registration: wamp.ID(id)})
		m.model.unregister(s, request, id)
		m.check(false, "%p unregisters %d", s, id)
	case n < 26:
		s.stuck = !s.stuck
		m.check(false, "%p is stuck: %v", s, s.stuck)
	case n < 48:
		m.call(p)
	case n < 56:
		m.continues(p)
	case n < 64:
		m.cancels(p)
	case n < 90:
		m.answers(p)
	default:
		ms := 1 + m.rng.Int64N(12)
		time.Sleep(time.Duration(ms) * time.Millisecond)
		m.model.passes(ms)
		m.check(true, "%d ms go by", ms)
	}
}

func (m *modelRun) register(p *modelPeer) {
	o := wamp.RegisterOptions{
		Invoke: wamp.Invoke(m.rng.IntN(5)), Concurrency: uint32(max(0, m.rng.IntN(4)-1)), ForwardTimeout: m.chance(25), ForceReregister: m.chance(5),
	}
	uri := modelProcedures[m.rng.IntN(len(modelProcedures))]
	if m.chance(60) {
		o.Invoke = wamp.Invoke(1 + len(uri)%2 + int(uri[2]-'a')) // so that many share one
	}
	if m.chance(25) {
		o.Match, uri = wamp.MatchPrefix, uri[:m.rng.IntN(3)]
	}
	if uri == "p." || uri == "" {
		uri = "p"
	}
	request := p.s.requests + 1
	p.say(&wamp.Register{Request: wamp.ID(request), Procedure: wamp.URI(uri), Options: o})
	m.model.register(p.s, request, uri, o)
	m.check(false, "%p registers %s: %+v", p.s, uri, o)
}

func (m *modelRun) call(p *modelPeer) {
	s := p.s
	o := wamp.CallOptions{ReceiveProgress: m.chance(50), Progress: s.chunksOut && m.chance(30)}
	if m.chance(40) {
		o.Timeout = uint64(1 + m.rng.IntN(20))
	}
	uri, request := modelProcedures[m.rng.IntN(len(modelProcedures))], s.requests+1
	m.value++
	p.open[request] = o.ReceiveProgress
	p.say(&wamp.Call{Request: wamp.ID(request), Procedure: wamp.URI(uri), Options: o, Payload: wamp.Args(m.value)})
	m.model.call(s, request, m.value, uri, o)
	m.check(false, "%p calls %s with %d: %+v", s, uri, request, o)
}

// continues sends a further chunk of a call, or one that is late.
func (m *modelRun) continues(p *modelPeer) {
	s := p.s
	request := 0
	if len(s.cut) > 0 && m.chance(30) {
		request = s.cut[m.rng.IntN(len(s.cut))]
	}
	for _, c := range m.model.calls {
		if c.caller == s && c.open && (request == 0 || m.chance(50)) {
			request = c.request
		}
	}
	if request == 0 {
		return
	}
	o := wamp.CallOptions{Progress: m.chance(60), ReceiveProgress: m.chance(50), Timeout: uint64(m.rng.IntN(3))}
	uri := []string{"p.a", "p.b", "not valid", "wamp.session.count"}[m.rng.IntN(4)] // what it says now does not count
	m.value++
	p.say(&wamp.Call{Request: wamp.ID(request), Procedure: wamp.URI(uri), Options: o, Payload: wamp.Args(m.value)})
	m.model.call(s, request, m.value, uri, o)
	m.check(false, "%p continues %d as %s: %+v", s, request, uri, o)
}

func (m *modelRun) cancels(p *modelPeer) {
	request := 1 + m.rng.IntN(p.s.requests+1) // perhaps answered, perhaps never made
	for _, c := range m.model.calls {
		if c.caller == p.s && m.chance(50) {
			request = c.request
		}
	}
	mode := wamp.CancelMode(m.rng.IntN(3))
	p.say(&wamp.Cancel{Request: wamp.ID(request), Mode: mode})
	m.model.cancel(p.s, request, mode)
	m.check(false, "%p cancels %d with %s", p.s, request, mode)
}

// answers has a callee answer an invocation, most likely one that waits for it.
func (m *modelRun) answers(p *modelPeer) {
	s := p.s
	if len(m.model.calls) > 0 && m.chance(90) {
		s = m.model.calls[m.rng.IntN(len(m.model.calls))].callee.s
		p = m.peers[s]
	}
	if len(p.received) == 0 {
		return
	}
	id := p.received[m.rng.IntN(len(p.received))]
	for _, c := range m.model.calls {
		if c.callee.s == s && m.chance(60) {
			id = c.invocation
		}
	}
	m.value++
	switch m.rng.IntN(4) {
	case 0:
		uri := []wamp.URI{"my.error", wamp.ErrURIUnavailable, wamp.ErrURIUnavailable}[m.rng.IntN(3)]
		p.say(&wamp.ErrorReply{RequestType: wamp.TypeInvocation, Request: wamp.ID(id), URI: uri, Payload: wamp.Args(m.value)})
		m.model.fails(s, id, uri)
		m.check(false, "%p answers %d with %s", s, id, uri)
	default:
		progress := m.chance(50)
		p.say(&wamp.Yield{Request: wamp.ID(id), Options: wamp.YieldOptions{Progress: progress}, Payload: wamp.Args(m.value)})
		m.model.yield(s, id, m.value, progress)
		m.check(false, "%p yields %d, progress %v", s, id, progress)
	}
}

// finale has everybody leave, and nothing may be left.
func (m *modelRun) finale() {
	for len(m.model.sessions) > 1 {
		m.leave(m.any())
	}
	last := m.any()
	for len(m.model.calls) > 0 { // those of the last session to itself
		c := m.model.calls[0]
		m.value++
		last.say(&wamp.Yield{Request: wamp.ID(c.invocation), Payload: wamp.Args(m.value)})
		m.model.yield(c.callee.s, c.invocation, m.value, false)
		m.check(false, "%p yields %d at last", last.s, c.invocation)
	}
	if len(last.open) > 0 {
		m.t.Fatalf("calls %v have never been answered", last.open)
	}
	m.leave(last)
	if left := m.w.Leftovers("realm1"); left != "" {
		m.t.Fatalf("%s are left behind", left)
	}
}
