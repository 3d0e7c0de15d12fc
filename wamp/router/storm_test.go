package router_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
)

// TestDealerHoldsWhenEverybodyTalksAtOnce lets sessions call, answer, cancel,
// register and leave without waiting for each other. No model can say what must
// come then, but what must hold in any case is checked: one final answer for each
// call, progress only where it is asked for and never after the final answer,
// INTERRUPT only to those who cancel, invocation IDs in order, concurrency limits,
// and nothing left behind.
func TestDealerHoldsWhenEverybodyTalksAtOnce(t *testing.T) {
	t.Parallel()
	runs := 100
	if testing.Short() {
		runs = 40
	}
	first := rand.Uint64N(1 << 32)
	if *modelSeed != 0 {
		first = *modelSeed
	}
	for i := range runs {
		seed := first + uint64(i)
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { within(t, router.RealmConfig{}, func(w *world) { storm(w, seed) }) }) {
			t.Fatalf("the seed was %d; the order of what happens at once is not repeated", seed)
		}
	}
}

func storm(w *world, seed uint64) {
	var peers []*stormPeer
	for i := range 5 {
		s := &modelSession{authid: fmt.Sprint("user", i), cancels: i%2 == 0, chunksIn: i%2 == 0, chunksOut: true, reroutes: i > 1}
		p := &stormPeer{modelPeer: modelPeer{scripted: w.connect(), s: s, open: map[int]bool{}}, rng: rand.New(rand.NewPCG(seed, uint64(i)))}
		p.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"authid": s.authid, "roles": wamp.Dict{
			"caller": wamp.Dict{"features": wamp.Dict{"progressive_call_invocations": true}},
			"callee": wamp.Dict{"features": wamp.Dict{"call_canceling": s.cancels, "progressive_call_invocations": s.cancels, "call_reroute": s.reroutes}},
		}}})
		p.heard()
		peers = append(peers, p)
	}
	var talking sync.WaitGroup
	for _, p := range peers {
		talking.Go(func() {
			for range 60 {
				p.acts()
			}
		})
	}
	for range 5 {
		if _, err := w.InProgress("realm1"); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	talking.Wait()
	// Everybody but the first leaves at once; it has an answer to each call then.
	for _, p := range peers[1:] {
		talking.Go(func() { p.tell(&wamp.Goodbye{Reason: wamp.CloseURINormal}) })
	}
	talking.Wait()
	synctest.Wait()
	if _, err := w.InProgress("realm1"); err != nil {
		w.t.Fatal(err)
	}
	p := peers[0]
	for id := range len(p.invoked()) { // calls to itself
		p.say(&wamp.Yield{Request: wamp.ID(id + 1)})
	}
	for _, p := range peers {
		for _, m := range p.heard() {
			if m.Type() == wamp.TypeAbort {
				w.t.Fatalf("a session was ended: %+v", m)
			}
			p.observe(w.t, m)
		}
	}
	if len(p.open) > 0 {
		w.t.Fatalf("calls %v have never been answered", p.open)
	}
	p.say(&wamp.Goodbye{Reason: wamp.CloseURINormal})
	if left := w.Leftovers("realm1"); left != "" {
		w.t.Fatalf("%s are left behind", left)
	}
}

// stormPeer is a session that waits for nobody.
type stormPeer struct {
	modelPeer
	rng    *rand.Rand
	chunks []int // calls that have not had their last chunk
}

// tell is say without waiting.
func (p *stormPeer) tell(m wamp.Message) {
	select {
	case p.in <- m:
	case <-p.closed:
	}
}

// invoked returns the IDs of the invocations that have come so far.
func (p *stormPeer) invoked() (ids []wamp.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.out {
		if inv, ok := m.(*wamp.Invocation); ok && (len(ids) == 0 || inv.Request > ids[len(ids)-1]) {
			ids = append(ids, inv.Request)
		}
	}
	return ids
}

func (p *stormPeer) next() wamp.ID {
	p.s.requests++
	return wamp.ID(p.s.requests)
}

func (p *stormPeer) acts() {
	uri := wamp.URI(modelProcedures[p.rng.IntN(len(modelProcedures))])
	switch n := p.rng.IntN(100); {
	case n < 12:
		o := wamp.RegisterOptions{Invoke: wamp.Invoke(1 + int(uri[2]-'a')), Concurrency: uint32(p.rng.IntN(4)), ForwardTimeout: p.rng.IntN(4) == 0, ForceReregister: p.rng.IntN(20) == 0}
		p.tell(&wamp.Register{Request: p.next(), Procedure: uri, Options: o})
	case n < 16:
		p.tell(&wamp.Unregister{Request: p.next(), Registration: wamp.ID(1 + p.rng.IntN(8))})
	case n < 45:
		o := wamp.CallOptions{ReceiveProgress: p.rng.IntN(2) == 0, Progress: p.rng.IntN(3) == 0, Timeout: uint64(max(0, p.rng.IntN(4)-2))}
		request := p.next()
		p.open[int(request)] = o.ReceiveProgress
		if o.Progress {
			p.chunks = append(p.chunks, int(request))
		}
		p.tell(&wamp.Call{Request: request, Procedure: uri, Options: o, Payload: wamp.Args(1)})
	case n < 52 && len(p.chunks) > 0:
		i := p.rng.IntN(len(p.chunks))
		request, more := p.chunks[i], p.rng.IntN(2) == 0
		if !more {
			p.chunks = append(p.chunks[:i], p.chunks[i+1:]...)
		}
		p.tell(&wamp.Call{Request: wamp.ID(request), Procedure: uri, Options: wamp.CallOptions{Progress: more}, Payload: wamp.Args(2)})
	case n < 60:
		p.tell(&wamp.Cancel{Request: wamp.ID(1 + p.rng.IntN(p.s.requests+1)), Mode: wamp.CancelMode(p.rng.IntN(3))})
	default:
		ids := p.invoked()
		if len(ids) == 0 {
			return
		}
		id := ids[len(ids)-1-p.rng.IntN(min(len(ids), 4))]
		if p.rng.IntN(4) == 0 {
			p.tell(&wamp.ErrorReply{RequestType: wamp.TypeInvocation, Request: id, URI: []wamp.URI{"my.error", wamp.ErrURIUnavailable}[p.rng.IntN(2)]})
			return
		}
		p.tell(&wamp.Yield{Request: id, Options: wamp.YieldOptions{Progress: p.rng.IntN(2) == 0}, Payload: wamp.Args(3)})
	}
}
